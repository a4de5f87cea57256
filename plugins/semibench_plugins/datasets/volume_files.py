"""Reading volumes: NIfTI through nibabel (tolerates odd direction cosines), NRRD through SimpleITK, HDF5 through h5py."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semibench import CaseError


@dataclass(frozen=True)
class Stored:
    """A volume as read. array: in the axis order that the reader names; spacing: mm, in the same order."""

    array: NDArray[Any]
    spacing: tuple[float, ...]


def read_nifti(path: Path, *, frame: int | None = None) -> Stored:
    """The voxels in file order (x, y, z), spacing from the header. frame: which time of a 4D file.

    Raises CaseError for an unreadable file, another number of axes or a missing frame."""
    image = _nifti(path)
    if frame is None:
        return Stored(_voxels(path, image, 3), _zooms(image))
    if len(image.shape) != 4 or not 0 <= frame < image.shape[3]:
        raise CaseError(f"{path}: expected a 4D file with frame {frame}, found the shape {tuple(image.shape)}")
    try:
        return Stored(np.asarray(image.dataobj[..., frame]), _zooms(image))
    except (OSError, EOFError, ValueError) as error:
        raise CaseError(f"{path}: the voxels can't be read ({error}); unpack the file again") from error


def read_nifti_lps(path: Path) -> Stored:
    """The voxels as (z, y, x) with x to the left, y to the back, z to the head: ITK's identity direction."""
    import nibabel

    image = nibabel.as_closest_canonical(_nifti(path))
    array = _voxels(path, image, 3)[::-1, ::-1, :].transpose(2, 1, 0)
    return Stored(array, _zooms(image)[::-1])


def _nifti(path: Path) -> Any:
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    try:
        return nibabel.load(path)
    except (OSError, ImageFileError, EOFError, ValueError) as error:
        raise CaseError(f"{path}: can't be read as NIfTI ({error}); unpack or download it again") from error


def _voxels(path: Path, image: Any, axes: int) -> NDArray[Any]:
    if len(image.shape) != axes:
        raise CaseError(f"{path}: expected {axes} axes, found the shape {tuple(image.shape)}")
    try:
        return np.asarray(image.dataobj)
    except (OSError, EOFError, ValueError) as error:
        raise CaseError(f"{path}: the voxels can't be read ({error}); unpack the file again") from error


def _zooms(image: Any) -> tuple[float, ...]:
    return tuple(float(mm) for mm in image.header.get_zooms()[:3])


def read_nrrd(path: Path) -> Stored:
    """The voxels of an NRRD file in file order (x, y, z), with their spacing."""
    import SimpleITK as sitk

    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise CaseError(f"{path}: can't be read as NRRD ({error}); unpack or download it again") from error
    array = sitk.GetArrayFromImage(image)
    if array.ndim != 3:
        raise CaseError(f"{path}: expected 3 axes, found the shape {array.shape[::-1]}")
    return Stored(array.transpose(2, 1, 0), tuple(float(mm) for mm in image.GetSpacing()))


def read_h5(path: Path, key: str) -> NDArray[Any]:
    """One data set of an HDF5 file, whole."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            if key not in file:
                raise CaseError(f"{path}: has no key {key!r}; it has: {', '.join(file) or 'none'}")
            return np.asarray(file[key][()])
    except OSError as error:
        raise CaseError(f"{path}: can't be read as HDF5 ({error}); copy it again") from error
