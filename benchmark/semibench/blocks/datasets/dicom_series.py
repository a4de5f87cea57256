"""Reads a CT series from DICOM slices, ordered by instance number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semibench.blocks.datasets.file_guard import check_declared_size, checked_numbers, reading
from semibench.blocks.datasets.volume_files import Volume, checked_spacing
from semibench.contracts.errors import CaseError

INSTANCE, POSITION, SERIES = "0020|0013", "0020|0032", "0020|000e"
AGAIN = "download the series again"


def read_dicom_series(paths: Sequence[Path]) -> Volume:
    """Reads the slices of one CT series.

    Args:
        paths: the DICOM files of the series, in any order.

    Returns:
        Hounsfield units as (x, y, z), with slices ordered by instance number. Each slice is rescaled by its own slope and
        intercept. The spacing in x and y comes from the files; in z it is the distance between the first two slices, or
        1 mm if the files give no positions.

    Raises:
        CaseError: if a slice can't be read, differs in size from the others or repeats an instance number, or if the files
            belong to several series. The error names the files.

    Examples:
        >>> image = SimpleITK.GetImageFromArray(np.full((1, 4, 6), 40, np.int16))
        >>> image.SetMetaData("0020|0013", "1")
        >>> SimpleITK.WriteImage(image, str(folder / "1.dcm"))
        >>> read_dicom_series([folder / "1.dcm"]).array.shape
        (6, 4, 1)
    """
    headers = [_header(path) for path in paths]
    _check_one_series(headers)
    numbered: dict[int, _Header] = {}
    for header in headers:
        before = numbered.setdefault(header.number, header)
        if before is not header:
            raise CaseError(
                f"{header.path}: expected an instance number of its own, found {header.number} as in {before.path.name}; remove "
                "the copy"
            )
    slices: list[NDArray[Any]] = []
    spacing, heights = (1.0, 1.0), []
    for number in sorted(numbered):
        plane, spacing = _slice(numbered[number])
        if slices and plane.shape != slices[0].shape:
            raise CaseError(
                f"{numbered[number].path}: expected a slice of {slices[0].shape}, found {plane.shape}; {AGAIN}"
            )
        slices.append(plane)
        heights.append(numbered[number].height)
    step = abs(heights[1] - heights[0]) if len(heights) > 1 else 0.0
    return Volume(np.stack(slices, axis=-1), (*spacing, step or 1.0))


@dataclass(frozen=True)
class _Header:
    """What the header of a slice says. reader: SimpleITK's, which has read the header. height: in mm."""

    path: Path
    reader: Any
    series: str
    number: int
    height: float


def _header(path: Path) -> _Header:
    import SimpleITK as sitk

    with reading(path, "a DICOM slice with an instance number", AGAIN):
        reader = sitk.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        number = int(reader.GetMetaData(INSTANCE))
        series = reader.GetMetaData(SERIES).strip() if reader.HasMetaDataKey(SERIES) else ""
        position = reader.GetMetaData(POSITION) if reader.HasMetaDataKey(POSITION) else "0\\0\\0"
        return _Header(path, reader, series, number, _height(path, position))


def _height(path: Path, position: str) -> float:
    try:
        numbers = [float(part) for part in position.split("\\")]
    except ValueError:
        numbers = []
    if len(numbers) != 3 or not np.isfinite(numbers).all():
        raise CaseError(f"{path}: expected an image position of three numbers, found {position.strip()!r}; {AGAIN}")
    return numbers[2]


def _check_one_series(headers: Sequence[_Header]) -> None:
    series: dict[str, list[Path]] = {}
    for header in headers:
        series.setdefault(header.series, []).append(header.path)
    if len(series) > 1:
        shown = ", ".join(
            f"{paths[0].name} ({len(paths)} files of {uid or 'no series'})" for uid, paths in series.items()
        )
        raise CaseError(
            f"{headers[0].path.parent}: expected the slices of one series, found {len(series)}: {shown}; move all but the CT out"
        )


def _slice(header: _Header) -> tuple[NDArray[Any], tuple[float, float]]:
    """Reads one slice: (x, y) in Hounsfield units, and its spacing."""
    import SimpleITK as sitk

    path, reader = header.path, header.reader
    with reading(path, "a DICOM slice: the pixels are damaged", AGAIN):
        size = tuple(int(side) for side in reader.GetSize())
        check_declared_size(path, size, 1, path.stat().st_size, AGAIN)
        image = reader.Execute()
        plane = sitk.GetArrayFromImage(image).reshape(size[1], size[0]).T
    spacing = checked_spacing((float(image.GetSpacing()[0]), float(image.GetSpacing()[1])), path)
    return checked_numbers(plane, path, AGAIN), (spacing[0], spacing[1])
