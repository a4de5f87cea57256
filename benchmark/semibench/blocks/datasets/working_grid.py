"""Resizing to the working grid, padding and cropping to boxes, for images and labels alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from semibench.contracts.cases import Case, CaseRef, Frame

Box = tuple[tuple[int, int], ...]
"""(start, stop) in voxels per axis; a box may reach beyond its grid."""

Interpolation = Literal["linear", "nearest"]


def resize_image(image: Tensor, size: Sequence[int], how: Interpolation = "linear") -> Tensor:
    """Resize an image.

    Args:
        image: float32 (C, *spatial), 2 or 3 spatial axes.
        size: the new spatial size.
        how: "linear" is bilinear with antialiasing in 2D and trilinear in 3D; "nearest" takes the nearest voxel centre.

    Returns:
        float32 (C, *size); the same tensor where nothing changes.
    """
    if tuple(image.shape[1:]) == tuple(size):
        return image
    if how == "nearest":
        return functional.interpolate(image[None], size=tuple(size), mode="nearest-exact")[0]
    if len(size) == 2:
        return functional.interpolate(
            image[None], size=tuple(size), mode="bilinear", align_corners=False, antialias=True
        )[0]
    return functional.interpolate(image[None], size=tuple(size), mode="trilinear", align_corners=False)[0]


def resize_label(label: Tensor, size: Sequence[int]) -> Tensor:
    """Resize a label map to the nearest voxel centres.

    Args:
        label: uint8 (*spatial), 2 or 3 axes.
        size: the new size.

    Returns:
        uint8 (*size); the same tensor where nothing changes.
    """
    if tuple(label.shape) == tuple(size):
        return label
    return functional.interpolate(label[None, None].float(), size=tuple(size), mode="nearest-exact")[0, 0].to(
        torch.uint8
    )


def crop_or_pad(array: NDArray[Any], box: Box, fill: float = 0) -> NDArray[Any]:
    """Cut a box out of an array.

    Args:
        array: any number of axes.
        box: (start, stop) per axis; it may reach beyond the array.
        fill: the value of the parts beyond the array.

    Returns:
        The box: a view of the array where it lies inside, else a padded copy.
    """
    inside = tuple(slice(max(a, 0), min(b, n)) for (a, b), n in zip(box, array.shape, strict=True))
    pads = [(max(-a, 0), max(b - n, 0)) for (a, b), n in zip(box, array.shape, strict=True)]
    part = array[inside]
    if not any(before or after for before, after in pads):
        return part
    return np.pad(part, pads, constant_values=fill)


def foreground_box(label: NDArray[np.uint8], margin: int | Sequence[int] = 0) -> Box | None:
    """Find the box around the foreground of a label map.

    Args:
        label: any number of axes; everything above 0 is foreground.
        margin: voxels by which each side is widened, for all axes or for each.

    Returns:
        (start, stop) per axis, inside the grid; None without foreground.
    """
    margins = (margin,) * label.ndim if isinstance(margin, int) else tuple(margin)
    box = []
    for axis, (wide, length) in enumerate(zip(margins, label.shape, strict=True)):
        used = np.flatnonzero(label.any(axis=tuple(a for a in range(label.ndim) if a != axis)))
        if not len(used):
            return None
        box.append((max(int(used[0]) - wide, 0), min(int(used[-1]) + 1 + wide, length)))
    return tuple(box)


def scaled_spacing(spacing: Sequence[float] | None, box: Box, size: Sequence[int]) -> tuple[float, ...] | None:
    """Work out the spacing of a box that is resized.

    Args:
        spacing: native, in mm per axis; None where it is not known.
        box: the part of the native grid that is resized.
        size: its new size.

    Returns:
        mm per axis: the native spacing times the length of the box over the new size; None where `spacing` is None.
    """
    if spacing is None:
        return None
    return tuple(mm * (stop - start) / n for mm, (start, stop), n in zip(spacing, box, size, strict=True))


def centred_box(shape: Sequence[int], size: Sequence[int]) -> Box:
    """Place a box of a given size around the centre of a grid.

    Args:
        shape: of the grid.
        size: of the box.

    Returns:
        (start, stop) per axis; the box reaches beyond the grid where the grid is smaller.
    """
    starts = [(n - length) // 2 for n, length in zip(shape, size, strict=True)]
    return tuple((start, start + length) for start, length in zip(starts, size, strict=True))


def case_on_grid(
    ref: CaseRef,
    image: NDArray[np.float32],
    label: NDArray[np.uint8] | None,
    *,
    size: Sequence[int] | None = None,
    spacing: tuple[float, ...] | None = None,
    box: Box | None = None,
    how: Interpolation = "linear",
) -> Case:
    """Bring a native image and its label to the working grid.

    Args:
        ref: the case.
        image: float32 (C, *native), 2 or 3 spatial axes.
        label: uint8 (*native), classes; None where the case has no label.
        size: of the working grid; None for the size of the box.
        spacing: native, in mm per axis; None where it is not known.
        box: the part of the native grid that becomes the working grid, padded with 0 where it reaches beyond; None for
            the whole grid.
        how: interpolation of the image, as in `resize_image`.

    Returns:
        The case, with the frame by which a prediction is put back on the native grid.
    """
    frame = Frame(tuple(image.shape[1:]), spacing, box)
    grid = tuple(size or (stop - start for start, stop in frame.extent))
    part = crop_or_pad(image, ((0, len(image)), *frame.extent))
    target = None
    if label is not None:
        target = resize_label(torch.from_numpy(np.ascontiguousarray(crop_or_pad(label, frame.extent))), grid)
    resized = resize_image(torch.from_numpy(np.ascontiguousarray(part)), grid, how)
    return Case(ref, resized, target, scaled_spacing(spacing, frame.extent, grid), frame)
