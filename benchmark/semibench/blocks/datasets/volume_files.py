"""Reads volumes: NIfTI through nibabel (which tolerates odd direction cosines), NRRD and MetaImage through SimpleITK,
and HDF5 through h5py. `dicom_series` reads DICOM series."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semibench.contracts.errors import CaseError

BROKEN = (OSError, EOFError, ValueError, zlib.error)
"""The exceptions that a damaged file raises."""
BYTES = {
    "MET_UCHAR": 1, "MET_CHAR": 1, "MET_USHORT": 2, "MET_SHORT": 2, "MET_UINT": 4, "MET_INT": 4, "MET_FLOAT": 4, "MET_DOUBLE": 8,
}  # fmt: skip
"""Bytes of a voxel by MetaImage's ElementType."""


@dataclass(frozen=True)
class Volume:
    """A volume as stored in its file.

    Attributes:
        array: the voxels, in the axis order that the reader documents.
        spacing: mm per voxel, in the same order; None if the file doesn't store it.

    Examples:
        >>> Volume(np.zeros((6, 4, 2)), spacing=(0.5, 0.5, 3.0)).array.shape
        (6, 4, 2)
    """

    array: NDArray[Any]
    spacing: tuple[float, ...] | None


def read_nifti(path: Path, *, frame: int | None = None) -> Volume:
    """Reads a NIfTI file in its own axis order.

    Args:
        path: a .nii or .nii.gz file. Odd direction cosines are accepted and ignored.
        frame: the time point of a 4D file, from 0; None for a 3D file.

    Returns:
        The voxels as (x, y, z), with the spacing in the header.

    Raises:
        CaseError: if the file can't be read, has the wrong number of axes, or lacks the frame.

    Examples:
        >>> nibabel.save(nibabel.Nifti1Image(np.zeros((6, 4, 2), np.int16), np.diag([0.5, 1, 3, 1])), folder / "a.nii.gz")
        >>> read_nifti(folder / "a.nii.gz").spacing
        (0.5, 1.0, 3.0)
    """
    image = _nifti(path)
    if frame is None:
        return Volume(_voxels(path, image, 3), _zooms(image))
    if len(image.shape) != 4 or not 0 <= frame < image.shape[3]:
        raise CaseError(f"{path}: expected a 4D file with frame {frame}, found the shape {tuple(image.shape)}")
    try:
        return Volume(np.asarray(image.dataobj[..., frame]), _zooms(image))
    except BROKEN as error:
        raise CaseError(f"{path}: the voxels can't be read ({error}); unpack the file again") from error


def read_nifti_lps(path: Path) -> Volume:
    """Reads a NIfTI file and reorients it to ITK's identity direction.

    Args:
        path: a 3D .nii or .nii.gz file.

    Returns:
        The voxels as (z, y, x), with x towards the patient's left, y towards the back and z towards the head.

    Raises:
        CaseError: if the file can't be read or doesn't have three axes.

    Examples:
        >>> nibabel.save(nibabel.Nifti1Image(np.zeros((6, 4, 2), np.int16), np.diag([0.5, 1, 3, 1])), folder / "a.nii.gz")
        >>> read_nifti_lps(folder / "a.nii.gz").array.shape
        (2, 4, 6)
    """
    import nibabel

    image = nibabel.as_closest_canonical(_nifti(path))
    array = _voxels(path, image, 3)[::-1, ::-1, :].transpose(2, 1, 0)
    return Volume(array, _zooms(image)[::-1])


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


def read_nrrd(path: Path) -> Volume:
    """Reads an NRRD file in its own axis order.

    Args:
        path: a 3D .nrrd file.

    Returns:
        The voxels as (x, y, z), with their spacing.

    Raises:
        CaseError: if the file can't be read or doesn't have three axes.

    Examples:
        >>> SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((2, 4, 6), np.int16)), str(folder / "a.nrrd"))
        >>> read_nrrd(folder / "a.nrrd").array.shape
        (6, 4, 2)
    """
    return z_first(_read_itk(path, "NRRD"))


def _read_itk(path: Path, kind: str) -> Volume:
    """Reads a volume with SimpleITK, axes (z, y, x). kind: what the file should be, for messages."""
    import SimpleITK as sitk

    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise CaseError(f"{path}: can't be read as {kind} ({_short(error)}); unpack or download it again") from error
    array = sitk.GetArrayFromImage(image)
    if array.ndim != 3:
        raise CaseError(f"{path}: expected 3 axes, found the shape {array.shape[::-1]}; restore the original file")
    return Volume(array, tuple(float(mm) for mm in image.GetSpacing()[::-1]))


def z_first(volume: Volume) -> Volume:
    """Reverses the axes of a volume.

    Args:
        volume: a volume with the axes (x, y, z).

    Returns:
        The same voxels with the axes (z, y, x).

    Examples:
        >>> z_first(Volume(np.zeros((6, 4, 2)), (0.5, 1.0, 3.0))).spacing
        (3.0, 1.0, 0.5)
    """
    return Volume(volume.array.transpose(2, 1, 0), None if volume.spacing is None else volume.spacing[::-1])


def read_metaimage(path: Path) -> Volume:
    """Reads a MetaImage file.

    Args:
        path: the header (.mhd). Its voxels are in the file that it names, or follow the header.

    Returns:
        The voxels as (z, y, x), with their spacing in the same order.

    Raises:
        CaseError: if the header can't be read, or the file with the voxels is missing or differs in length from what the
            header says.

    Examples:
        >>> SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((2, 4, 6), np.int16)), str(folder / "a.mhd"))
        >>> read_metaimage(folder / "a.mhd").array.shape
        (2, 4, 6)
    """
    fields = _metaimage_fields(path)
    data = metaimage_data_file(path)
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
    return _read_itk(path, "MetaImage")


def metaimage_data_file(path: Path) -> Path | None:
    """Finds the file that contains the voxels of a MetaImage header.

    Args:
        path: the header (.mhd).

    Returns:
        The file that the header names; None if the voxels follow the header or the header can't be read.

    Examples:
        >>> SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((2, 4, 6), np.int16)), str(folder / "a.mhd"))
        >>> metaimage_data_file(folder / "a.mhd").name
        'a.raw'
    """
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
    """Returns the last line of an ITK error, without its address and source file."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rpartition("): ")[2] if lines else type(error).__name__


def read_h5_volume(path: Path, key: str, spacing: tuple[float, ...] | None = None) -> Volume:
    """Reads a volume from an HDF5 file.

    Args:
        path: an .h5 file.
        key: the name of the array in the file; the array must have three axes.
        spacing: mm per axis, which HDF5 files of this kind don't store; None if unknown.

    Returns:
        The voxels, in file order.

    Raises:
        CaseError: if the file can't be read, lacks the key, or the array doesn't have three axes.

    Examples:
        >>> with h5py.File(folder / "a.h5", "w") as file:
        ...     file["image"] = np.zeros((6, 4, 2))
        >>> read_h5_volume(folder / "a.h5", "image", spacing=(1.0, 1.0, 1.0)).array.shape
        (6, 4, 2)
    """
    array = read_h5(path, key)
    if array.ndim != 3:
        raise CaseError(f"{path}: expected 3 axes in {key!r}, found the shape {array.shape}; copy the file again")
    return Volume(array, spacing)


def read_h5(path: Path, key: str) -> NDArray[Any]:
    """Reads one array of an HDF5 file.

    Args:
        path: an .h5 file.
        key: the name of the array in the file.

    Returns:
        The array, in file order.

    Raises:
        CaseError: if the file can't be read or lacks the key.

    Examples:
        >>> with h5py.File(folder / "a.h5", "w") as file:
        ...     file["weights"] = np.ones(3)
        >>> read_h5(folder / "a.h5", "weights")
        array([1., 1., 1.])
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            if key not in file:
                raise CaseError(f"{path}: has no key {key!r}; it has: {', '.join(file) or 'none'}; copy the file again")
            return np.asarray(file[key][()])
    except (OSError, KeyError, RuntimeError) as error:
        raise CaseError(f"{path}: can't be read as HDF5 ({error}); copy it again") from error


def map_labels(stored: NDArray[Any], values: Mapping[int, int], path: Path) -> NDArray[np.uint8]:
    """Maps stored label values to classes.

    Args:
        stored: the stored labels, of any shape.
        values: stored value -> class. Every value that may occur must be listed.
        path: the file that contains the labels, for the error message.

    Returns:
        uint8 classes of the same shape.

    Raises:
        CaseError: if the labels contain a value that isn't listed.

    Examples:
        >>> map_labels(np.array([0, 205, 420]), {0: 0, 205: 1, 420: 2}, folder / "a.nii.gz")
        array([0, 1, 2], dtype=uint8)
    """
    present = np.unique(stored).tolist()
    unknown = [value for value in present if value not in values]
    if unknown:
        raise CaseError(
            f"{path}: unknown label values {unknown[:8]}; expected some of {sorted(values)}; restore the original file"
        )
    mapped = np.zeros(stored.shape, dtype=np.uint8)
    for value in present:
        if values[value]:
            mapped[stored == value] = values[value]
    return mapped
