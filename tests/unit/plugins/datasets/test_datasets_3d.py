"""Volume data sets on tiny copies of their official layouts, written here, and on real files where they are."""

from __future__ import annotations

from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from pydantic import ValidationError
from support.places import real_data

from semibench import CaseError, CaseRef, Dataset, Frame, LayoutError, PhantomOptions
from semibench.blocks import centred_box, crop_or_pad, foreground_box, scale_to_unit, scaled_spacing, z_score
from semibench.evaluation.inference import native_labels
from semibench_plugins.datasets.brain.msd_hippocampus import MSDHippocampus
from semibench_plugins.datasets.heart.la import LA, crop_box
from semibench_plugins.datasets.heart.mmwhs import MMWHS
from semibench_plugins.datasets.heart.mnms import MNMs, middle

VOLUMES = (LA, MMWHS, MNMs, MSDHippocampus)


@pytest.fixture(autouse=True)
def no_group_tables(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMIBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))


def put_back(label: torch.Tensor, frame: Frame, classes: int) -> np.ndarray:
    """A perfect prediction on the working grid, as the harness brings it to the native grid."""
    one_hot = torch.nn.functional.one_hot(label.long(), classes).movedim(-1, 0).float()
    return np.asarray(native_labels(one_hot, frame))


def block(shape: tuple[int, ...], box: tuple[tuple[int, int], ...], value: int = 1) -> np.ndarray:
    label = np.zeros(shape, np.int16)
    label[tuple(slice(a, b) for a, b in box)] = value
    return label


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(100, 30, shape).astype(np.float32)


def save_nifti(
    path: Path, array: np.ndarray, affine: np.ndarray | None = None, zooms: tuple[float, ...] | None = None
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine)
    if zooms is not None:
        image.header.set_zooms(zooms)
    nibabel.save(image, path)


def save_nrrd(path: Path, array_xyz: np.ndarray, spacing: tuple[float, float, float]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array_xyz.transpose(2, 1, 0)))
    image.SetSpacing(spacing)
    sitk.WriteImage(image, str(path))


# --- pieces ----------------------------------------------------------------------------------------------------------


def test_boxes_and_cuts() -> None:
    label = block((10, 12), ((3, 6), (0, 2)))
    assert foreground_box(label.astype(np.uint8)) == ((3, 6), (0, 2))
    assert foreground_box(label.astype(np.uint8), (2, 5)) == ((1, 8), (0, 7))
    assert foreground_box(np.zeros((4, 4), np.uint8)) is None
    array = np.arange(12).reshape(3, 4)
    wide = crop_or_pad(array, ((-1, 4), (2, 5)), fill=-1)
    assert wide.shape == (5, 3) and (wide[0] == -1).all() and (wide[:, 2] == -1).all()
    assert np.array_equal(wide[1:4, :2], array[:, 2:])
    assert centred_box((5, 8, 7), (8, 4, 7)) == ((-2, 6), (2, 6), (0, 7))
    assert middle(256) == (43, 213) and middle(9) == (1, 7)


def test_intensities() -> None:
    values = np.arange(101, dtype=np.float32)
    unit = scale_to_unit(values, 10, 90)
    assert unit[0] == unit[10] == 0 and unit[90] == unit[100] == 1 and unit[50] == pytest.approx(0.5)
    assert scale_to_unit(np.full(5, 3, np.float32)).tolist() == [0] * 5 == z_score(np.full(5, 3, np.float32)).tolist()
    scored = z_score(values)
    assert scored.mean() == pytest.approx(0, abs=1e-6) and scored.std() == pytest.approx(1, rel=1e-6)
    assert scaled_spacing((2.0, 1.0), ((0, 10), (5, 15)), (5, 40)) == (4.0, 0.25)
    assert scaled_spacing(None, ((0, 10),), (5,)) is None


@pytest.mark.parametrize("cls", VOLUMES)
def test_missing_folder_shows_tree(cls: type[Dataset], tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    for edition in cls.card.editions:
        for root in (tmp_path, None):
            with pytest.raises(LayoutError) as caught:
                cls(root, cls.Options(edition=edition)).index()
            assert cls.card.tree in str(caught.value) and ("    other/" in str(caught.value)) == (root is not None)
    with pytest.raises(ValidationError, match="three numbers"):
        cls.Options(size=(4, 4))


@pytest.mark.parametrize("cls", VOLUMES)
def test_phantom_has_the_editions_values(cls: type[Dataset]) -> None:
    for edition in cls.card.editions:
        options = cls.Options(edition=edition, size=(16, 32, 16))
        case_set = cls.phantom(options, PhantomOptions(cases=2, scale=0.5))
        case = case_set.read(case_set.index()[0])
        assert case.image.shape == (1, 16, 32, 16) and case.label is not None and case.spacing is not None
        assert int(case.label.max()) < len(cls.card.classes)
        low, high = float(case.image.min()), float(case.image.max())
        assert (low, high) == (0, 1) if cls in (MMWHS, MNMs) else low < 0 < high


# --- LA --------------------------------------------------------------------------------------------------------------

LA_ID = "06SR5RBREL16DQ6M8LWS"


@pytest.mark.parametrize(
    "place_of", ["h5/{}.h5", "h5/{}/mri_norm2.h5", "2018LA_Seg_Training Set/{}/mri_norm2.h5", "la/h5/{}.h5"]
)
def test_la_reads_uamts_files(tmp_path: Path, place_of: str) -> None:
    path = tmp_path / place_of.format(LA_ID)
    path.parent.mkdir(parents=True)
    label = block((10, 12, 8), ((2, 6), (3, 9), (1, 5)))
    with h5py.File(path, "w") as file:
        file["image"], file["label"] = noise((10, 12, 8)), label.astype(np.uint8)
    data = LA(tmp_path, LA.Options())
    ref = data.index()[0]
    assert ref == CaseRef("la", LA_ID, LA_ID, "default", True) and data.files(ref) == (path,)
    case, truth = data.read(ref), data.truth(ref)
    assert case.image.shape == (1, 10, 12, 8) and np.array_equal(case.image[0].numpy(), noise((10, 12, 8)))
    assert case.spacing == (0.625,) * 3 and truth is not None and case.label is not None
    assert np.array_equal(truth.label.numpy(), label) and torch.equal(case.label, truth.label)
    with pytest.raises(LayoutError, match=r"edition 'margin-15'.*dataset.edition=uamt"):
        LA(tmp_path, LA.Options(edition="margin-15")).index()
    with h5py.File(path, "w") as file:
        file["image"] = noise((10, 12, 8))
    with pytest.raises(CaseError, match=r"has no key 'label'; it has: image"):
        LA(tmp_path, LA.Options()).read(ref)


def test_la_from_nrrd(tmp_path: Path) -> None:
    image, label = noise((170, 150, 6)), block((170, 150, 6), ((60, 90), (10, 140), (2, 4)), 255).astype(np.uint8)
    folder = tmp_path / "raw" / "2018LA_Seg_Training Set" / LA_ID
    save_nrrd(folder / "lgemri.nrrd", image, (0.625, 0.625, 0.7))
    save_nrrd(folder / "laendo.nrrd", label, (0.625, 0.625, 0.7))
    data = LA(tmp_path, LA.Options(edition="margin-15"))
    ref = data.index()[0]
    case, truth = data.read(ref), data.truth(ref)
    # x: 30 long, lacks 82 of 112, so 41 + 15 voxels per side; y: 130 long, 15 per side, kept inside; z whole.
    assert case.frame == Frame((170, 150, 6), pytest.approx((0.625, 0.625, 0.7)), ((4, 146), (0, 150), (0, 6)))
    assert np.allclose(case.image[0].numpy(), z_score(image)[4:146], atol=1e-6)
    assert truth is not None and case.label is not None and np.array_equal(truth.label.numpy(), label // 255)
    assert np.array_equal(put_back(case.label, case.frame, 2), truth.label.numpy())
    free = LA(tmp_path, LA.Options(edition="label-free")).read(ref)
    assert free.image.shape == (1, 170, 150, 6) and free.image.mean() == pytest.approx(0, abs=1e-4)
    small = LA(tmp_path, LA.Options(edition="margin-15", size=(71, 75, 6))).read(ref)
    assert small.image.shape == (1, 71, 75, 6) and small.spacing == pytest.approx((1.25, 1.25, 0.7))
    save_nrrd(folder / "laendo.nrrd", np.zeros_like(label), (0.625, 0.625, 0.7))
    with pytest.raises(CaseError, match=r"laendo.nrrd: the edition margin-15 crops to the label"):
        data.read(ref)
    assert crop_box(np.zeros((4, 4, 4), np.uint8)) is None


# --- MM-WHS ----------------------------------------------------------------------------------------------------------


def mmwhs_case(root: Path, name: str, folder: str, label: np.ndarray, affine: np.ndarray | None = None) -> np.ndarray:
    image = noise(label.shape)
    suffix = ("imagesTr/", "labelsTr/") if folder in ("MR", "CT") else ("", "")
    save_nifti(root / folder / f"{suffix[0]}{name}_image.nii.gz", image, affine)
    save_nifti(root / folder / f"{suffix[1]}{name}_label.nii.gz", label, affine)
    return image


def heart(shape: tuple[int, int, int] = (20, 24, 28)) -> np.ndarray:
    """x, y, z with the seven structures and the stray value."""
    label = np.zeros(shape, np.int16)
    label[6:12, 7:12, 8:14] = 205
    label[12:14, 7:12, 8:14] = 420
    label[12, 7, 8] = 421
    label[6:9, 12:15, 8:14] = 500
    label[6:9, 12:15, 14:18] = 820
    label[2:4, 2:4, 2:4], label[16:18, 2:4, 2:4], label[2:4, 20:22, 2:4] = 600, 550, 850
    return label


def test_mmwhs_labels_orientation_and_crop(tmp_path: Path) -> None:
    label = heart()
    affine = np.diag([-1.0, -2.0, 3.0, 1.0])  # x to the left, y to the back, z to the head: no flip is needed
    image = mmwhs_case(tmp_path, "mr_train_1001", "mr_train", label, affine)
    mmwhs_case(tmp_path, "ct_train_1003", "CT", label)
    data = MMWHS(tmp_path, MMWHS.Options(size=(12, 10, 10)))
    mr, ct = data.index()[::-1]
    assert (mr.domain, ct.domain, mr.group, ct.id) == ("mr", "ct", "mr_train_1001", "ct_train_1003")
    expected = np.select([label == 205, (label == 420) | (label == 421), label == 500, label == 820], [1, 2, 3, 4]).T
    truth, case = data.truth(mr), data.read(mr)
    assert truth is not None and np.array_equal(truth.label.numpy(), expected) and truth.spacing == (3, 2, 1)
    # structures: z 8..17, y 7..14, x 6..13; margin 4 before and 3 behind
    assert case.frame.box == ((4, 21), (3, 18), (2, 17)) and case.frame.shape == (28, 24, 20)
    assert case.image.shape == (1, 12, 10, 10) and float(case.image.min()) == 0 and float(case.image.max()) == 1
    flipped = data.truth(ct)  # stored as x to the right, y to the front: both turned round
    assert flipped is not None and np.array_equal(flipped.label.numpy(), expected[:, ::-1, ::-1])
    same = MMWHS(tmp_path, MMWHS.Options(size=(17, 15, 15))).read(mr)
    part = image.T[4:21, 3:18, 2:17]
    clipped = np.clip(part, 0, np.percentile(part, 98))
    low, high = clipped.min(), clipped.max()
    assert np.allclose(same.image[0].numpy(), (clipped - low) / (high - low), atol=1e-6)
    assert same.label is not None and np.array_equal(put_back(same.label, same.frame, 5), expected)
    whole = MMWHS(tmp_path, MMWHS.Options(edition="label-free")).read(mr)
    assert whole.image.shape == (1, 144, 144, 144) and whole.frame.extent == ((0, 28), (0, 24), (0, 20))


def test_mmwhs_errors_and_the_case_with_stray_marks(tmp_path: Path) -> None:
    label = heart()
    label[0, 0, 0] = 205  # a stray mark near the border
    mmwhs_case(tmp_path, "mr_train_1002", "mr_train", label, np.diag([-1.0, -1.0, 1.0, 1.0]))
    data = MMWHS(tmp_path, MMWHS.Options(size=(8, 8, 8)))
    truth = data.truth(data.index()[0])
    assert truth is not None and int(truth.label[0, 0, 0]) == 0 and int((truth.label == 1).sum()) > 0
    free = MMWHS(tmp_path, MMWHS.Options(edition="label-free", size=(8, 8, 8)))
    kept = free.truth(free.index()[0])
    assert kept is not None and int(kept.label[0, 0, 0]) == 1
    save_nifti(tmp_path / "mr_train" / "mr_train_1002_label.nii.gz", np.full((20, 24, 28), 7, np.int16))
    with pytest.raises(CaseError, match=r"mr_train_1002_label.nii.gz: unknown label values \[7\]"):
        data.read(data.index()[0])
    save_nifti(tmp_path / "mr_train" / "mr_train_1002_label.nii.gz", np.zeros((20, 24, 9), np.int16))
    with pytest.raises(CaseError, match=r"the label has the shape \(9, 24, 20\), its image \(28, 24, 20\)"):
        data.read(data.index()[0])


# --- M&Ms ------------------------------------------------------------------------------------------------------------


def mnms_patient(root: Path, part: str, code: str, frames: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    image, label = noise((12, 15, 7, 10)), np.zeros((12, 15, 7, 10), np.int16)
    for frame in frames:
        label[4:8, 5:10, 1:5, frame] = 1 + frame % 3
    folder = root / "OpenDataset" / part / code
    save_nifti(folder / f"{code}_sa.nii.gz", image, zooms=(1.25, 1.5, 9.0, 1.0))
    save_nifti(folder / f"{code}_sa_gt.nii.gz", label, zooms=(1.25, 1.5, 9.0, 1.0))
    return image, label


def test_mnms_frames_vendors_and_crop(tmp_path: Path) -> None:
    image, label = mnms_patient(tmp_path, "Training/Labeled", "A0S9V9", (0, 9))
    mnms_patient(tmp_path, "Testing", "A1D0Q7", (0, 9))
    data = MNMs(tmp_path, MNMs.Options(size=(3, 10, 8)))
    refs = data.index()
    assert [(r.id, r.group, r.domain) for r in refs] == [
        ("A0S9V9_sa_0", "A0S9V9", "A"), ("A0S9V9_sa_9", "A0S9V9", "A"),
        ("A1D0Q7_sa_0", "A1D0Q7", "B"), ("A1D0Q7_sa_9", "A1D0Q7", "B"),
    ]  # fmt: skip
    case, truth = data.read(refs[1]), data.truth(refs[1])
    assert (
        truth is not None and np.array_equal(truth.label.numpy(), label[..., 9].T) and truth.spacing == (9.0, 1.5, 1.25)
    )
    # labeled slices 1..4, the last one dropped; y: 15//2 -+ 15//3, x: 12//2 -+ 12//3
    assert case.frame.box == ((1, 4), (2, 12), (2, 10)) and case.image.shape == (1, 3, 10, 8)
    part = image[..., 9].T[1:4, 2:12, 2:10]
    assert np.allclose(case.image[0].numpy(), scale_to_unit(part, 0.5, 99.5), atol=1e-6) and case.label is not None
    back = put_back(case.label, case.frame, 4)
    inside = np.zeros_like(back)
    inside[1:4] = label[..., 9].T[1:4]
    assert np.array_equal(back, inside) and case.spacing == (9.0, 1.5, 1.25)
    free = MNMs(tmp_path, MNMs.Options(edition="label-free")).read(refs[1])
    assert (
        free.image.shape == (1, 32, 144, 144)
        and free.frame.box == ((0, 7), (2, 12), (2, 10))
        and free.spacing is not None
    )
    assert free.spacing[0] == pytest.approx(9 * 7 / 32)
    mnms_patient(tmp_path, "Validation", "ZZZZZZ", (0, 9))
    with pytest.raises(LayoutError, match="1 patients are not among the 345 published ones: ZZZZZZ"):
        MNMs(tmp_path, MNMs.Options()).index()


def test_mnms_frame_without_label(tmp_path: Path) -> None:
    mnms_patient(tmp_path, "Testing", "A0S9V9", (0, 3))
    data = MNMs(tmp_path, MNMs.Options())
    with pytest.raises(CaseError, match=r"A0S9V9_sa_gt.nii.gz: frame 9 has no label"):
        data.read(data.index()[1])


# --- hippocampus -----------------------------------------------------------------------------------------------------


def test_hippocampus_is_padded_around_its_centre(tmp_path: Path) -> None:
    label = block((33, 50, 70), ((5, 9), (20, 30), (30, 40)), 2)
    label[5:9, 30:40, 30:40] = 1
    image = noise(label.shape)
    base = tmp_path / "Task04_Hippocampus"
    save_nifti(base / "imagesTr" / "hippocampus_007.nii.gz", image)
    save_nifti(base / "labelsTr" / "hippocampus_007.nii.gz", label)
    save_nifti(base / "imagesTr" / "hippocampus_008.nii.gz", image)
    save_nifti(base / "imagesTr" / "._hippocampus_007.nii.gz", image)
    data = MSDHippocampus(tmp_path, MSDHippocampus.Options())
    refs = data.index()
    assert [(r.id, r.has_label) for r in refs] == [("hippocampus_007", True), ("hippocampus_008", False)]
    case, truth = data.read(refs[0]), data.truth(refs[0])
    assert case.image.shape == (1, 48, 64, 48) and case.frame.box == ((-8, 40), (-7, 57), (11, 59))
    assert np.allclose(case.image[0, 8:41, 7:57].numpy(), z_score(image)[:, :, 11:59], atol=1e-6)
    assert float(case.image[0, :8].abs().max()) == 0 and case.spacing == (1, 1, 1)
    assert truth is not None and case.label is not None and np.array_equal(truth.label.numpy(), label)
    assert np.array_equal(put_back(case.label, case.frame, 3), label)
    bare = data.read(refs[1])
    assert bare.label is None and data.truth(refs[1]) is None


def test_hippocampus_real_files() -> None:
    data = MSDHippocampus(real_data("Task04_Hippocampus").parent, MSDHippocampus.Options())
    refs = data.index()
    assert len(refs) == len({ref.group for ref in refs}) == 65 and all(ref.has_label for ref in refs)
    for ref in refs[::8]:
        case, truth = data.read(ref), data.truth(ref)
        assert truth is not None and case.label is not None
        assert np.array_equal(put_back(case.label, case.frame, 3), truth.label.numpy())
        y = [float(torch.nonzero(truth.label == k)[:, 1].float().mean()) for k in (1, 2)]
        assert y[0] > y[1] + 10  # the second axis runs to the front: the anterior part lies higher on it
        assert case.image.mean() == pytest.approx(0, abs=1e-4)
