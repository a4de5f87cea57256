"""A folder is a data set: what is found in each layout, and how its files are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.own_folders import (
    array_folder,
    decathlon,
    declare,
    picture,
    picture_folders,
    save_nifti,
    save_picture,
    volume,
    write_json,
)

from semibench.contracts.cases import Case, CaseRef, Dataset
from semibench.contracts.errors import SemibenchError
from semibench.data.cache import check_case
from semibench.data.catalog import check_index
from semibench.data.declared.naming import find_dataset
from semibench.data.verify import verify
from semibench.discovery.registry import registry

NAMES = [f"p{number:02d}" for number in range(6)]


def opened(folder: Path, **options: Any) -> Dataset:
    """The data set of a folder, checked as the harness checks any other."""
    item = find_dataset(registry(), str(folder))
    cls = item.resolve()
    dataset: Dataset = cls(folder, cls.Options(**options))
    check_index(dataset, dataset.index())
    return dataset


def read(dataset: Dataset, name: str) -> tuple[CaseRef, Case]:
    ref = next(ref for ref in dataset.index() if ref.id == name)
    case = dataset.read(ref)
    check_case(case, ref, dataset)
    return ref, case


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("images/{}.png", "masks/{}.png"),
        ("image/{}.png", "label/{}.png"),
        ("Images/{}.bmp", "GT/{}.tif"),
        ("img/{}.tif", "mask/{}_mask.png"),
        ("images/img_{}.png", "masks/mask_{}.png"),
        ("images/bus_{}.png", "masks/m-{}-x.png"),
        ("{}.png", "{}_segmentation.png"),
        ("image_{}.png", "label_{}.png"),
    ],
)
def test_images_and_masks_are_paired(tmp_path: Path, images: str, masks: str) -> None:
    folder = picture_folders(tmp_path / "mine", NAMES, images=images, masks=masks)
    dataset = opened(folder)
    assert [ref.id.removeprefix("bus_") for ref in dataset.index()] == NAMES
    for number, ref in enumerate(dataset.index()):
        image, disc = picture(number)
        case, truth = dataset.read(ref), dataset.truth(ref)
        assert truth is not None and np.array_equal(truth.label.numpy(), disc)
        assert torch.allclose(case.image[0], torch.from_numpy(image) / 255)
    assert not [finding for finding in verify(dataset) if finding.level == "error"]


def test_sub_folders_are_patients_and_images_without_mask_are_unlabeled(tmp_path: Path) -> None:
    names = ["anna/1", "anna/2", "ben/1"]
    folder = picture_folders(tmp_path, names, bare=["carl/1"])
    refs = opened(folder).index()
    assert [(ref.id, ref.group, ref.has_label) for ref in refs] == [
        ("anna_1", "anna", True), ("anna_2", "anna", True), ("ben_1", "ben", True), ("carl_1", "carl", False),
    ]  # fmt: skip


def test_values_of_labels_become_classes_and_can_be_named_merged_and_ignored(tmp_path: Path) -> None:
    label = np.zeros((24, 24), np.uint8)
    label[:4], label[4:8], label[8:12], label[12:16] = 1, 2, 5, 9
    for name in NAMES:
        save_picture(tmp_path / f"images/{name}.png", picture(1)[0])
        save_picture(tmp_path / f"masks/{name}.png", label)
    assert opened(tmp_path).card.classes == ("background", "class 1", "class 2", "class 5", "class 9")
    declare(tmp_path, classes={0: "background", 1: "liver", 2: "tumour", 5: "liver"}, ignore=[9])
    dataset = opened(tmp_path)
    assert dataset.card.classes == ("background", "liver", "tumour")
    truth = dataset.truth(dataset.index()[0])
    assert truth is not None
    rows = truth.label[:, 0].tolist()
    assert rows == [1] * 4 + [2] * 4 + [1] * 4 + [255] * 4 + [0] * 8


def test_a_palette_stores_classes_by_number(tmp_path: Path) -> None:
    from PIL import Image

    for number, name in enumerate(NAMES):
        image, disc = picture(number)
        save_picture(tmp_path / f"images/{name}.png", image)
        mask = Image.fromarray((disc * 2).astype(np.uint8), mode="P")
        mask.putpalette([0, 0, 0, 255, 0, 0, 0, 200, 0])
        (tmp_path / "masks").mkdir(exist_ok=True)
        mask.save(tmp_path / f"masks/{name}.png")
    dataset = opened(tmp_path)
    assert dataset.card.classes == ("background", "class 2")
    truth = dataset.truth(dataset.index()[3])
    assert truth is not None and np.array_equal(truth.label.numpy(), picture(3)[1])


def test_colour_and_16_bit_images(tmp_path: Path) -> None:
    colour = np.zeros((24, 24, 3), np.uint8)
    colour[..., 0], colour[..., 2] = 255, 51
    for name in NAMES:
        save_picture(tmp_path / f"c/images/{name}.png", colour)
        save_picture(tmp_path / f"d/images/{name}.tif", (np.arange(576).reshape(24, 24) * 100).astype(np.uint16))
        for part in "cd":
            save_picture(tmp_path / f"{part}/masks/{name}.png", (picture(1)[1] * 1).astype(np.uint8))
    dataset = opened(tmp_path / "c")
    assert dataset.card.channels == 3
    assert read(dataset, "p00")[1].image[:, 5, 5].tolist() == pytest.approx([1, 0, 0.2])
    dataset = opened(tmp_path / "d")
    image = read(dataset, "p00")[1].image
    assert float(image.min()) == 0 and float(image.max()) == 1 and len(torch.unique(image)) > 500


def test_the_decathlons_layout(tmp_path: Path) -> None:
    dataset = opened(decathlon(tmp_path / "Task09", 6, labeled=4, tests=2))
    card = dataset.card
    assert (card.name, card.dims, card.channels, card.classes) == ("task09", 3, 1, ("background", "head", "tail"))
    assert card.slice_axis == 0, "z has the coarsest spacing, and comes first"
    refs = dataset.index()
    assert [ref.has_label for ref in refs] == [True] * 4 + [False] * 2, "imagesTs without labels are left out"
    ref, case = read(dataset, "case01")
    image, label = volume(1)
    assert case.spacing == (3.0, 1.0, 1.0) and case.image.shape == (1, 10, 14, 12)
    values = image.transpose(2, 1, 0).astype(np.float64)
    assert np.allclose(case.image[0].numpy(), (values - values.mean()) / values.std(), atol=1e-5)
    truth = dataset.truth(ref)
    assert truth is not None and np.array_equal(truth.label.numpy(), label.transpose(2, 1, 0))
    declare(tmp_path / "Task09", test_images="unlabeled")
    assert len(opened(tmp_path / "Task09").index()) == 8


def test_nnunets_channels_are_stacked_and_its_folds_are_splits(tmp_path: Path) -> None:
    folder = decathlon(tmp_path, 6, channels=2)
    ids = [f"case{number:02d}" for number in range(6)]
    folds = [{"train": ids[2:], "val": ids[:2]}, {"train": [*ids[:2], *ids[4:]], "val": ids[2:4]}]
    write_json(folder / "splits_final.json", folds)
    dataset = opened(folder, declared={})
    assert dataset.card.channels == 2 and read(dataset, "case03")[1].image.shape == (2, 10, 14, 12)
    splits = dataset.splits()
    assert "fold2-50p" in splits and [ref.id for ref in splits["fold2-50p"].test] == ids[2:4]
    half, every = splits["fold1-50p"], splits["fold1-all"]
    assert len(half.labeled) == 2 and len(half.unlabeled) == 2 and len(every.labeled) == 4
    assert {ref.id for ref in (*half.labeled, *half.unlabeled)} == set(ids[2:])


def test_channels_in_a_fourth_axis(tmp_path: Path) -> None:
    for number in range(4):
        image, label = volume(number)
        save_nifti(tmp_path / f"imagesTr/a{number}.nii.gz", np.stack([image, image * 2], -1), (1, 1, 3, 1)[:3])
        save_nifti(tmp_path / f"labelsTr/a{number}.nii.gz", label)
    dataset = opened(tmp_path)
    assert dataset.card.channels == 2 and read(dataset, "a2")[1].image.shape == (2, 10, 14, 12)


@pytest.mark.parametrize("kind", ["h5", "npz"])
def test_arrays_with_named_keys(tmp_path: Path, kind: str) -> None:
    folder = declare(array_folder(tmp_path / "mine", kind=kind, image="t1", label="gt"), image_key="t1", label_key="gt")
    dataset = opened(folder)
    assert dataset.card.dims == 3 and [ref.has_label for ref in dataset.index()] == [True] * 5 + [False]
    ref, case = read(dataset, "v2")
    assert case.image.shape == (1, 12, 14, 10), "arrays are read as they are stored"
    truth = dataset.truth(ref)
    assert truth is not None and np.array_equal(truth.label.numpy(), volume(2)[1])


@pytest.mark.parametrize("ending", [".nii", ".mha", ".nrrd"])
def test_volumes_in_image_and_mask_folders(tmp_path: Path, ending: str) -> None:
    import SimpleITK

    for number in range(4):
        for part, array in zip(("images", "masks"), volume(number), strict=True):
            (tmp_path / part).mkdir(exist_ok=True)
            image = SimpleITK.GetImageFromArray(array.transpose(2, 1, 0))
            image.SetSpacing((0.5, 0.5, 4.0))
            SimpleITK.WriteImage(image, str(tmp_path / part / f"v{number}{ending}"))
    dataset = opened(tmp_path)
    ref, case = read(dataset, "v1")
    assert case.image.shape == (1, 10, 14, 12) and case.spacing == (4.0, 0.5, 0.5)
    truth = dataset.truth(ref)
    assert truth is not None and np.array_equal(truth.label.numpy(), volume(1)[1].transpose(2, 1, 0))


def test_a_csv_list_states_groups_domains_and_roles(tmp_path: Path) -> None:
    picture_folders(tmp_path, NAMES, images="x/{}.png", masks="y/{}.png", bare=["u1", "u2"])
    rows = ["Case,Image,Label,Patient,Site,Split"]
    roles = ["labeled", "labeled", "unlabeled", "validation", "test", "test"]
    rows += [f"c{n},x/{name}.png,y/{name}.png,pat{n // 2},s{n % 2},{roles[n]}" for n, name in enumerate(NAMES)]
    rows += ["u1,x/u1.png,,,s1,unlabeled", "u2,x/u2.png,,,s1,unlabeled"]
    (tmp_path / "cases.csv").write_text("\n".join(rows), encoding="utf-8")
    dataset = opened(tmp_path)
    refs = {ref.id: ref for ref in dataset.index()}
    assert refs["c3"].group == "pat1" and refs["c3"].domain == "s1" and dataset.card.domains == ("s0", "s1")
    assert not refs["u1"].has_label and refs["u1"].group == "u1"
    split = dataset.splits()["list"]
    assert [ref.id for ref in split.test] == ["c4", "c5"] and [ref.id for ref in split.validation] == ["c3"]
    assert [ref.id for ref in split.labeled] == ["c0", "c1"]


def test_monais_data_list(tmp_path: Path) -> None:
    cases = []
    for number in range(6):
        image, label = volume(number)
        save_nifti(tmp_path / f"d/im{number}.nii.gz", image)
        save_nifti(tmp_path / f"d/lab{number}.nii.gz", label)
        cases.append({"fold": number % 3, "image": f"d/im{number}.nii.gz", "label": f"d/lab{number}.nii.gz"})
    save_nifti(tmp_path / "d/im9.nii.gz", volume(9)[0])
    write_json(tmp_path / "dataset_0.json", {"training": cases, "testing": [{"image": "d/im9.nii.gz"}]})
    dataset = opened(tmp_path)
    assert [ref.id for ref in dataset.index()] == [f"im{number}" for number in range(6)], "a test case needs a label"
    splits = dataset.splits()
    assert [ref.id for ref in splits["fold2-all"].test] == ["im1", "im4"]


def test_scale_window_spacing_and_size(tmp_path: Path) -> None:
    folder = declare(decathlon(tmp_path, 4), scale="window", window=[100, 200], spacing=[2, 1, 1], size=[6, 8, 8])
    dataset = opened(folder)
    ref, case = read(dataset, "case00")
    assert case.image.shape == (1, 6, 8, 8) and case.frame.spacing == (2.0, 1.0, 1.0)
    assert float(case.image.min()) >= 0 and float(case.image.max()) <= 1
    truth = dataset.truth(ref)
    assert truth is not None and truth.label.shape == (10, 14, 12) and truth.spacing == (2.0, 1.0, 1.0)


def test_a_label_is_read_along_the_axes_of_its_image(tmp_path: Path) -> None:
    import nibabel

    folder = decathlon(tmp_path, 4)
    turned = np.diag([-1.0, 1.0, 3.0, 1.0])
    turned[0, 3] = 11.0
    nibabel.save(nibabel.Nifti1Image(volume(2)[1][::-1], turned), folder / "labelsTr/case02.nii.gz")
    dataset = opened(folder)
    ref, case = read(dataset, "case02")
    assert case.label is not None and np.array_equal(case.label.numpy(), volume(2)[1].transpose(2, 1, 0))
    assert any("another order or direction" in remark.message for remark in dataset.remarks(ref))


def test_a_declared_data_set_never_has_a_phantom(tmp_path: Path) -> None:
    folder = picture_folders(tmp_path, NAMES)
    cls = find_dataset(registry(), str(folder)).resolve()
    from semibench.contracts.cases import PhantomOptions

    with pytest.raises(SemibenchError, match="has no phantom"):
        cls.phantom(cls.Options(), PhantomOptions())
