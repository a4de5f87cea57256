"""A label lies where its image lies, whichever way its file stores it; one that lies elsewhere is told."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from nibabel.orientations import inv_ornt_aff
from numpy.typing import NDArray
from support.data_toys import card

from semibench import CaseError, DatasetOptions
from semibench.blocks import FilePattern, PatternDataset, PreparedVolume, VolumeEntry
from semibench.data.cache import CaseStore
from semibench.data.verify import verify
from semibench.reporting import Reporter

IMAGE = np.random.default_rng(0).normal(size=(5, 7, 4)).astype(np.float32)
LABEL = (IMAGE > 0.3).astype(np.int16)
TURN = np.deg2rad(20)
OBLIQUE = np.array([[0.8 * np.cos(TURN), -np.sin(TURN), 0, -30], [0.8 * np.sin(TURN), np.cos(TURN), 0, 4], [0, 0, 2.5, 7],
                    [0, 0, 0, 1]])  # fmt: skip


class Scans(PatternDataset):
    """Pairs of NIfTI files."""

    card = card(name="scans", dims=3, domains=("default",), channels=1)

    def patterns(self, base: Path) -> Sequence[FilePattern]:
        return (
            FilePattern("image", r"(?P<case>s\d+)\.nii\.gz", "{case}", "{case}.nii.gz"),
            FilePattern("mask", r"(?P<case>s\d+)_gt\.nii\.gz", "{case}", "{case}_gt.nii.gz"),
        )

    def prepare(self, entry: VolumeEntry, image: NDArray[Any], label: NDArray[np.uint8] | None) -> PreparedVolume:
        box = tuple((0, side) for side in image.shape)
        return PreparedVolume(box, np.asarray(image, np.float32), self.size_of(box))


def scans(
    folder: Path, label: NDArray[Any] = LABEL, affine: NDArray[Any] = OBLIQUE, image: NDArray[Any] = OBLIQUE
) -> Scans:
    nibabel.save(nibabel.Nifti1Image(IMAGE, image), folder / "s1.nii.gz")
    nibabel.save(nibabel.Nifti1Image(label, affine), folder / "s1_gt.nii.gz")
    return Scans(folder, DatasetOptions())


def stored(axes: Sequence[int], signs: Sequence[int]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The label with its axes in another order and direction, and the affine that says so: nibabel's, not ours."""
    turn = np.array([[axes.index(axis), signs[axis]] for axis in range(3)])
    return nibabel.apply_orientation(LABEL, turn), OBLIQUE @ inv_ornt_aff(turn, LABEL.shape)


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=3)))
def test_a_label_stored_in_any_of_48_ways_is_the_same(
    axes: tuple[int, ...], signs: tuple[int, ...], tmp_path: Path
) -> None:
    data = scans(tmp_path, *stored(axes, signs))
    ref = data.index()[0]
    truth = data.truth(ref)  # before anything else was read
    assert truth is not None and np.array_equal(truth.label.numpy(), LABEL.transpose(2, 1, 0))
    assert truth.spacing == pytest.approx((2.5, 1.0, 0.8))
    case = data.read(ref)
    assert case.label is not None and torch.equal(case.label, truth.label)
    as_stored = axes == (0, 1, 2) and signs == (1, 1, 1)
    assert [("s1_gt.nii.gz" in r.message, r.level) for r in data.remarks(ref)] == (
        [] if as_stored else [(True, "warning")]
    )


def moved(voxels: float) -> NDArray[Any]:
    affine = OBLIQUE.copy()
    affine[:3, 3] += OBLIQUE[:3, 0] * voxels
    return affine


@pytest.mark.parametrize(
    "affine", [moved(0.3), moved(-0.3), OBLIQUE + np.random.default_rng(1).normal(0, 1e-4, (4, 4))]
)
def test_rounded_headers_are_the_same_place(affine: NDArray[Any], tmp_path: Path) -> None:
    affine[3] = [0, 0, 0, 1]
    assert [f for f in verify(scans(tmp_path, LABEL, affine), reread=False) if f.check in ("case", "truth")] == []


MIRRORED_WITHOUT_MOVING = OBLIQUE @ np.diag([-1.0, 1, 1, 1])


@pytest.mark.parametrize("affine", [moved(3), MIRRORED_WITHOUT_MOVING, OBLIQUE @ np.diag([1, 1, 2, 1])])
def test_a_label_that_lies_elsewhere_fails_verification_and_warns_a_run(affine: NDArray[Any], tmp_path: Path) -> None:
    data = scans(tmp_path, LABEL, affine)
    (finding,) = [finding for finding in verify(data, reread=False) if finding.level == "error"]
    assert (
        finding.case == "s1"
        and "s1_gt.nii.gz: expected a label at the place of s1.nii.gz, found it up to" in finding.message
    )
    said: list[str] = []

    class Ears(Reporter):
        def warn(self, message: str) -> None:
            said.append(message)

    store = CaseStore.build({"scans": Scans(tmp_path, DatasetOptions())}, data.index(), tmp_path / "cases", Ears())
    assert sum("s1_gt.nii.gz" in words for words in said) == 1
    label = store.label(data.index()[0])
    assert label is not None and np.array_equal(label.numpy(), LABEL.transpose(2, 1, 0))  # voxel by voxel


def test_files_that_do_not_say_where_they_lie_are_compared_by_shape(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(IMAGE, None)
    image.header.set_zooms((0.8, 1.0, 2.5))
    data = scans(tmp_path, LABEL[::-1].copy())
    nibabel.save(image, tmp_path / "s1.nii.gz")
    assert data.remarks(data.index()[0]) == []
    data = scans(tmp_path, LABEL[:4])
    nibabel.save(image, tmp_path / "s1.nii.gz")
    with pytest.raises(CaseError, match=r"s1_gt\.nii\.gz: the label has the shape \(4, 7, 4\), its image \(4, 7, 5\)"):
        Scans(tmp_path, DatasetOptions()).read(data.index()[0])


def test_other_spacing_without_a_place_is_told(tmp_path: Path) -> None:
    data = scans(tmp_path)
    for name, array, zooms in (("s1", IMAGE, (1, 1, 5)), ("s1_gt", LABEL, (1, 1, 1))):
        image = nibabel.Nifti1Image(array, None)
        image.header.set_zooms(zooms)
        nibabel.save(image, tmp_path / f"{name}.nii.gz")
    (remark,) = data.remarks(data.index()[0])
    assert "s1_gt.nii.gz: expected the spacing of s1.nii.gz, 5 x 1 x 1 mm, found 1 x 1 x 1 mm" in remark.message
