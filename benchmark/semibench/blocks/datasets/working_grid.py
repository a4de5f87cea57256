"""Resizes images and labels to the working grid, and crops or pads them to boxes."""

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
"""(start, stop) in voxels per axis; a box may extend beyond its grid."""

Interpolation = Literal["linear", "nearest"]


def resize_image(image: Tensor, size: Sequence[int], how: Interpolation = "linear") -> Tensor:
    """Resizes an image.

    Args:
        image: float32 (C, *spatial), 2 or 3 spatial axes.
        size: the new spatial size.
        how: "linear" (bilinear with antialiasing in 2D, trilinear in 3D) or "nearest" (the nearest voxel centre).

    Returns:
        float32 (C, *size); the same tensor if it already has this size.

    Examples:
        >>> resize_image(torch.zeros(1, 4, 6), (8, 12)).shape
        torch.Size([1, 8, 12])
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
    """Resizes a label map by nearest neighbour, using voxel centres.

    Args:
        label: uint8 (*spatial), 2 or 3 axes.
        size: the new size.

    Returns:
        uint8 (*size); the same tensor if it already has this size.

    Examples:
        >>> resize_label(torch.tensor([[0, 1]], dtype=torch.uint8), (1, 4))
        tensor([[0, 0, 1, 1]], dtype=torch.uint8)
    """
    if tuple(label.shape) == tuple(size):
        return label
    return functional.interpolate(label[None, None].float(), size=tuple(size), mode="nearest-exact")[0, 0].to(
        torch.uint8
    )


def crop_or_pad(array: NDArray[Any], box: Box, fill: float = 0) -> NDArray[Any]:
    """Cuts a box out of an array.

    Args:
        array: an array with any number of axes.
        box: (start, stop) per axis; it may extend beyond the array.
        fill: the value of the parts beyond the array.

    Returns:
        The contents of the box: a view of the array if the box is inside it, else a padded copy.

    Examples:
        >>> crop_or_pad(np.array([1, 2, 3]), ((-1, 2),))
        array([0, 1, 2])
    """
    inside = tuple(slice(max(a, 0), min(b, n)) for (a, b), n in zip(box, array.shape, strict=True))
    pads = [(max(-a, 0), max(b - n, 0)) for (a, b), n in zip(box, array.shape, strict=True)]
    part = array[inside]
    if not any(before or after for before, after in pads):
        return part
    return np.pad(part, pads, constant_values=fill)


def foreground_box(label: NDArray[np.uint8], margin: int | Sequence[int] = 0) -> Box | None:
    """Finds the box around the foreground of a label map.

    Args:
        label: a label map with any number of axes; values above 0 are foreground.
        margin: voxels added on each side: one number, or one per axis.

    Returns:
        (start, stop) per axis, inside the grid; None if there is no foreground.

    Examples:
        >>> foreground_box(np.array([[0, 0, 0], [0, 1, 1]], np.uint8))
        ((1, 2), (1, 3))
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
    """Computes the spacing of a box after resizing.

    Args:
        spacing: the native spacing in mm per axis; None if unknown.
        box: the part of the native grid that is resized.
        size: its new size.

    Returns:
        mm per axis: the native spacing times the length of the box, divided by the new size. None if `spacing` is None.

    Examples:
        >>> scaled_spacing((1.0, 1.0), ((0, 4), (0, 6)), (8, 12))
        (0.5, 0.5)
    """
    if spacing is None:
        return None
    return tuple(mm * (stop - start) / n for mm, (start, stop), n in zip(spacing, box, size, strict=True))


def centred_box(shape: Sequence[int], size: Sequence[int]) -> Box:
    """Places a box of a given size at the centre of a grid.

    Args:
        shape: the shape of the grid.
        size: the size of the box.

    Returns:
        (start, stop) per axis; the box extends beyond the grid where the grid is smaller.

    Examples:
        >>> centred_box((10, 4), (6, 6))
        ((2, 8), (-1, 5))
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
    """Transfers a native image and its label to the working grid.

    Args:
        ref: the reference of the case.
        image: float32 (C, *native), 2 or 3 spatial axes.
        label: uint8 (*native), classes; None if the case has no label.
        size: the size of the working grid; None: that of the box.
        spacing: the native spacing in mm per axis; None if unknown.
        box: the part of the native grid that becomes the working grid, padded with 0 beyond its borders; None: the whole
            grid.
        how: the interpolation of the image, as in `resize_image`.

    Returns:
        The case, with the frame that maps a prediction back to the native grid.

    Examples:
        >>> ref = CaseRef("clinic", "a", "a", "default", True)
        >>> case = case_on_grid(ref, np.zeros((1, 4, 6), np.float32), None, size=(8, 12), spacing=(1.0, 1.0))
        >>> case.image.shape, case.spacing
        (torch.Size([1, 8, 12]), (0.5, 0.5))
    """
    frame = Frame(tuple(image.shape[1:]), spacing, box)
    grid = tuple(size or (stop - start for start, stop in frame.extent))
    part = crop_or_pad(image, ((0, len(image)), *frame.extent))
    target = None
    if label is not None:
        target = resize_label(torch.from_numpy(np.ascontiguousarray(crop_or_pad(label, frame.extent))), grid)
    resized = resize_image(torch.from_numpy(np.ascontiguousarray(part)), grid, how)
    return Case(ref, resized, target, scaled_spacing(spacing, frame.extent, grid), frame)
