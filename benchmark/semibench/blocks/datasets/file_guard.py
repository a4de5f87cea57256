"""What every reader of a foreign file shares: one class of error, and a look at the declared size before memory is taken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semibench.contracts.errors import CaseError, SemibenchError, one_line

LARGEST_RATIO = 1100
"""No stream of zlib's shrinks by more than about 1032. A file that declares more bytes than this many times its own size holds
only a part of them."""
SLACK = 1 << 20
"""Bytes that any file may declare, whatever its size."""
LARGEST_VOLUME = 1 << 30
"""The largest number of voxels that is read: several times the largest published one."""


@contextmanager
def reading(path: Path, kind: str, advice: str) -> Iterator[None]:
    """Turns whatever a library raises on a damaged file into a CaseError that names the file.

    Args:
        path: the file that is read inside the `with` block.
        kind: what the file should be, for the message, e.g. "NIfTI".
        advice: what to do.

    Raises:
        CaseError: for any exception of the block. Errors of the harness's own pass unchanged.
    """
    try:
        yield
    except SemibenchError:
        raise
    except Exception as error:
        reason = short_reason(error)
        raise CaseError(f"{path}: can't be read as {kind} ({reason}); {advice}") from error


def short_reason(error: BaseException) -> str:
    """Returns the message of an error in one line. Of an error of ITK's, it is the last line without address and source file."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if "itk::" in str(error) and lines:
        return lines[-1].rpartition("): ")[2]
    return one_line(error) or type(error).__name__


def check_declared_size(path: Path, shape: tuple[int, ...], voxel_bytes: int, stored: int, advice: str) -> None:
    """Checks the size that a header declares against the file, before anything is allocated.

    Args:
        path: the file, for the message.
        shape: the declared shape.
        voxel_bytes: bytes of a voxel.
        stored: bytes that the file holds, perhaps compressed.
        advice: what to do.

    Raises:
        CaseError: if a side is below 1, or the declared voxels can't be in the file.
    """
    sides = " x ".join(map(str, shape))
    if not shape or min(shape) < 1:
        raise CaseError(f"{path}: expected sides of at least one voxel, found the shape ({sides}); {advice}")
    voxels = 1
    for side in shape:
        voxels *= int(side)
    if voxels > LARGEST_VOLUME:
        raise CaseError(
            f"{path}: expected at most {LARGEST_VOLUME} voxels, found a header that declares {sides}; {advice}"
        )
    if voxels * voxel_bytes > SLACK + LARGEST_RATIO * stored:
        raise CaseError(
            f"{path}: can't be read: the header declares {sides} voxels ({voxels * voxel_bytes} bytes), which can't be in "
            f"{stored} bytes; {advice}"
        )


def checked_numbers(array: NDArray[Any], path: Path, advice: str) -> NDArray[Any]:
    """Returns an array of numbers unchanged.

    Raises:
        CaseError: if its values aren't real numbers (records, references, text, complex numbers).
    """
    if array.dtype.kind not in "biuf":
        raise CaseError(f"{path}: expected voxels that are numbers, found the type {np.dtype(array.dtype)}; {advice}")
    return array
