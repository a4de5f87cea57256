"""Reading volumes: NIfTI through nibabel (tolerates odd direction cosines), NRRD and MetaImage through SimpleITK, HDF5
through h5py. DICOM series are in `dicom_series`."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semibench import CaseError

BROKEN = (OSError, EOFError, ValueError, zlib.error)
"""What reading a damaged file raises."""
BYTES = {
    "MET_UCHAR": 1, "MET_CHAR": 1, "MET_USHORT": 2, "MET_SHORT": 2, "MET_UINT": 4, "MET_INT": 4, "MET_FLOAT": 4, "MET_DOUBLE": 8,
}  # fmt: skip
"""Bytes of a voxel by MetaImage's ElementType."""


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
    except BROKEN as error:
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
    from nibabel.spatialimages import HeaderDataError

    try:
        return nibabel.load(path)
    except (*BROKEN, ImageFileError, HeaderDataError) as error:
        raise CaseError(f"{path}: can't be read as NIfTI ({error}); unpack or download it again") from error


def _voxels(path: Path, image: Any, axes: int) -> NDArray[Any]:
    if len(image.shape) != axes:
        raise CaseError(f"{path}: expected {axes} axes, found the shape {tuple(image.shape)}")
    try:
        return np.asarray(image.dataobj)
    except BROKEN as error:
        raise CaseError(f"{path}: the voxels can't be read ({error}); unpack the file again") from error


def _zooms(image: Any) -> tuple[float, ...]:
    return tuple(float(mm) for mm in image.header.get_zooms()[:3])


def read_nrrd(path: Path) -> Stored:
    """The voxels of an NRRD file in file order (x, y, z), with their spacing."""
    import SimpleITK as sitk

    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise CaseError(f"{path}: can't be read as NRRD ({_short(error)}); unpack or download it again") from error
    array = sitk.GetArrayFromImage(image)
    if array.ndim != 3:
        raise CaseError(f"{path}: expected 3 axes, found the shape {array.shape[::-1]}")
    return Stored(array.transpose(2, 1, 0), tuple(float(mm) for mm in image.GetSpacing()))


def z_first(stored: Stored) -> tuple[NDArray[Any], tuple[float, ...]]:
    """(x, y, z) as read to (z, y, x), array and spacing."""
    return stored.array.transpose(2, 1, 0), stored.spacing[::-1]


def read_metaimage(path: Path) -> Stored:
    """The voxels of a MetaImage file (.mhd) as (z, y, x), spacing in the same order. Raises CaseError where the header
    can't be read or the data file is missing or has another length than the header says."""
    import SimpleITK as sitk

    fields = _metaimage_fields(path)
    data = metaimage_data(path)
    if data is not None and not data.is_file():
        raise CaseError(f"{path}: expected its voxels in {data.name}, found no such file; unpack the archive again")
    if data is not None and fields.get("CompressedData", "False").lower() != "true":
        sides = [int(side) for side in fields.get("DimSize", "").split() if side.isdigit()]
        expected = int(np.prod(sides)) * BYTES.get(fields.get("ElementType", ""), 0)
        if expected and data.stat().st_size != expected:
            raise CaseError(
                f"{data}: expected {expected} bytes ({' x '.join(map(str, sides))} voxels), found {data.stat().st_size}; "
                "unpack the archive again"
            )
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise CaseError(f"{path}: can't be read as MetaImage ({_short(error)}); unpack the archive again") from error
    array = sitk.GetArrayFromImage(image)
    if array.ndim != 3:
        raise CaseError(f"{path}: expected 3 axes, found the shape {array.shape[::-1]}; restore the original file")
    return Stored(array, tuple(float(mm) for mm in image.GetSpacing()[::-1]))


def metaimage_data(path: Path) -> Path | None:
    """The file with the voxels that a MetaImage header names; None where they follow the header or it can't be read."""
    try:
        named = _metaimage_fields(path).get("ElementDataFile", "LOCAL")
    except CaseError:
        return None
    return None if named.upper() == "LOCAL" else path.with_name(named)


def _metaimage_fields(path: Path) -> dict[str, str]:
    try:
        lines = path.read_bytes()[:65536].decode("ascii", errors="replace").splitlines()
    except OSError as error:
        raise CaseError(f"{path}: can't be read ({error}); unpack the archive again") from error
    fields = {key.strip(): value.strip() for key, sign, value in (line.partition("=") for line in lines) if sign}
    if "DimSize" not in fields or "ElementDataFile" not in fields:
        raise CaseError(
            f"{path}: expected a MetaImage header with DimSize and ElementDataFile, found none; unpack the archive again"
        )
    return fields


def _short(error: BaseException) -> str:
    """The last line of an error of ITK, without its address and file."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rpartition("): ")[2] if lines else type(error).__name__


def read_h5_volume(path: Path, key: str) -> NDArray[Any]:
    """As `read_h5`, and with three axes. Raises CaseError."""
    array = read_h5(path, key)
    if array.ndim != 3:
        raise CaseError(f"{path}: expected 3 axes in {key!r}, found the shape {array.shape}; copy the file again")
    return array


def read_h5(path: Path, key: str) -> NDArray[Any]:
    """One data set of an HDF5 file, whole."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            if key not in file:
                raise CaseError(f"{path}: has no key {key!r}; it has: {', '.join(file) or 'none'}; copy the file again")
            return np.asarray(file[key][()])
    except (OSError, KeyError, RuntimeError) as error:
        raise CaseError(f"{path}: can't be read as HDF5 ({error}); copy it again") from error
