"""Resizing to the working grid and cutting boxes, images and labels alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Box = tuple[tuple[int, int], ...]


def resize_image(image: Tensor, size: Sequence[int], how: str = "linear") -> Tensor:
    """float32 (C, *spatial) -> (C, *size). "linear": bilinear with antialiasing in 2D, trilinear in 3D; "nearest"."""
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
    """uint8 (*spatial) -> (*size), nearest voxel centre."""
    if tuple(label.shape) == tuple(size):
        return label
    return functional.interpolate(label[None, None].float(), size=tuple(size), mode="nearest-exact")[0, 0].to(
        torch.uint8
    )


def cut(array: NDArray[Any], box: Box, fill: float = 0) -> NDArray[Any]:
    """The box (start, stop per axis) out of an array; parts beyond the array are filled."""
    inside = tuple(slice(max(a, 0), min(b, n)) for (a, b), n in zip(box, array.shape, strict=True))
    pads = [(max(-a, 0), max(b - n, 0)) for (a, b), n in zip(box, array.shape, strict=True)]
    part = array[inside]
    if not any(before or after for before, after in pads):
        return part
    return np.pad(part, pads, constant_values=fill)


def label_box(label: NDArray[np.uint8], margin: int | Sequence[int] = 0) -> Box | None:
    """The box of the foreground, widened by a margin per side and kept inside the grid; None without foreground."""
    margins = (margin,) * label.ndim if isinstance(margin, int) else tuple(margin)
    box = []
    for axis, (wide, length) in enumerate(zip(margins, label.shape, strict=True)):
        used = np.flatnonzero(label.any(axis=tuple(a for a in range(label.ndim) if a != axis)))
        if not len(used):
            return None
        box.append((max(int(used[0]) - wide, 0), min(int(used[-1]) + 1 + wide, length)))
    return tuple(box)


def scaled_spacing(spacing: Sequence[float] | None, box: Box, size: Sequence[int]) -> tuple[float, ...] | None:
    """Spacing of the working grid: the native one times box length over size, per axis."""
    if spacing is None:
        return None
    return tuple(mm * (stop - start) / n for mm, (start, stop), n in zip(spacing, box, size, strict=True))


def to_unit(image: NDArray[np.float32], low: float | None = None, high: float | None = None) -> NDArray[np.float32]:
    """Clips to the percentiles low and high (None: no clipping there), then maps minimum..maximum to 0..1."""
    bottom = float(image.min() if low is None else np.percentile(image, low))
    top = float(image.max() if high is None else np.percentile(image, high))
    if top <= bottom:
        return np.zeros_like(image, dtype=np.float32)
    return ((np.clip(image, bottom, top) - bottom) / (top - bottom)).astype(np.float32)


def robust_unit(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Clips to the 0.5th and 99.5th percentile and scales to 0..1."""
    return to_unit(image, 0.5, 99.5)


def z_score(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Zero mean, unit standard deviation over the whole array (a constant array becomes zero)."""
    deviation = float(image.std(dtype=np.float64))
    centred = image - image.mean(dtype=np.float64)
    return (centred / deviation if deviation > 0 else centred * 0).astype(np.float32)


def window(image: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    """Clips to low..high (Hounsfield units) and maps that range to 0..1."""
    return ((np.clip(image, low, high) - low) / (high - low)).astype(np.float32)
