"""A volume in memory, and what is done with any volume whatever its format: turn its axes, map its labels.

`nifti_files`, `itk_files`, `hdf5_files` and `dicom_series` read one format each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semibench.contracts.errors import CaseError


@dataclass(frozen=True)
class Volume:
    """A volume as stored in its file.

    Attributes:
        array: the voxels, in the axis order that the reader documents.
        spacing: mm per voxel, in the same order; None if the file doesn't store it.
        affine: 4 x 4, from indices of `array` to mm towards the patient's right, front and head; None if the file doesn't say.
        remarks: what is doubtful about the file, one line each.

    Examples:
        >>> Volume(np.zeros((6, 4, 2)), spacing=(0.5, 0.5, 3.0)).array.shape
        (6, 4, 2)
    """

    array: NDArray[Any]
    spacing: tuple[float, ...] | None
    affine: NDArray[np.float64] | None = None
    remarks: tuple[str, ...] = ()


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
    affine = None if volume.affine is None else volume.affine[:, [2, 1, 0, 3]]
    spacing = None if volume.spacing is None else volume.spacing[::-1]
    return replace(volume, array=volume.array.transpose(2, 1, 0), spacing=spacing, affine=affine)


def checked_spacing(spacing: tuple[float, ...], path: Path) -> tuple[float, ...]:
    """Returns the mm per voxel of a file unchanged.

    Raises:
        CaseError: if one of them isn't a positive number.
    """
    if not all(np.isfinite(mm) and mm > 0 for mm in spacing):
        raise CaseError(
            f"{path}: expected mm per voxel above 0, found {' x '.join(f'{mm:g}' for mm in spacing)}; correct the header, or "
            "restore the original file"
        )
    return spacing


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
