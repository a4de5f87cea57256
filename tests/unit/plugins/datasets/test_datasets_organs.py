"""Volumes of the Diff-CL and DTLP-Net papers: Pancreas-CT, BraTS 2019, Synapse, AMOS22."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.official_layouts import blocks, save_dicom, save_h5, save_nifti, volume

from semibench import CaseError, CaseRef, Dataset, LayoutError, PhantomOptions
from semibench.blocks import intensity_window, read_id_list, z_score
from semibench.evaluation.inference import native_labels
from semibench_plugins.datasets.abdomen import published_splits as abdomen_splits
from semibench_plugins.datasets.abdomen.amos22 import AMOS22
from semibench_plugins.datasets.abdomen.pancreas import Pancreas, crop_box
from semibench_plugins.datasets.abdomen.synapse import Synapse
from semibench_plugins.datasets.brain import published_splits as brain_splits
from semibench_plugins.datasets.brain.brats19 import BraTS19, brain_box, brain_score

VOLUMES = (Pancreas, BraTS19, Synapse, AMOS22)


@pytest.fixture(autouse=True)
def no_group_tables(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMIBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.mark.parametrize("cls", VOLUMES)
def test_missing_folder_shows_tree(cls: type[Dataset], tmp_path: Path) -> None:
    for edition in cls.card.editions:
        with pytest.raises(LayoutError) as caught:
            cls(tmp_path, cls.Options(edition=edition)).index()
        assert cls.card.tree in str(caught.value) and "found an empty folder" in caught.value.brief


@pytest.mark.parametrize("cls", VOLUMES)
def test_phantom_has_the_editions_values(cls: type[Dataset]) -> None:
    for edition in cls.card.editions:
        made = cls.phantom(cls.Options(edition=edition), PhantomOptions(cases=2, scale=0.4))
        assert {ref.domain for ref in made.index()} == set(cls.card.domains)
        for ref in made.index():
            case = made.read(ref)
            low, high = float(case.image.min()), float(case.image.max())
            assert (low, high) == (0, 1) if cls in (Synapse, AMOS22) else low < 0 < high < 20


# --- Pancreas ----------------------------------------------------------------------------------------------------------


def pancreas_raw(root: Path, number: int = 1, turned: bool = False) -> tuple[np.ndarray, np.ndarray]:
    label = np.zeros((130, 60, 6), np.uint8)
    label[60:70, 40:50, 1:3] = 1
    image = np.full(label.shape, -60.0)
    image[label > 0] = 90
    image[10:12] = 900
    stored = label[:, ::-1] if turned else label
    save_dicom(root / "Pancreas-CT" / f"PANCREAS_{number:04d}" / "study" / "series", image)
    save_nifti(root / "TCIA_pancreas_labels-02-05-2017" / f"label{number:04d}.nii.gz", stored, (0.8, 0.8, 2.5))
    return image, label


def test_pancreas_from_dicom(tmp_path: Path) -> None:
    image, label = pancreas_raw(tmp_path)
    data = Pancreas(tmp_path, Pancreas.Options(edition="mcnet"))
    (ref,) = data.index()
    assert ref == CaseRef("pancreas", "image0001", "image0001", "default", True) and len(data.files(ref)) == 7
    case, truth = data.read(ref), data.truth(ref)
    assert truth is not None and np.array_equal(truth.label.numpy(), label)
    # x and y: 8 mm of label, so 44 mm of 96 are lacking per side, and 25 mm of margin: 69 mm = 86 voxels, cut at the border
    assert case.frame.box == ((0, 130), (0, 60), (0, 6)) == crop_box(label, (0.8, 0.8, 2.5))
    assert case.image.shape == (1, 104, 48, 15) and case.spacing == pytest.approx((1, 1, 1), rel=0.01)
    assert float(case.image.mean()) == pytest.approx(0, abs=1e-5) and float(case.image.std()) == pytest.approx(
        1, abs=1e-3
    )
    free = Pancreas(tmp_path, Pancreas.Options(edition="label-free", size=image.shape)).read(ref)
    assert np.allclose(free.image[0].numpy(), z_score(intensity_window(image.astype(np.float32), -125, 275)), atol=1e-5)
    printed = Pancreas(tmp_path, Pancreas.Options(edition="as-printed", size=image.shape)).read(ref)
    assert np.allclose(
        printed.image[0].numpy(), z_score(intensity_window(image.astype(np.float32), -120, 240)), atol=1e-5
    )


def test_pancreas_crop_has_25_mm_around_a_large_label() -> None:
    label = np.zeros((300, 300, 4), np.uint8)
    label[80:220, 100:110, 1] = 1
    # x: 140 mm long, 25 mm per side; y: 10 mm long, lacks 86 of 96, so 43 + 25 per side
    assert crop_box(label, (1.0, 1.0, 2.0)) == ((55, 245), (32, 178), (0, 4))


def test_pancreas_finds_labels_that_run_the_other_way(tmp_path: Path) -> None:
    _, label = pancreas_raw(tmp_path, turned=True)
    data = Pancreas(tmp_path, Pancreas.Options(edition="mcnet"))
    ref = data.index()[0]
    with pytest.raises(
        CaseError, match=r"label0001.nii.gz: expected a mean of 0 to 200 HU .* set dataset.label_flip=y"
    ):
        data.read(ref)
    turned = Pancreas(tmp_path, Pancreas.Options(edition="mcnet", label_flip="y"))
    truth = turned.truth(ref)
    assert turned.read(ref).label is not None and truth is not None and np.array_equal(truth.label.numpy(), label)


def test_pancreas_slices_with_one_number_twice(tmp_path: Path) -> None:
    pancreas_raw(tmp_path)
    series = tmp_path / "Pancreas-CT" / "PANCREAS_0001" / "study" / "series"
    (series / "slice009.dcm").write_bytes((series / "slice002.dcm").read_bytes())
    data = Pancreas(tmp_path, Pancreas.Options(edition="mcnet"))
    with pytest.raises(
        CaseError, match=r"slice009.dcm: expected an instance number of its own, found 5 as in slice002"
    ):
        data.read(data.index()[0])


@pytest.mark.parametrize("name", ["h5/{}_norm.h5", "Pancreas_h5/{}_norm.h5", "{}.h5", "pancreas/h5/{}_norm.h5"])
def test_pancreas_processed_files(tmp_path: Path, name: str) -> None:
    for case in ("image0002", "image0025"):
        save_h5(tmp_path / name.format(case), volume(0), blocks([1]))
    data = Pancreas(tmp_path, Pancreas.Options())
    refs = data.index()
    assert [(ref.id, ref.group) for ref in refs] == [("image0002", "image0002"), ("image0025", "image0002")]  # a copy
    case = data.read(refs[0])
    assert case.spacing == (1, 1, 1) and np.array_equal(case.image[0].numpy(), volume(0))
    assert len(Pancreas(tmp_path, Pancreas.Options(drop_copies=True)).index()) == 1


# --- BraTS -------------------------------------------------------------------------------------------------------------


def test_brats_box_score_and_labels(tmp_path: Path) -> None:
    case_id = "BraTS19_TCIA02_370_1"
    image = volume(0)
    image[:2], image[:, -3:] = 0, 0
    folder = tmp_path / "MICCAI_BraTS_2019_Data_Training" / "HGG" / case_id
    save_nifti(folder / f"{case_id}_flair.nii.gz", image, (1, 1, 1))
    save_nifti(folder / f"{case_id}_seg.nii.gz", blocks([1, 2, 4]), (1, 1, 1))
    data = BraTS19(tmp_path, BraTS19.Options())
    (ref,) = data.index()
    case, truth = data.read(ref), data.truth(ref)
    assert ref.id == ref.group == case_id and truth is not None and case.label is not None
    assert np.array_equal(truth.label.numpy(), (blocks([1, 2, 4]) > 0).T)
    # z 0..11, y 0..12, x 2..13 hold values; the last plane of each is left out, as in the published code
    assert case.frame.box == ((0, 11), (0, 12), (2, 13)) and case.image.shape == (1, 11, 12, 11)
    native = image.T[0:11, 0:12, 2:13]
    top = np.percentile(native, 99.9)
    inside = np.minimum(native, top)[native > 0]
    expected = (np.minimum(native, top) - inside.mean()) / inside.std()
    assert np.allclose(case.image[0].numpy(), expected, atol=1e-4)
    hot = torch.nn.functional.one_hot(case.label.long(), 2).movedim(-1, 0).float()
    assert np.array_equal(native_labels(hot, case.frame), truth.label.numpy())
    assert brain_box(np.zeros((2, 2, 2), np.float32)) is None and not brain_score(np.zeros((2, 2), np.float32)).any()


def test_brats_processed_files(tmp_path: Path) -> None:
    save_h5(tmp_path / "data" / "BraTS19_CBICA_ASA_1.h5", volume(0), blocks([1]))
    data = BraTS19(tmp_path, BraTS19.Options(edition="ssl4mis"))
    (ref,) = data.index()
    assert ref.id == "BraTS19_CBICA_ASA_1" and np.array_equal(data.read(ref).image[0].numpy(), volume(0))


# --- Synapse and AMOS22 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folders", [("imagesTr", "labelsTr"), ("img", "label")])
def test_synapse_window_grid_and_labels(tmp_path: Path, folders: tuple[str, str]) -> None:
    image, label = volume(0, -900, 900), blocks(list(range(1, 14)))
    save_nifti(tmp_path / folders[0] / "img0008.nii.gz", image)
    save_nifti(tmp_path / folders[1] / "label0008.nii.gz", label)
    data = Synapse(tmp_path, Synapse.Options(size=(12, 16, 14)))
    (ref,) = data.index()
    case, truth = data.read(ref), data.truth(ref)
    assert ref == CaseRef("synapse", "0008", "0008", "default", True) and not data.inspect()
    assert np.allclose(case.image[0].numpy(), (np.clip(image.T, -75, 275) + 75) / 350, atol=1e-6)
    assert truth is not None and np.array_equal(truth.label.numpy(), label.T) and truth.spacing == (3.0, 1.25, 1.5)
    assert Synapse(tmp_path, Synapse.Options()).read(ref).image.shape == (1, 80, 160, 160)
    assert Synapse(tmp_path, Synapse.Options(edition="dhc")).read(ref).image.shape == (1, 12, 8, 7)


def test_amos_domains_and_mr_scaling(tmp_path: Path) -> None:
    image, label = volume(0, 0, 1000), blocks(list(range(1, 16)))
    for part, case in (("Tr", "amos_0500"), ("Va", "amos_0507")):
        save_nifti(tmp_path / "amos22" / f"images{part}" / f"{case}.nii.gz", image)
        save_nifti(tmp_path / "amos22" / f"labels{part}" / f"{case}.nii.gz", label)
    (tmp_path / "amos22" / "imagesTs").mkdir()
    (tmp_path / "amos22" / "imagesTs" / "amos_0009.nii.gz").touch()
    data = AMOS22(tmp_path, AMOS22.Options(size=(12, 16, 14)))
    ct, mr = data.index()
    assert (ct.domain, mr.domain) == ("ct", "mr") and not data.inspect()
    low = image.min()
    expected = (np.clip(image.T, None, 275) - low) / (275 - low)
    for ref in (ct, mr):
        assert np.allclose(data.read(ref).image[0].numpy(), expected, atol=1e-5)
    better = AMOS22(tmp_path, AMOS22.Options(edition="mr-percentile", size=(12, 16, 14)))
    assert torch.equal(better.read(ct).image, data.read(ct).image)
    top = np.percentile(image, 99.5)
    assert float((better.read(mr).image == 1).float().mean()) == pytest.approx(float((image >= top).mean()), abs=1e-3)


# --- published splits --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labeled", abdomen_splits.PANCREAS_LABELED)
def test_pancreas_lists(labeled: int) -> None:
    split = abdomen_splits.pancreas(labeled)
    assert (len(split.labeled), len(split.unlabeled), len(split.test)) == (labeled, 62 - labeled, 20)
    assert sorted(split.every()) == [f"image{n:04d}" for n in range(1, 83)]
    assert list(split.labeled[:6]) == ["image0057", "image0018", "image0062", "image0031", "image0020", "image0017"]


@pytest.mark.parametrize("labeled", brain_splits.BRATS19_LABELED)
def test_brats_lists(labeled: int) -> None:
    split = brain_splits.brats19(labeled)
    sizes = [len(part) for part in (split.labeled, split.unlabeled, split.validation, split.test)]
    assert sizes == [labeled, 250 - labeled, 25, 60] and len(set(split.every())) == 335
    assert split.validation_from == "official"


def test_synapse_lists() -> None:
    counts = {"genericssl-20pct": 4, "skcdf-10pct": 2, "skcdf-20pct": 4, "skcdf-40pct": 8}
    numbers = [f"{n:04d}" for n in (*range(1, 11), *range(21, 41))]
    for name, count in counts.items():
        split = abdomen_splits.synapse(name)
        sizes = [len(part) for part in (split.labeled, split.unlabeled, split.validation, split.test)]
        assert sizes == [count, 20 - count, 4, 6] and sorted(split.every()) == numbers
        assert list(split.test) == ["0008", "0027", "0029", "0033", "0037", "0039"]
    assert list(abdomen_splits.synapse("skcdf-10pct").labeled) == ["0007", "0030"]


def test_amos_lists() -> None:
    for percent, count in ((2, 4), (5, 10), (10, 21)):
        split = abdomen_splits.amos22(percent)
        sizes = [len(part) for part in (split.labeled, split.unlabeled, split.validation, split.test)]
        assert sizes == [count, 216 - count, 24, 120] and len(set(split.every())) == 360
    mr = [
        sum(int(name[5:]) > 500 for name in read_id_list(abdomen_splits.LISTS, f"lists/amos22/{part}.txt"))
        for part in ("train", "eval", "test")
    ]
    assert mr == [34, 6, 20]
