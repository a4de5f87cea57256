"""Reads the files of a declared case with the readers of `semibench.blocks`: one array for each channel, and the label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semibench.blocks.datasets.file_guard import reading
from semibench.blocks.datasets.hdf5_files import read_h5
from semibench.blocks.datasets.itk_files import metaimage_data_file, read_metaimage, read_nrrd
from semibench.blocks.datasets.nifti_files import nifti_grid, read_nifti
from semibench.blocks.datasets.npz_files import npz_keys, read_npz
from semibench.blocks.datasets.raster_files import LOSSY, picture_remarks, read_colour, read_grey, read_mask
from semibench.blocks.datasets.stored_pictures import picture_kind, read_stored_picture
from semibench.blocks.datasets.volume_files import Volume, z_first
from semibench.contracts.errors import CaseError
from semibench.data.declared.found import ARRAY_ENDINGS, VOLUME_ENDINGS, ending_of

MOST_CHANNELS = 64


def array_keys(path: Path) -> tuple[str, ...]:
    """Returns the names of the arrays in an h5 or npz file. Raises CaseError if it can't be read."""
    if ending_of(path.name) == ".npz":
        return npz_keys(path)
    import h5py

    with reading(path, "HDF5", "copy it again"), h5py.File(path, "r") as file:
        return tuple(file)


def companions(path: Path) -> tuple[Path, ...]:
    """Returns a file and the one that it names for its voxels, if any."""
    data = metaimage_data_file(path) if path.name.lower().endswith(".mhd") else None
    return (path,) if data is None else (path, data)


def is_picture(path: Path) -> bool:
    """Returns whether a file is a picture (png, jpg ...), not a volume or an array."""
    return ending_of(path.name) not in (*VOLUME_ENDINGS, *ARRAY_ENDINGS)


def frames_of(path: Path) -> int:
    """Returns how many volumes a NIfTI file holds along its fourth axis; 1 for another file or a file of three axes."""
    if not ending_of(path.name).startswith(".nii"):
        return 1
    try:
        nifti_grid(path)
        return 1
    except CaseError:
        pass
    count = 0
    while count < MOST_CHANNELS:
        try:
            nifti_grid(path, frame=count)
        except CaseError:
            break
        count += 1
    return max(count, 1)


def read_channels(paths: Sequence[Path], key: str, dims: int, channels: int) -> list[Volume]:
    """Reads the channels of a case.

    Args:
        paths: one file, or one for each channel.
        key: the name of the image in h5 and npz files.
        dims: axes of the case.
        channels: how many there are.

    Returns:
        One Volume for each channel, with `dims` axes: (row, column), or (z, y, x) where the file says what its axes are.

    Raises:
        CaseError: if a file can't be read or has other axes or channels.
    """
    if len(paths) == channels and channels > 1:
        return [_one(path, key, dims) for path in paths]
    path = paths[0]
    if is_picture(path):
        return _picture(path, channels)
    if ending_of(path.name) in ARRAY_ENDINGS:
        return [Volume(part, None) for part in _split(stored_array(path, key), path, key, dims, channels)]
    if channels > 1:
        if frames_of(path) != channels:
            raise CaseError(
                f"{path}: expected {channels} channels along a fourth axis, found {frames_of(path)}; correct the file, or "
                "channels in semibench.yaml"
            )
        return [_flat(_volume(path, frame=number), path, dims) for number in range(channels)]
    return [_one(path, key, dims)]


def _one(path: Path, key: str, dims: int) -> Volume:
    if is_picture(path):
        return _picture(path, 1)[0]
    if ending_of(path.name) in ARRAY_ENDINGS:
        return Volume(_split(stored_array(path, key), path, key, dims, 1)[0], None)
    return _flat(_volume(path), path, dims)


def read_label(path: Path, key: str, dims: int, shape: tuple[int, ...], *, binary: bool = False) -> Volume:
    """Reads the stored values of a label.

    Args:
        path: its file.
        key: the name of the label in h5 and npz files.
        dims: axes of the case.
        shape: that of the image, for lossy pictures.
        binary: whether there are two classes only, so that a lossy picture can be read.

    Returns:
        The values, with `dims` axes.

    Raises:
        CaseError: if the file can't be read, has other axes, or a JPEG holds more than two classes.
    """
    if not is_picture(path):
        return _one(path, key, dims)
    if path.suffix.lower() in LOSSY:
        if not binary:
            raise CaseError(
                f"{path}: expected a format without loss for several classes, found JPEG, which changes values; save labels as PNG"
            )
        return Volume(read_mask(path, shape).astype(np.uint8) * 255, None)
    return Volume(read_stored_picture(path), None)


def _picture(path: Path, channels: int) -> list[Volume]:
    remarks = tuple(picture_remarks(path))
    if channels == 3:
        return [Volume(plane, None, None, remarks) for plane in np.moveaxis(read_colour(path), -1, 0)]
    if channels != 1:
        raise CaseError(
            f"{path}: expected {channels} channels, found a picture, which has 1 or 3; correct channels in semibench.yaml"
        )
    deep = picture_kind(path) == "deep"
    return [Volume(read_stored_picture(path) if deep else read_grey(path), None, None, remarks)]


def _volume(path: Path, frame: int | None = None) -> Volume:
    ending = ending_of(path.name)
    if ending in (".mhd", ".mha"):
        return read_metaimage(path)
    return z_first(read_nrrd(path) if ending == ".nrrd" else read_nifti(path, frame=frame))


def _flat(volume: Volume, path: Path, dims: int) -> Volume:
    """Returns a volume with `dims` axes; for images, the one axis of length one is dropped."""
    if dims == 3:
        return volume
    single = [axis for axis, side in enumerate(volume.array.shape) if side == 1]
    if len(single) < 1:
        raise CaseError(
            f"{path}: expected one slice, found the shape {volume.array.shape}; give dims: 3 in semibench.yaml"
        )
    axis = single[0]
    spacing = None if volume.spacing is None else tuple(mm for at, mm in enumerate(volume.spacing) if at != axis)
    return replace(volume, array=volume.array.squeeze(axis), spacing=spacing, affine=None)


def stored_array(path: Path, key: str) -> NDArray[Any]:
    """Returns the array of a key of an h5 or npz file."""
    return read_npz(path, key) if ending_of(path.name) == ".npz" else read_h5(path, key)


def _split(array: NDArray[Any], path: Path, key: str, dims: int, channels: int) -> list[NDArray[Any]]:
    """Returns the channels of an array: its first axis, or else its last, is the one of the channels."""
    if array.ndim == dims and channels == 1:
        return [array]
    if array.ndim == dims + 1:
        for axis in (0, array.ndim - 1):
            if array.shape[axis] == channels:
                return list(np.moveaxis(array, axis, 0))
    expected = f"{dims} axes" + (f" and {channels} channels" if channels > 1 else "")
    raise CaseError(
        f"{path}: expected {expected} in {key!r}, found the shape {array.shape}; correct dims or channels in semibench.yaml"
    )
