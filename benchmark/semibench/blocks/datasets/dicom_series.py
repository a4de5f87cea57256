"""Reads a CT series from DICOM slices, ordered by instance number."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semibench.blocks.datasets.volume_files import Volume
from semibench.contracts.errors import CaseError

INSTANCE, POSITION = "0020|0013", "0020|0032"


def read_dicom_series(paths: Sequence[Path]) -> Volume:
    """Reads the slices of one CT series.

    Args:
        paths: the DICOM files of the series, in any order.

    Returns:
        Hounsfield units as (x, y, z), with slices ordered by instance number. Each slice is rescaled by its own slope and
        intercept. The spacing in x and y comes from the files; in z it is the distance between the first two slices, or
        1 mm if the files give no positions.

    Raises:
        CaseError: if a slice can't be read, differs in size from the others or repeats an instance number. The error
            names the file.

    Examples:
        >>> image = SimpleITK.GetImageFromArray(np.full((1, 4, 6), 40, np.int16))
        >>> image.SetMetaData("0020|0013", "1")
        >>> SimpleITK.WriteImage(image, str(folder / "1.dcm"))
        >>> read_dicom_series([folder / "1.dcm"]).array.shape
        (6, 4, 1)
    """
    numbered: dict[int, Path] = {}
    for path in paths:
        number = _instance(path)
        if number in numbered:
            raise CaseError(
                f"{path}: expected an instance number of its own, found {number} as in {numbered[number].name}; remove the copy"
            )
        numbered[number] = path
    slices: list[NDArray[Any]] = []
    spacing, heights = (1.0, 1.0), []
    for number in sorted(numbered):
        plane, spacing, height = _slice(numbered[number])
        if slices and plane.shape != slices[0].shape:
            raise CaseError(
                f"{numbered[number]}: expected a slice of {slices[0].shape}, found {plane.shape}; download the series again"
            )
        slices.append(plane)
        heights.append(height)
    step = abs(heights[1] - heights[0]) if len(heights) > 1 else 0.0
    return Volume(np.stack(slices, axis=-1), (*spacing, step or 1.0))


def _instance(path: Path) -> int:
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        return int(reader.GetMetaData(INSTANCE))
    except (RuntimeError, ValueError) as error:
        raise CaseError(
            f"{path}: can't be read as a DICOM slice with an instance number; download the series again"
        ) from error


def _slice(path: Path) -> tuple[NDArray[Any], tuple[float, float], float]:
    """Reads one slice: (x, y) in Hounsfield units, its spacing and its height in mm."""
    import SimpleITK as sitk

    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise CaseError(f"{path}: the pixels can't be read; download the series again") from error
    plane = sitk.GetArrayFromImage(image).reshape(image.GetSize()[1], image.GetSize()[0]).T
    height = float(image.GetMetaData(POSITION).split("\\")[2]) if image.HasMetaDataKey(POSITION) else 0.0
    return plane, (float(image.GetSpacing()[0]), float(image.GetSpacing()[1])), height
