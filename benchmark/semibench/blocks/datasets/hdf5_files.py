"""Reads arrays of HDF5 files through h5py. What a file refers to outside of itself is never followed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semibench.blocks.datasets.file_guard import check_declared_size, reading
from semibench.blocks.datasets.volume_files import Volume
from semibench.contracts.errors import CaseError

COPY = "copy the file again"


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
        CaseError: if the file can't be read, lacks the key, has something else than numbers there or refers to another file.

    Examples:
        >>> with h5py.File(folder / "a.h5", "w") as file:
        ...     file["weights"] = np.ones(3)
        >>> read_h5(folder / "a.h5", "weights")
        array([1., 1., 1.])
    """
    import h5py

    with reading(path, "HDF5", "copy it again"), h5py.File(path, "r") as file:
        node = _array(file, key, path)
        if node.shape:
            check_declared_size(path, node.shape, node.dtype.itemsize, node.id.get_storage_size(), COPY)
        return np.asarray(node[()])


def _array(file: Any, key: str, path: Path) -> Any:
    """Returns the array of a key, which must be numbers in this very file.

    Raises:
        CaseError: if it isn't.
    """
    import h5py

    node = file
    for name in key.split("/"):
        link = name.encode()  # `name in node` would follow a link to another file
        if not isinstance(node, h5py.Group) or not node.id.links.exists(link):
            raise CaseError(f"{path}: has no key {key!r}; it has: {', '.join(file) or 'none'}; {COPY}")
        if node.id.links.get_info(link).type != h5py.h5l.TYPE_HARD:
            raise CaseError(
                f"{path}: expected an array in {key!r}, found a link to elsewhere; store the array in the file"
            )
        node = node[name]
    if not isinstance(node, h5py.Dataset):
        raise CaseError(f"{path}: expected an array in {key!r}, found a group ({', '.join(node) or 'empty'}); {COPY}")
    if node.external or node.is_virtual:
        raise CaseError(
            f"{path}: expected the voxels of {key!r} in the file, found another file named; store them in the file"
        )
    if node.dtype.kind not in "biuf" or node.shape is None:
        raise CaseError(f"{path}: expected numbers in {key!r}, found the type {node.dtype}; {COPY}")
    return node
