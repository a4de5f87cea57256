"""Reads NRRD and MetaImage files through SimpleITK."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semibench.blocks.datasets.file_guard import check_declared_size, checked_numbers, reading
from semibench.blocks.datasets.volume_files import Volume, checked_spacing, z_first
from semibench.contracts.errors import CaseError

AGAIN = "unpack or download it again"
UNPACK = "unpack the archive again"
HEADER = 65536
"""Bytes of a file in which its header must end."""


def read_nrrd(path: Path) -> Volume:
    """Reads an NRRD file in its own axis order.

    Args:
        path: a 3D .nrrd file. Its voxels follow the header, or are in a file that the header names, in the same folder.

    Returns:
        The voxels as (x, y, z), with their spacing and affine.

    Raises:
        CaseError: if the file can't be read, declares more voxels than it can hold, or doesn't have three axes.

    Examples:
        >>> SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((2, 4, 6), np.int16)), str(folder / "a.nrrd"))
        >>> read_nrrd(folder / "a.nrrd").array.shape
        (6, 4, 2)
    """
    data = _beside(path, _fields(path, ":").get("data file") or _fields(path, ":").get("datafile"))
    return z_first(_read_itk(path, data, "NRRD", "NrrdImageIO"))


def read_metaimage(path: Path) -> Volume:
    """Reads a MetaImage file.

    Args:
        path: the header (.mhd, .mha). Its voxels are in the file that it names, or follow the header.

    Returns:
        The voxels as (z, y, x), with their spacing and affine in the same order.

    Raises:
        CaseError: if the header can't be read, or the file with the voxels is missing, lies elsewhere than beside it or differs
            in length from what the header says.

    Examples:
        >>> SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((2, 4, 6), np.int16)), str(folder / "a.mhd"))
        >>> read_metaimage(folder / "a.mhd").array.shape
        (2, 4, 6)
    """
    fields = _metaimage_fields(path)
    data = _beside(path, fields["ElementDataFile"])
    if data is not None and not data.is_file():
        raise CaseError(f"{path}: expected its voxels in {data.name}, found no such file; {UNPACK}")
    return _read_itk(path, data, "MetaImage", "MetaImageIO", raw=fields.get("CompressedData", "").lower() != "true")


def metaimage_data_file(path: Path) -> Path | None:
    """Finds the file that contains the voxels of a MetaImage header.

    Args:
        path: the header (.mhd).

    Returns:
        The file that the header names; None if the voxels follow the header, or the header can't be read or names a file
        elsewhere.

    Examples:
        >>> SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((2, 4, 6), np.int16)), str(folder / "a.mhd"))
        >>> metaimage_data_file(folder / "a.mhd").name
        'a.raw'
    """
    try:
        return _beside(path, _metaimage_fields(path)["ElementDataFile"])
    except CaseError:
        return None


def _metaimage_fields(path: Path) -> dict[str, str]:
    fields = _fields(path, "=")
    if "DimSize" not in fields or "ElementDataFile" not in fields:
        raise CaseError(f"{path}: expected a MetaImage header with DimSize and ElementDataFile, found none; {UNPACK}")
    return fields


def _fields(path: Path, sign: str) -> dict[str, str]:
    """Returns the fields in the text at the beginning of a file; the first of each name counts. The text ends at an empty line,
    or with the field that names the voxels."""
    with reading(path, "a header", UNPACK), path.open("rb") as stream:
        text = stream.read(HEADER).decode("ascii", errors="replace")
    fields: dict[str, str] = {}
    for line in text.splitlines():
        if not line.strip():
            break
        name, found, value = line.partition(sign)
        if found:
            fields.setdefault(name.strip(), value.strip())
        if name.strip() == "ElementDataFile":
            break
    return fields


def _beside(path: Path, named: str | None) -> Path | None:
    """Returns the file with the voxels that a header names; None if they follow the header.

    Raises:
        CaseError: if it names several files, or one that isn't in the folder of the header or below it.
    """
    if named is None or named.upper() == "LOCAL":
        return None
    parts = PurePosixPath(named).parts
    inside = parts and ".." not in parts and not named.startswith("/") and not PureWindowsPath(named).anchor
    if not inside or not parts or named.upper().startswith("LIST") or "%" in named:
        raise CaseError(f"{path}: expected its voxels in one file beside the header, found {named!r}; {UNPACK}")
    return path.parent / named


def _read_itk(path: Path, data: Path | None, kind: str, reads: str, *, raw: bool = False) -> Volume:
    """Reads a volume with SimpleITK, axes (z, y, x).

    Args:
        path: the file, or its header.
        data: the file with the voxels, if it is another one.
        kind: what the file should be, for messages.
        reads: the name of ITK's reader of this format.
        raw: True if the voxels aren't compressed, so that the length of `data` must be exact.
    """
    import SimpleITK as sitk

    with reading(path, kind, AGAIN):
        reader = sitk.ImageFileReader()
        reader.SetImageIO(reads)
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        size = tuple(int(side) for side in reader.GetSize())
        voxel_bytes = _voxel_bytes(reader)
        stored = (path if data is None else data).stat().st_size
        check_declared_size(path, size, voxel_bytes, stored, AGAIN)
        expected = int(np.prod(size, dtype=np.int64)) * voxel_bytes
        if raw and data is not None and stored != expected:
            sides = " x ".join(map(str, size))
            raise CaseError(f"{data}: expected {expected} bytes ({sides} voxels), found {stored}; {UNPACK}")
        image = reader.Execute()
        array = sitk.GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() != 1 or len(size) < 3 or any(side != 1 for side in size[3:]):
        raise CaseError(f"{path}: expected 3 axes, found the shape {array.shape[::-1]}; restore the original file")
    numbers = checked_numbers(array.reshape(size[2::-1]), path, AGAIN)
    spacing = checked_spacing(tuple(float(mm) for mm in image.GetSpacing()[2::-1]), path)
    return Volume(numbers, spacing, _affine(image))


def _voxel_bytes(reader: Any) -> int:
    import SimpleITK as sitk

    one = sitk.Image([1] * reader.GetDimension(), reader.GetPixelID(), max(reader.GetNumberOfComponents(), 1))
    return int(one.GetSizeOfPixelComponent() * one.GetNumberOfComponentsPerPixel())


def _affine(image: Any) -> NDArray[np.float64] | None:
    """Returns the affine of an image of ITK's (which counts towards the left and back) for the axes (z, y, x)."""
    sides = image.GetDimension()
    direction = np.array(image.GetDirection()).reshape(sides, sides)[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = direction * np.array(image.GetSpacing()[:3])
    affine[:3, 3] = image.GetOrigin()[:3]
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    usable = np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > 0
    return affine[:, [2, 1, 0, 3]] if usable else None
