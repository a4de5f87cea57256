"""Reads arrays of NumPy's .npz files. Pickled objects are never loaded."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semibench.blocks.datasets.file_guard import check_declared_size, checked_numbers, reading
from semibench.contracts.errors import CaseError

COPY = "copy the file again"


def npz_keys(path: Path) -> tuple[str, ...]:
    """Lists the arrays of an .npz file.

    Args:
        path: the file.

    Returns:
        Their names, in file order.

    Raises:
        CaseError: if the file can't be read.

    Examples:
        >>> np.savez(folder / "a.npz", image=np.zeros((4, 6)), label=np.zeros((4, 6)))
        >>> npz_keys(folder / "a.npz")
        ('image', 'label')
    """
    with reading(path, "npz", COPY), zipfile.ZipFile(path) as archive:
        return tuple(name.removesuffix(".npy") for name in archive.namelist())


def read_npz(path: Path, key: str) -> NDArray[Any]:
    """Reads one array of an .npz file.

    Args:
        path: the file.
        key: the name of the array.

    Returns:
        The array, in file order.

    Raises:
        CaseError: if the file can't be read, lacks the key, declares more than it can hold, or has something else than numbers
            there.

    Examples:
        >>> np.savez(folder / "a.npz", image=np.ones(3))
        >>> read_npz(folder / "a.npz", "image")
        array([1., 1., 1.])
    """
    names = npz_keys(path)
    if key not in names:
        raise CaseError(f"{path}: has no key {key!r}; it has: {', '.join(names) or 'none'}; {COPY}")
    with reading(path, "npz", COPY):
        with zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as stream:
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, kind = read(stream)
        if shape:
            check_declared_size(path, shape, kind.itemsize, path.stat().st_size, COPY)
        with np.load(path, allow_pickle=False) as arrays:
            return checked_numbers(np.asarray(arrays[key]), path, COPY)
