"""Reads NIfTI files through nibabel, which tolerates odd direction cosines."""

from __future__ import annotations

import gzip
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semibench.blocks.datasets.file_guard import check_declared_size, checked_numbers, reading
from semibench.blocks.datasets.volume_files import Volume, checked_spacing
from semibench.contracts.errors import CaseError

AGAIN = "unpack or download it again"
LARGE = 1 << 29
"""A compressed file that declares more bytes than this is decompressed once before memory is taken: does it hold them?"""
MAGIC = (b"n+1", b"ni1", b"n+2", b"ni2")
NIFTI2 = 540
"""Length of the header of a NIfTI-2 file, with which it begins."""
ALMOST = 0.985
"""Cosine of 10 degrees. Axes of a volume that lie closer than this to the patient's have names; oblique ones have none."""
SAME = 0.01
"""Relative difference up to which two spacings are the same."""


def read_nifti(path: Path, *, frame: int | None = None) -> Volume:
    """Reads a NIfTI file in its own axis order.

    Args:
        path: a .nii or .nii.gz file. Odd direction cosines are accepted. Axes of length one behind the third are left out.
        frame: the time point of a 4D file, from 0; None for a 3D file.

    Returns:
        The voxels as (x, y, z), with the spacing in the header (`pixdim`) and the affine, if the header says what it means.
        A remark tells where `pixdim` contradicts the affine, and where the stored axes aren't x, y and z.

    Raises:
        CaseError: if the file can't be read, declares more voxels than it can hold, has the wrong number of axes, no spacing
            or no frame of that number.

    Examples:
        >>> nibabel.save(nibabel.Nifti1Image(np.zeros((6, 4, 2), np.int16), np.diag([0.5, 1, 3, 1])), folder / "a.nii.gz")
        >>> read_nifti(folder / "a.nii.gz").spacing
        (0.5, 1.0, 3.0)
    """
    image = _opened(path)
    grid = _grid(path, image, frame)
    with reading(path, "NIfTI: the voxels are damaged", "unpack the file again"):
        stored = np.asarray(image.dataobj if frame is None else image.dataobj[..., frame])
    return replace(grid, array=checked_numbers(stored.reshape(grid.array.shape), path, AGAIN))


def nifti_grid(path: Path, *, frame: int | None = None) -> Volume:
    """Reads the header of a NIfTI file as `read_nifti` does, without its voxels.

    Args:
        path: a .nii or .nii.gz file.
        frame: as in `read_nifti`.

    Returns:
        What `read_nifti` returns, with zeros as voxels, which take no memory.

    Raises:
        CaseError: if `read_nifti` would refuse the header.
    """
    return _grid(path, _opened(path), frame)


def _grid(path: Path, image: Any, frame: int | None) -> Volume:
    shape = _checked_shape(path, image.shape, frame)
    affine = _stated_affine(image)
    spacing, remarks = _spacing(path, image, affine)
    nothing = np.broadcast_to(np.zeros((), np.uint8), shape)
    return Volume(nothing, spacing, affine, (*remarks, *_axes_remark(path, affine)))


def read_nifti_lps(path: Path) -> Volume:
    """Reads a NIfTI file and reorients it to ITK's identity direction.

    Args:
        path: a 3D .nii or .nii.gz file.

    Returns:
        The voxels as (z, y, x), with x towards the patient's left, y towards the back and z towards the head.

    Raises:
        CaseError: under the conditions of `read_nifti`.

    Examples:
        >>> nibabel.save(nibabel.Nifti1Image(np.zeros((6, 4, 2), np.int16), np.diag([0.5, 1, 3, 1])), folder / "a.nii.gz")
        >>> read_nifti_lps(folder / "a.nii.gz").array.shape
        (2, 4, 6)
    """
    import nibabel

    opened = _opened(path)
    _checked_shape(path, opened.shape, None)
    stated = _stated_affine(opened)
    stored_spacing, remarks = _spacing(path, opened, stated)
    with reading(path, "NIfTI: the voxels are damaged", "unpack the file again"):
        image = nibabel.as_closest_canonical(opened)
        stored = np.asarray(image.dataobj).reshape(image.shape[:3])
    array = checked_numbers(stored, path, AGAIN)[::-1, ::-1, :].transpose(2, 1, 0)
    spacing = checked_spacing(tuple(float(mm) for mm in image.header.get_zooms()[:3]), path)
    order = nibabel.io_orientation(opened.affine)[:, 0]
    turned = tuple(stored_spacing[list(order).index(axis)] for axis in range(3))
    if not np.allclose(
        spacing, turned, rtol=SAME, atol=0
    ):  # nibabel takes the affine's where the header contradicts itself
        spacing = turned
    affine = None
    if stated is not None:
        flipped = image.affine @ np.diag([-1.0, -1.0, 1.0, 1.0])
        flipped[:, 3] = image.affine @ np.array([image.shape[0] - 1, image.shape[1] - 1, 0, 1.0])
        affine = flipped[:, [2, 1, 0, 3]]
    return Volume(array, spacing[::-1], affine, remarks)


def _opened(path: Path) -> Any:
    import nibabel
    from nibabel.fileholders import FileHolder
    from nibabel.openers import ImageOpener

    with reading(path, "NIfTI", AGAIN):
        with ImageOpener(str(path)) as stream:
            size = int.from_bytes(stream.read(4), "little")
        kind = (
            nibabel.Nifti2Image
            if size in (NIFTI2, int.from_bytes(NIFTI2.to_bytes(4, "big"), "little"))
            else nibabel.Nifti1Image
        )
        logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)  # what it says of headers is checked here
        image: Any = kind.from_file_map({"image": FileHolder(filename=str(path))})  # by name, capitals would matter
        if bytes(image.header["magic"].tobytes()[:3]) not in MAGIC:
            raise CaseError(f"{path}: can't be read as NIfTI: its header has no mark of one; {AGAIN}")
        voxel_bytes = image.header.get_data_dtype().itemsize
        check_declared_size(path, image.shape, voxel_bytes, path.stat().st_size, AGAIN)
        declared = int(np.prod(image.shape, dtype=np.int64)) * voxel_bytes
        if declared > LARGE and path.name.lower().endswith(".gz"):
            _check_holds(path, declared)
        return image


def _check_holds(path: Path, declared: int) -> None:
    """Raises CaseError if a compressed file holds fewer bytes than its header declares."""
    held = 0
    with gzip.open(path, "rb") as stream:
        while held < declared and (chunk := stream.read(1 << 20)):
            held += len(chunk)
    if held < declared:
        raise CaseError(f"{path}: can't be read: the header declares {declared} bytes, the file holds {held}; {AGAIN}")


def _checked_shape(path: Path, shape: tuple[int, ...], frame: int | None) -> tuple[int, ...]:
    """Returns the shape of the volume that is read: without axes of length one behind the third, and without the time axis."""
    if frame is not None:
        if len(shape) != 4 or not 0 <= frame < shape[3]:
            raise CaseError(
                f"{path}: expected a 4D file with frame {frame}, found the shape {tuple(shape)}; restore the original file"
            )
        return tuple(shape[:3])
    volume = tuple(shape[:3])
    if len(volume) != 3 or any(side != 1 for side in shape[3:]):
        raise CaseError(
            f"{path}: expected 3 axes, found the shape {tuple(shape)}; save one volume of it as a file, or restore the original"
        )
    return volume


def _stated_affine(image: Any) -> NDArray[np.float64] | None:
    """Returns the affine of a file whose header says what it means; None if it is only a guess, or of no use."""
    if int(image.header["sform_code"]) <= 0 and int(image.header["qform_code"]) <= 0:
        return None
    affine = np.asarray(image.affine, dtype=np.float64)
    usable = np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > 0
    return affine if usable else None


def _spacing(path: Path, image: Any, affine: NDArray[np.float64] | None) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Returns mm per voxel, with a remark if the header contradicts itself. A `pixdim` of 0, for which nibabel would put 1, is
    replaced by the spacing of the affine."""
    stored = _stored_pixdim(path, image)
    sizes = None if affine is None else tuple(float(mm) for mm in np.linalg.norm(affine[:3, :3], axis=0))
    by_sform = sizes is not None and int(image.header["sform_code"]) > 0
    if not all(np.isfinite(mm) and mm != 0 for mm in stored):
        if not by_sform or sizes is None:
            checked_spacing(stored, path)
        found = f"{path}: expected mm per voxel above 0 in pixdim, found {_mm(stored)}; read with {_mm(sizes or ())} of the affine"
        return sizes or (), (found,)
    zooms = checked_spacing(tuple(float(mm) for mm in image.header.get_zooms()[:3]), path)
    if by_sform and sizes is not None and not np.allclose(zooms, sizes, rtol=SAME, atol=0):
        found = f"{path}: expected one spacing, found {_mm(zooms)} in pixdim and {_mm(sizes)} in the affine (sform)"
        return zooms, (f"{found}; read with pixdim: correct the header if that is wrong",)
    return zooms, ()


def _stored_pixdim(path: Path, image: Any) -> tuple[float, ...]:
    """Returns mm per voxel as the file has it: nibabel turns 0 into 1."""
    from nibabel.openers import ImageOpener

    with reading(path, "NIfTI", AGAIN), ImageOpener(str(path)) as stream:
        header = type(image.header).from_fileobj(stream, check=False)
        return tuple(float(mm) for mm in header["pixdim"][1:4])


def _mm(spacing: tuple[float, ...]) -> str:
    return " x ".join(f"{mm:g}" for mm in spacing) + " mm"


def _axes_remark(path: Path, affine: NDArray[np.float64] | None) -> tuple[str, ...]:
    """Returns a remark if the axes of the file are clearly other ones than x, y and z, in this order."""
    if affine is None:
        return ()
    columns = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    closest = [int(axis) for axis in np.abs(columns).argmax(axis=0)]
    if np.abs(columns).max(axis=0).min() < ALMOST or closest == [0, 1, 2]:
        return ()
    names = ", ".join("xyz"[axis] for axis in closest)
    return (
        f"{path}: expected voxels along x, y and z, found them stored along {names}; read as stored: turn the file",
    )
