"""Looks at a folder and decides what its declaration leaves open; everything that is decided is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from semibench.blocks.datasets.raster_files import read_colour
from semibench.blocks.datasets.stored_pictures import picture_kind
from semibench.contracts.errors import CaseError, LayoutError
from semibench.data.declared.arrays import array_keys, frames_of, is_picture, read_channels, read_label, stored_array
from semibench.data.declared.declaration import BACKGROUND, Declaration
from semibench.data.declared.found import ARRAY_ENDINGS, Found, FoundCase, ending_of
from semibench.data.declared.label_values import LabelValues, label_values
from semibench.data.declared.layouts import find_cases
from semibench.reporting import Reporter

CT_WINDOW = (-160.0, 240.0)
"""Hounsfield units that show soft tissue; the default for a modality that says CT."""

COLOURS_LOOKED_AT = 50
"""Pictures that are decoded to see whether they are in colour."""

COARSE = 1.5
"""A volume is sliced along the axis whose spacing is this much larger than the others, else along the first (z)."""


@dataclass(frozen=True)
class Look:
    """A folder that was looked at: the completed declaration, its cases, and what was decided.

    values: of the labels, where they had to be read. notes: what was decided, in words. warnings: what is suspicious.
    """

    declaration: Declaration
    found: Found
    values: tuple[LabelValues, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def look_at(
    folder: Path, declaration: Declaration, *, read_labels: bool = False, reporter: Reporter | None = None
) -> Look:
    """Finds the cases of a folder and completes its declaration.

    Args:
        folder: the folder of the data set.
        declaration: what its semibench.yaml says.
        read_labels: read every label even if the classes are declared.
        reporter: receives progress.

    Raises:
        LayoutError: for a folder without a layout that fits.
        CaseError: for a file that can't be read.
        UsageError: for a declaration that contradicts the files.
    """
    found = find_cases(folder, declaration)
    notes, warnings = list(found.notes), list(found.warnings)
    first = found.cases[0]
    dims = declaration.dims or _dims(first, declaration)
    channels = declaration.channels or found.channels or _channels(found.cases, declaration, dims, notes)
    given: dict[str, Any] = {"layout": found.kind, "dims": dims, "channels": channels, **found.extra}
    given |= {
        "modality": declaration.modality if declaration.modality != "not stated" else found.modality or "not stated"
    }
    given |= {"title": declaration.title or found.title}
    values: tuple[LabelValues, ...] = ()
    classes, ignore = declaration.classes or found.classes, (*declaration.ignore, *found.ignore)
    if (classes is None or read_labels) and any(case.label is not None for case in found.cases):
        values = tuple(label_values(folder, found.cases, declaration.label_key, dims, reporter))
    if classes is None:
        classes, ignore = _classes(folder, values, ignore, notes, warnings)
    given |= {"classes": dict(classes), "ignore": tuple(dict.fromkeys(ignore))}
    if declaration.scale is None:
        given |= _scale(first, declaration, dims, str(given["modality"]), notes)
    if dims == 3 and declaration.slice_axis is None:
        given["slice_axis"] = _slice_axis(first, declaration, len(channels), notes)
    completed = _completed(declaration, given)
    return Look(completed, found, values, tuple(notes), tuple(warnings))


def _completed(declaration: Declaration, given: Mapping[str, Any]) -> Declaration:
    """Returns the declaration with what was decided, validated as a whole."""
    try:
        return Declaration.model_validate(declaration.model_dump() | dict(given))
    except ValidationError as error:
        reasons = "; ".join(item["msg"].removeprefix("Value error, ") for item in error.errors())
        raise LayoutError(
            f"what the files and semibench.yaml say doesn't fit together: {reasons}; correct semibench.yaml"
        ) from error


def _dims(case: FoundCase, declaration: Declaration) -> int:
    """Returns whether a case is an image or a volume."""
    path = case.images[0]
    if is_picture(path):
        return 2
    if ending_of(path.name) in ARRAY_ENDINGS:
        if case.label is not None:
            return _axes_in(case.label, declaration.label_key)
        axes = _axes_in(path, declaration.image_key)
        return axes if axes < 3 else 3
    shape = read_channels(case.images[:1], declaration.image_key, 3, frames_of(path))[0].array.shape
    return 2 if 1 in shape else 3


def _axes_in(path: Path, key: str) -> int:
    if ending_of(path.name) not in ARRAY_ENDINGS:
        return len(read_label(path, key, 3, ()).array.shape)
    if key not in array_keys(path):
        raise CaseError(
            f"{path}: expected the key {key!r}, found {', '.join(array_keys(path)) or 'none'}; give image_key and label_key in "
            "semibench.yaml"
        )
    axes = stored_array(path, key).ndim
    if axes not in (2, 3, 4):
        raise CaseError(f"{path}: expected 2 or 3 axes in {key!r}, found {axes}; store an image or a volume there")
    return min(axes, 3)


def _channels(cases: Sequence[FoundCase], declaration: Declaration, dims: int, notes: list[str]) -> tuple[str, ...]:
    """Returns the names of the channels that the files have."""
    images = [case.images for case in cases]
    count = max(len(files) for files in images)
    path = images[0][0]
    if count == 1 and is_picture(path):
        pictures = [files[0] for files in images[:COLOURS_LOOKED_AT]]
        coloured = [file for file in pictures if _is_coloured(file)]
        if coloured:
            notes.append(f"images in colour: three channels ({coloured[0].name})")
            return ("red", "green", "blue")
        return ("grey",)
    if count == 1 and ending_of(path.name) in ARRAY_ENDINGS:
        shape = stored_array(path, declaration.image_key).shape
        if len(shape) == dims + 1:
            count = min(shape[0], shape[-1])
    elif count == 1:
        count = frames_of(path)
    return ("image",) if count == 1 else tuple(f"channel {number}" for number in range(count))


def _is_coloured(file: Path) -> bool:
    """Returns whether a picture is in colour; a damaged one is told when it is read for use."""
    try:
        if picture_kind(file) != "colour":
            return False
        colours = read_colour(file)
    except CaseError:
        return False
    return bool((colours != colours[..., :1]).any())


def _is_deep(file: Path) -> bool:
    try:
        return picture_kind(file) == "deep"
    except CaseError:
        return False


def _classes(
    folder: Path, values: Sequence[LabelValues], ignore: tuple[int, ...], notes: list[str], warnings: list[str]
) -> tuple[dict[int, str], tuple[int, ...]]:
    """Names the classes after the values of the labels: two values are background and foreground."""
    if not values:
        notes.append("no labels: background and foreground are assumed")
        return {0: BACKGROUND, 1: "foreground"}, ignore
    present = sorted({value for item in values for value in item.counts} - set(ignore))
    beside = next((item for item in values if {1, 255} <= set(item.counts)), None)
    if set(present) <= {0, 1, 255} and beside is None:
        notes.append("classes: background (0), foreground (1 or 255)")
        return {0: BACKGROUND, 1: "foreground", 255: "foreground"}, ignore
    if 255 in present and beside is not None:
        warnings.append(
            f"{beside.file}: the value 255 beside 1 is taken as `ignore`: neither trained nor scored; list it under classes in "
            "semibench.yaml if it is a class"
        )
        present, ignore = [value for value in present if value != 255], (*ignore, 255)
    if len(present) > 64:
        raise LayoutError(
            f"{folder}: expected labels with a few values, found {len(present)} different ones; give classes in semibench.yaml"
        )
    lowest = [value for value in present if value < 0]
    if lowest:
        raise LayoutError(
            f"{folder}: expected label values from 0, found {lowest[0]}; list it under classes or ignore in semibench.yaml"
        )
    classes = {0: BACKGROUND} | {value: f"class {value}" for value in present if value}
    if len(classes) < 2:
        notes.append("all labels are empty: a foreground with the value 1 is assumed")
        return {0: BACKGROUND, 1: "foreground"}, ignore
    notes.append(f"classes by label value: {', '.join(f'{value} {name}' for value, name in classes.items())}")
    return classes, ignore


def _scale(case: FoundCase, declaration: Declaration, dims: int, modality: str, notes: list[str]) -> dict[str, Any]:
    """Decides what is done to the values of images."""
    if declaration.window is not None:
        return {"scale": "window"}
    picture = is_picture(case.images[0])
    if picture and not _is_deep(case.images[0]):
        notes.append("values: divided by 255")
        return {"scale": "divide by 255"}
    words = modality.lower().replace(",", " ").split()
    if "ct" in words:
        notes.append(
            f"values: the window {CT_WINDOW[0]:g} to {CT_WINDOW[1]:g} becomes 0 to 1, as the modality is CT (window)"
        )
        return {"scale": "window", "window": CT_WINDOW}
    if dims == 2:
        notes.append("values: from the 0.5th to the 99.5th percentile of each image to 0 to 1")
        return {"scale": "percentiles"}
    notes.append("values: each volume has zero mean and unit variance")
    return {"scale": "z-score"}


def _slice_axis(case: FoundCase, declaration: Declaration, channels: int, notes: list[str]) -> int:
    """Decides along which axis a 2D network slices: the coarsest one, if it is clearly coarser, else the first."""
    spacing = declaration.spacing or read_channels(case.images, declaration.image_key, 3, channels)[0].spacing
    if spacing is not None:
        axis = int(np.argmax(spacing))
        if all(spacing[axis] > COARSE * mm for at, mm in enumerate(spacing) if at != axis):
            notes.append(f"slices along axis {axis}, which has the coarsest spacing")
            return axis
    notes.append("slices along axis 0 (z)")
    return 0
