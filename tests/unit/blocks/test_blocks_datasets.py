"""Public parts for authors of data sets, as a third party uses them: readers, working grid, patterns, splits, phantoms."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from support.places import DOCS

from semibench import CaseError, CaseRef, DatasetCard, DatasetOptions, LayoutError, PhantomOptions
from semibench.blocks import (
    Drawing,
    FilePattern,
    IdSplit,
    ImageDataset,
    ImageEntry,
    PatternDataset,
    PhantomDataset,
    PreparedVolume,
    VolumeEntry,
    case_on_grid,
    centred_box,
    crop_or_pad,
    find_data_folder,
    hash_order,
    image_and_mask_patterns,
    intensity_window,
    pair_image_folders,
    random_stream,
    read_split_roles,
    scale_percentiles,
    scale_to_unit,
    z_score,
)
from semibench.protocols.ordering import ordered
from semibench.source_digest import source_digest


def card(**changed: Any) -> DatasetCard:
    facts: dict[str, Any] = {
        "name": "clinic", "title": "Clinic", "load": "clinic:Clinic", "dims": 2, "modality": "ultrasound",
        "classes": ("background", "lesion"), "domains": ("old", "new"), "tree": "<root>/ images/ masks/", "obtain": "ask",
    }  # fmt: skip
    return DatasetCard(**{**facts, **changed})


class ClinicPhantom(PhantomDataset):
    cases, frames, revision = 5, 2, "r7"

    def draw(self, group: int, frame: int, *, image: bool = True) -> Drawing:
        rng = random_stream(7, self.card.name, self.seed, group, frame)
        label = np.zeros((20, 24), np.uint8)
        label[4:9, 6 + group : 12 + group] = 1
        grey = np.rint(rng.uniform(0, 255, label.shape)) if image else np.zeros(label.shape)
        return Drawing(grey, label, (0.5, 0.25))


class Clinic(ImageDataset):
    card = card()
    phantom_class = ClinicPhantom
    listed_splits = {"theirs": lambda: IdSplit(labeled=["a_1"], unlabeled=["b_1"], test=["c_1"])}

    def patterns(self, base: Path) -> Sequence[FilePattern]:
        return image_and_mask_patterns(base, ["images"], ["masks"], required=False)

    def locate(self) -> Mapping[str, ImageEntry]:
        base = find_data_folder(self.root, self.card, lambda folder: (folder / "images").is_dir())
        return {
            name: ImageEntry(
                image, () if mask is None else (mask,), name.split("_")[0], self.card.domains[0], (0.5, 0.5)
            )
            for name, (image, mask) in pair_image_folders(
                base, self.card, ["images"], ["masks"], required=False
            ).items()
        }


def write_clinic(root: Path, names: Sequence[str] = ("a_1", "b_1", "c_1")) -> None:
    for number, name in enumerate(names):
        grey = np.random.default_rng(number).integers(0, 256, (20, 24), dtype=np.uint8)
        mask = np.zeros((20, 24), np.uint8)
        mask[4:9, 6:12] = 255
        for folder, array in (("images", grey), ("masks", mask)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(root / folder / f"{name}.png")


# --- a data set of images -------------------------------------------------------------------------------------------------


def test_images_of_a_third_party_are_read_at_their_size(tmp_path: Path) -> None:
    write_clinic(tmp_path)
    data = Clinic(tmp_path, DatasetOptions())
    refs = data.index()
    assert [(ref.id, ref.group, ref.has_label) for ref in refs] == [(f"{k}_1", k, True) for k in "abc"]
    case, truth = data.read(refs[0]), data.truth(refs[0])
    stored = np.asarray(Image.open(tmp_path / "images" / "a_1.png"))
    assert torch.equal(case.image, torch.from_numpy(stored.astype(np.float32) / np.float32(255))[None])
    assert truth is not None and case.label is not None and torch.equal(case.label, truth.label)
    assert int(truth.label.sum()) == 30 and case.spacing == (0.5, 0.5)
    small = Clinic(tmp_path, DatasetOptions(size=(10, 12))).read(refs[0])
    assert small.image.shape == (1, 10, 12) and small.spacing == (1.0, 1.0) and small.frame.shape == (20, 24)


def test_a_stray_file_and_a_missing_image_are_reported(tmp_path: Path) -> None:
    write_clinic(tmp_path)
    (tmp_path / "images" / "notes.txt").write_text("x")
    (tmp_path / "images" / "b_1.png").unlink()
    messages = " ".join(problem.message for problem in Clinic(tmp_path, DatasetOptions()).inspect())
    assert "notes.txt" in messages and "b_1.png: expected the image of b_1" in messages
    with pytest.raises(LayoutError, match="1 masks have no image"):
        Clinic(tmp_path, DatasetOptions()).index()


def test_a_listed_split_is_offered_when_its_cases_are_there(tmp_path: Path) -> None:
    write_clinic(tmp_path)
    split = Clinic(tmp_path, DatasetOptions()).splits()["theirs"]
    assert [ref.id for ref in split.labeled + split.unlabeled + split.test] == ["a_1", "b_1", "c_1"]
    write_clinic(tmp_path / "fewer", ("a_1", "b_1"))
    fewer = Clinic(tmp_path / "fewer", DatasetOptions()).splits()
    assert list(fewer) == [] and "theirs" in fewer
    with pytest.raises(LayoutError, match="names 3 cases, 1 of which"):
        fewer["theirs"]


# --- phantoms -------------------------------------------------------------------------------------------------------------


def test_a_phantom_has_groups_of_frames_that_take_the_domains_in_turn() -> None:
    data = Clinic.phantom(DatasetOptions(), PhantomOptions(seed=3))
    refs = data.index()
    assert [ref.id for ref in refs][:3] == ["phantom-00000-00", "phantom-00000-01", "phantom-00001-00"]
    assert len(refs) == 5 and [ref.domain for ref in refs] == ["old", "old", "new", "new", "old"]
    assert data.fingerprint == "phantom:clinic:r7:seed3:n5:x1.0"
    case = data.read(refs[2])
    rng = random_stream(7, "clinic", 3, 1, 0)
    assert torch.equal(case.image[0], torch.from_numpy(np.rint(rng.uniform(0, 255, (20, 24)))).float() / 255)
    alone = Clinic.phantom(DatasetOptions(), PhantomOptions(seed=3)).truth(refs[2])
    assert alone is not None and case.label is not None and torch.equal(alone.label, case.label)


# --- volumes by patterns --------------------------------------------------------------------------------------------------


class Scans(PatternDataset):
    card = card(name="scans", title="Scans", dims=3, modality="MR", domains=("default",))
    h5_spacing = (3.0, 2.0, 1.0)

    def patterns(self, base: Path) -> Sequence[FilePattern]:
        if list(base.glob("*.h5")):
            return (FilePattern("volume", r"(?P<case>\w+)\.h5", "{case}", "{case}.h5"),)
        return (
            FilePattern("image", r"(?P<case>[a-z]\d)\.nii\.gz", "{case}", "{case}.nii.gz"),
            FilePattern("mask", r"(?P<case>[a-z]\d)_gt\.nii\.gz", "{case}", "{case}_gt.nii.gz"),
        )

    def prepare(self, entry: VolumeEntry, image: NDArray[Any], label: NDArray[np.uint8] | None) -> PreparedVolume:
        box = centred_box(image.shape, (6, 4, 4))
        return PreparedVolume(box, crop_or_pad(np.asarray(image, np.float32), box), self.size_of(box))


def test_nifti_and_hdf5_give_the_same_case(tmp_path: Path) -> None:
    zyx = np.random.default_rng(0).normal(size=(4, 6, 5)).astype(np.float32)
    label = (zyx > 0.5).astype(np.int16)
    (tmp_path / "nifti").mkdir()
    (tmp_path / "h5").mkdir()
    for name, array in (("s1", zyx), ("s1_gt", label)):
        image = nibabel.Nifti1Image(array.transpose(2, 1, 0), np.diag([1.0, 2.0, 3.0, 1.0]))
        nibabel.save(image, tmp_path / "nifti" / f"{name}.nii.gz")
    with h5py.File(tmp_path / "h5" / "s1.h5", "w") as file:
        file["image"], file["label"] = zyx, label
    first, second = (Scans(tmp_path / folder, DatasetOptions()) for folder in ("nifti", "h5"))
    a, b = first.read(first.index()[0]), second.read(second.index()[0])
    assert torch.equal(a.image, b.image) and a.spacing == b.spacing == (3.0, 2.0, 1.0) and a.frame == b.frame
    assert a.frame.box == ((-1, 5), (1, 5), (0, 4))
    assert torch.equal(a.image[0, 1:5], torch.from_numpy(zyx[:, 1:5, :4])) and not a.image[0, [0, 5]].any()
    truth = first.truth(first.index()[0])
    assert truth is not None and np.array_equal(truth.label.numpy(), label)


def test_unknown_label_values_name_the_file(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "s1.h5", "w") as file:
        file["image"], file["label"] = np.zeros((4, 4, 4)), np.full((4, 4, 4), 7)
    data = Scans(tmp_path, DatasetOptions())
    with pytest.raises(CaseError, match=r"s1\.h5: unknown label values \[7\]; expected some of \[0, 1\]"):
        data.read(data.index()[0])


def test_an_empty_folder_says_what_was_expected_where_there_is_one_edition(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="found no files of the edition 'default'") as caught:
        Scans(tmp_path, DatasetOptions()).index()
    assert "other editions" not in str(caught.value)


# --- grid and values ------------------------------------------------------------------------------------------------------


def test_a_case_on_the_grid_is_a_resize_of_its_box() -> None:
    ref = CaseRef("clinic", "x", "x", "old", True)
    image = np.arange(2 * 6 * 8, dtype=np.float32).reshape(2, 6, 8)
    label = (np.arange(48).reshape(6, 8) % 5 == 0).astype(np.uint8)
    whole = case_on_grid(ref, image, label, spacing=(1.0, 2.0))
    assert np.array_equal(whole.image.numpy(), image) and whole.spacing == (1.0, 2.0)
    part = case_on_grid(ref, image, label, box=((2, 8), (-2, 4)), size=(3, 12), spacing=(1.0, 2.0), how="nearest")
    padded = np.pad(image, ((0, 0), (0, 2), (2, 0)))[:, 2:8, 0:6]
    assert np.array_equal(part.image.numpy(), padded[:, 1::2].repeat(2, axis=2))  # nearest centre: the second of two
    assert part.label is not None and part.label.shape == (3, 12) and part.spacing == (2.0, 1.0)
    assert part.frame.box == ((2, 8), (-2, 4)) and part.frame.shape == (6, 8)
    noise = np.random.default_rng(1).random((2, 6, 8)).astype(np.float32)
    small = case_on_grid(ref, noise, None, size=(3, 4))
    weights = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64  # bilinear with antialiasing: a triangle of twice the width
    assert small.label is None
    assert float(small.image[1, 1, 2]) == pytest.approx(float((noise[1, 1:5, 3:7] * weights).sum()), abs=1e-6)


def test_normalisations_against_worked_numbers() -> None:
    values = np.array([-10.0, 0.0, 10.0, 30.0], dtype=np.float32)
    assert scale_to_unit(values).tolist() == [0.0, 0.25, 0.5, 1.0]
    assert intensity_window(values, 0.0, 20.0).tolist() == [0.0, 0.0, 0.5, 1.0]
    assert z_score(values) == pytest.approx((values - 7.5) / np.sqrt(218.75))
    ramp = np.arange(1001, dtype=np.float32)
    scaled = scale_percentiles(ramp)
    assert scaled[5] == 0 and scaled[995] == 1 and scaled[500] == pytest.approx(0.5)
    for constant in (scale_to_unit, scale_percentiles, z_score):
        assert not constant(np.full(5, 3.0, dtype=np.float32)).any()


@pytest.mark.parametrize(
    ("length", "size", "box"), [(10, 4, (3, 7)), (4, 10, (-3, 7)), (5, 4, (0, 4)), (4, 5, (-1, 4))]
)
def test_centred_box(length: int, size: int, box: tuple[int, int]) -> None:
    assert centred_box((length,), (size,)) == (box,)


# --- lists and orders -----------------------------------------------------------------------------------------------------


def test_a_split_file_of_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "clinic_lists"
    (package / "lists").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "lists" / "split.txt").write_text("# theirs\ntrain: a:3 b:1\n\ntest: c\nval:\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert read_split_roles("clinic_lists", "lists/split.txt") == {"train": ["a:3", "b:1"], "test": ["c"], "val": []}
    with pytest.raises(FileNotFoundError):
        read_split_roles("clinic_lists", "lists/other.txt")


def test_the_public_order_of_groups_is_that_of_the_protocols() -> None:
    names = [f"p{n}" for n in range(30)]
    order = hash_order(names, 4)
    assert sorted(order) == sorted(names) and order == hash_order(names[::-1] + names, 4) != hash_order(names, 5)
    assert [name for name in hash_order([*names, "another"], 4) if name != "another"] == order
    refs = [CaseRef("clinic", name, name, "old", True) for name in names]
    assert [group for _, group in ordered(refs, 4)["old"]] == order


# --- what the cache of decoded cases depends on ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "counts"),
    [
        ("blocks.datasets.volume_files", True),
        ("blocks.datasets.image_dataset", True),
        ("blocks.datasets.working_grid", True),
        ("blocks.datasets.phantom_dataset", True),
        ("contracts.cases", False),
    ],
)
def test_changed_blocks_change_the_digest_of_a_reader_that_uses_them(
    part: str, counts: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "clinic_reader.py").write_text("from semibench.blocks import ImageDataset, read_nifti\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module(f"semibench.{part}")
    source_digest.cache_clear()
    before = source_digest("clinic_reader")
    changed = tmp_path / "changed.py"
    changed.write_text(Path(str(module.__file__)).read_text(encoding="utf-8") + "\nADDED = 1\n", encoding="utf-8")
    monkeypatch.setattr(module, "__file__", str(changed))
    source_digest.cache_clear()
    assert (source_digest("clinic_reader") != before) == counts
    source_digest.cache_clear()
    sys.modules.pop("clinic_reader", None)


def test_the_data_set_of_the_documentation(tmp_path: Path) -> None:
    page = (DOCS / "datasets.md").read_text(encoding="utf-8")
    code = page.split("```python\n")[1].split("```")[0]
    space: dict[str, Any] = {"__name__": "knees", "CARD": card(name="knees", dims=3, domains=("default",))}
    exec(compile(code, "datasets.md", "exec"), space)
    for number in range(1, 5):
        array = np.random.default_rng(number).normal(size=(5, 6, 7)).astype(np.float32)
        for name, stored in (("", array), ("_mask", (array > 1).astype(np.uint8))):
            nibabel.save(nibabel.Nifti1Image(stored, np.eye(4)), tmp_path / f"k{number:02d}{name}.nii.gz")
    data = space["Knees"](tmp_path, DatasetOptions())
    case = data.read(data.index()[0])
    assert case.image.shape == (1, 7, 6, 5) and float(case.image.max()) == 1 and data.inspect() == []
    assert [ref.id for ref in data.splits()["paper"].unlabeled] == ["k02", "k03"]
