"""The SemSim paper's data sets: ACDC and PROMISE12 (volumes that are trained by slices), ISIC 2018 (colour images)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation
from support.official_layouts import blocks, disc, picture, save_h5, save_itk, save_nifti, save_picture, volume

from semibench import CaseError, CaseRef, Dataset, LayoutError, PhantomOptions
from semibench.blocks import IMAGENET_MEAN, IMAGENET_STD, read_split_roles
from semibench_plugins.datasets.heart import published_splits as heart_splits
from semibench_plugins.datasets.heart.acdc import ACDC
from semibench_plugins.datasets.pelvis import published_splits as pelvis_splits
from semibench_plugins.datasets.pelvis.promise12 import PROMISE12
from semibench_plugins.datasets.skin import published_splits as skin_splits
from semibench_plugins.datasets.skin.isic2018 import ISIC2018


@pytest.fixture(autouse=True)
def no_group_tables(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMIBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.mark.parametrize("cls", [ACDC, PROMISE12, ISIC2018])
def test_missing_folder_shows_tree(cls: type[Dataset], tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    for edition in cls.card.editions:
        for root in (tmp_path, None):
            with pytest.raises(LayoutError) as caught:
                cls(root, cls.Options(edition=edition)).index()
            assert cls.card.tree in str(caught.value) and "\n" not in caught.value.brief
            assert ("found only other" if root else "found no folder") in caught.value.brief


@pytest.mark.parametrize("cls", [ACDC, PROMISE12])
def test_volume_phantoms_are_in_unit_range(cls: type[Dataset]) -> None:
    for edition in cls.card.editions:
        made = cls.phantom(cls.Options(edition=edition), PhantomOptions(cases=2, scale=0.5))
        case = made.read(made.index()[0])
        assert case.label is not None and case.image.shape[0] == 1 and case.spacing is not None
        assert float(case.image.min()) == 0 and float(case.image.max()) == 1
        assert int(case.label.max()) < len(cls.card.classes)


# --- ACDC --------------------------------------------------------------------------------------------------------------


def acdc_patient(root: Path, number: int, frames: tuple[int, ...]) -> Path:
    folder = root / "ACDC" / "database" / "training" / f"patient{number:03d}"
    for frame in frames:
        save_nifti(folder / f"patient{number:03d}_frame{frame:02d}.nii.gz", volume(frame), (1.5, 1.25, 10.0))
        save_nifti(folder / f"patient{number:03d}_frame{frame:02d}_gt.nii.gz", blocks([1, 2, 3]), (1.5, 1.25, 10.0))
    return folder


def test_acdc_frames_labels_and_spacing(tmp_path: Path) -> None:
    acdc_patient(tmp_path, 7, (1, 12))
    data = ACDC(tmp_path, ACDC.Options())
    first, second = data.index()
    assert first == CaseRef("acdc", "patient007_frame01", "patient007", "default", True)
    assert second.id == "patient007_frame02" and second.group == "patient007"  # the second annotated frame, number 12
    assert [path.name for path in data.files(second)] == ["patient007_frame12.nii.gz", "patient007_frame12_gt.nii.gz"]
    case, truth = data.read(second), data.truth(second)
    expected = volume(12).T  # z, y, x
    low, high = expected.min(), expected.max()
    assert np.allclose(case.image[0].numpy(), (expected - low) / (high - low), atol=1e-6)
    assert truth is not None and case.label is not None and case.spacing == truth.spacing == (10.0, 1.25, 1.5)
    assert np.array_equal(truth.label.numpy(), blocks([1, 2, 3]).T) and torch.equal(case.label, truth.label)
    assert case.frame.shape == tuple(case.image.shape[1:]) == (12, 16, 14)


def test_acdc_needs_two_frames(tmp_path: Path) -> None:
    folder = acdc_patient(tmp_path, 7, (1, 12, 20))
    with pytest.raises(LayoutError, match=r"expected 2 annotated frames of patient007, found 3 \(01, 12, 20\)"):
        ACDC(tmp_path, ACDC.Options()).index()
    for name in folder.glob("*frame20*"):
        name.unlink()
    (folder / "patient007_frame12_gt.nii.gz").unlink()
    data = ACDC(tmp_path, ACDC.Options())
    assert [ref.has_label for ref in data.index()] == [True, False]
    (problem,) = data.inspect()
    assert "patient007_frame12_gt.nii.gz: expected the mask of patient007_frame12" in problem.message


def test_acdc_processed_files_are_read_as_they_are(tmp_path: Path) -> None:
    image, label = volume(0) / 255, blocks([1, 2, 3])
    save_h5(tmp_path / "ACDC" / "data" / "patient001_frame02.h5", image, label)
    save_h5(tmp_path / "ACDC" / "data" / "slices" / "patient001_frame02_slice_1.h5", image, label)
    data = ACDC(tmp_path, ACDC.Options(edition="ssl4mis"))
    (ref,) = data.index()
    case = data.read(ref)
    assert ref.id == "patient001_frame02" and case.spacing is None and not data.inspect()
    assert np.array_equal(case.image[0].numpy(), image) and case.label is not None
    assert np.array_equal(case.label.numpy(), label)
    with pytest.raises(
        LayoutError, match=r"edition 'official', but files of the edition 'ssl4mis': --set dataset.edition=ssl4mis"
    ):
        ACDC(tmp_path, ACDC.Options()).index()


def test_acdc_phantom_has_the_classes_of_acdc() -> None:
    made = ACDC.phantom(ACDC.Options(), PhantomOptions(cases=8))
    truth = made.truth(made.index()[0])
    assert truth is not None
    widest = truth.label[int((truth.label == 3).sum(dim=(1, 2)).argmax())]
    rim = binary_dilation(widest.numpy() == 3) & (widest.numpy() != 3)
    assert (widest.numpy()[rim] == 2).mean() > 0.9  # the wall around the left ventricle
    right, left = (torch.nonzero(widest == k).float().mean(0) for k in (1, 3))
    assert right[1] < left[1] - 6


# --- PROMISE12 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["training_data", "TrainingData_Part2", "promise12", ""])
def test_promise12_reads_metaimage(tmp_path: Path, folder: str) -> None:
    save_itk(tmp_path / folder / "Case07.mhd", np.rint(volume(1)).astype(np.int16))
    save_itk(tmp_path / folder / "Case07_segmentation.mhd", blocks([1]).astype(np.int8))
    data = PROMISE12(tmp_path, PROMISE12.Options())
    (ref,) = data.index()
    assert ref == CaseRef("promise12", "Case07", "Case07", "default", True) and not data.inspect()
    assert [path.name for path in data.files(ref)] == [
        "Case07.mhd", "Case07_segmentation.mhd", "Case07.raw", "Case07_segmentation.raw",
    ]  # fmt: skip
    case, truth = data.read(ref), data.truth(ref)
    assert truth is not None and np.array_equal(truth.label.numpy(), blocks([1]).T)
    assert case.spacing == pytest.approx((2.2, 0.625, 0.625)) and case.image.shape == (1, 12, 16, 14)
    assert float(case.image.min()) == 0 and float(case.image.max()) == 1
    robust = PROMISE12(tmp_path, PROMISE12.Options(edition="percentile")).read(ref)
    assert int((robust.image == 1).sum()) > int((case.image == 1).sum())
    (tmp_path / folder / "Case07.raw").unlink()
    with pytest.raises(CaseError, match=r"Case07.mhd: expected its voxels in Case07.raw, found no such file"):
        data.read(ref)


# --- ISIC 2018 ---------------------------------------------------------------------------------------------------------


def test_isic2018_is_in_colour(tmp_path: Path) -> None:
    colours = picture(3, colour=True)
    save_picture(tmp_path / "ISIC2018_Task1-2_Training_Input" / "ISIC_0000013.png", colours)
    save_picture(tmp_path / "ISIC2018_Task1_Training_GroundTruth" / "ISIC_0000013_segmentation.png", disc())
    data = ISIC2018(tmp_path, ISIC2018.Options())
    (ref,) = data.index()
    case, truth = data.read(ref), data.truth(ref)
    assert np.allclose(case.image.numpy(), np.moveaxis(colours, -1, 0) / 255, atol=1e-7)
    assert truth is not None and np.array_equal(truth.label.numpy(), disc() // 255) and truth.spacing is None
    small = ISIC2018(tmp_path, ISIC2018.Options(size=(12, 16))).read(ref)
    assert small.image.shape == (3, 12, 16) and small.frame.shape == (24, 32) and small.label is not None
    scaled = ISIC2018(tmp_path, ISIC2018.Options(edition="imagenet")).read(ref)
    mean, deviation = (np.array(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    assert np.allclose(scaled.image.numpy(), (np.moveaxis(colours, -1, 0) / 255 - mean) / deviation, atol=1e-5)


def test_isic2018_also_reads_the_repacked_layout(tmp_path: Path) -> None:
    save_picture(tmp_path / "Image" / "ISIC_0000000.jpg", picture(0, colour=True))
    save_picture(tmp_path / "Label" / "ISIC_0000000.jpg", disc())
    data = ISIC2018(tmp_path, ISIC2018.Options())
    (ref,) = data.index()
    truth = data.truth(ref)
    assert truth is not None and not data.inspect()
    assert np.array_equal(truth.label.numpy(), disc() // 255)  # JPEG rings around the edge stay below the threshold


def test_isic2018_phantom_has_colours() -> None:
    made = ISIC2018.phantom(ISIC2018.Options(size=(48, 64)), PhantomOptions(cases=2))
    case = made.read(made.index()[0])
    red, _, blue = case.image.mean(dim=(1, 2))
    assert case.image.shape == (3, 48, 64) and red > blue + 0.05


# --- published splits --------------------------------------------------------------------------------------------------


def training_slices(package: str, name: str) -> dict[str, int]:
    """Training slices of each patient or case, in the order of labeling."""
    tokens = (token.split(":") for token in read_split_roles(package, name)["train"])
    return {patient: int(count) for patient, count in tokens}


def test_acdc_lists() -> None:
    slices = training_slices(heart_splits.LISTS, "lists/acdc/ssl4mis.txt")
    assert len(slices) == 70 and sum(slices.values()) == 1312
    counts = np.cumsum(list(slices.values()))
    assert [int(counts[n - 1]) for n in (1, 3, 7, 14, 21, 28, 35)] == [32, 68, 136, 256, 396, 512, 664]
    for labeled in heart_splits.ACDC_LABELED:
        split = heart_splits.acdc(labeled)
        sizes = [len(part) for part in (split.labeled, split.unlabeled, split.validation, split.test)]
        assert sizes == [2 * labeled, 140 - 2 * labeled, 20, 40] and len(set(split.every())) == 200
        assert split.validation_from == "official"
    patients = [name[7:10] for name in heart_splits.acdc(7).labeled[::2]]
    assert patients == ["099", "038", "050", "100", "058", "021", "049"]
    assert set(heart_splits.acdc(1).labeled) == {"patient099_frame01", "patient099_frame02"}


def test_promise12_lists() -> None:
    slices = training_slices(pelvis_splits.LISTS, "lists/promise12/cvsslmis.txt")
    assert len(slices) == 35 and sum(slices.values()) == 940
    assert np.cumsum(list(slices.values()))[:7].tolist() == [24, 47, 93, 111, 131, 151, 191]
    split = pelvis_splits.promise12(2)
    assert list(split.labeled) == ["Case48", "Case35"]
    assert [len(split.unlabeled), len(split.validation), len(split.test)] == [33, 5, 10]
    assert len(set(split.every())) == 50


def test_isic2018_lists() -> None:
    few, many = skin_splits.isic2018(55), skin_splits.isic2018(181)
    assert few.labeled[-1] == "ISIC_0000085" and many.labeled[-1] == "ISIC_0000287"
    for split, count in ((few, 55), (many, 181)):
        assert (len(split.labeled), len(split.unlabeled), len(split.test)) == (count, 1838 - count, 756)
        assert len(set(split.every())) == 2594 and not split.validation


def test_acdc_complete_offers_its_splits(tmp_path: Path) -> None:
    for number in range(1, 101):
        for frame in (1, 2):
            path = tmp_path / "ACDC" / "data" / f"patient{number:03d}_frame{frame:02d}.h5"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    data = ACDC(tmp_path, ACDC.Options(edition="ssl4mis"))
    splits = data.splits()
    assert len(data.index()) == data.card.cases and list(splits)[:3] == ["acdc-7", "acdc-3", "acdc-1"]
    assert {ref.group for ref in splits["acdc-3"].labeled} == {"patient099", "patient038", "patient050"}
