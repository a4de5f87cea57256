"""The normalised gradient magnitude of LMISA: edges at several scales, as strong in one modality as in another."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor
from torch.nn import functional as F

from semibench_plugins.methods.adaptation.resizing import resized

SCALES = (1, 2, 4, 8)
FLAT = 1e-3
"""Of the deviation of the whole magnitude: windows with less are flat."""
WINDOW = 3


def sobel_magnitude(images: Tensor) -> Tensor:
    """(B, C, *spatial) -> norm of the Sobel gradient, of the same shape; edges are repeated."""
    axes = range(2, images.ndim)
    padded = F.pad(images, (1, 1) * len(axes), mode="replicate")
    square = torch.zeros_like(images)
    for along in axes:
        part = padded
        for axis in axes:
            inner = part.shape[axis] - 2
            before, middle, after = (part.narrow(axis, start, inner) for start in range(WINDOW))
            part = after - before if axis == along else before + 2.0 * middle + after
        square = square + part.square()
    return square.sqrt()


def normalised_in_windows(magnitude: Tensor) -> Tensor:
    """Scales each value to 0..1 by the smallest and greatest of its 3 x 3 window in the plane of the last two axes.

    The outermost row and column of a plane are 0, and so are windows whose deviation is at most a thousandth of that of the
    whole map: there is no edge in them. (B, C, *spatial) -> the same shape."""
    height, width = magnitude.shape[-2:]
    result = torch.zeros_like(magnitude)
    if min(height, width) < WINDOW:
        return result
    centre = magnitude[..., 1:-1, 1:-1]
    low, high, total, square = (torch.zeros_like(centre) for _ in range(4))
    for down, right in itertools.product(range(WINDOW), repeat=2):
        # differences to the centre, so that flat windows have a deviation of exactly 0
        away = magnitude[..., down : height - 2 + down, right : width - 2 + right] - centre
        low, high = torch.minimum(low, away), torch.maximum(high, away)
        total, square = total + away, square + away.square()
    count = WINDOW**2
    deviation = (square / count - (total / count).square()).clamp(min=0.0).sqrt()
    whole = magnitude.flatten(2).std(2, correction=0).view(*magnitude.shape[:2], *[1] * (magnitude.ndim - 2))
    inner = torch.where(deviation > FLAT * whole, -low / (high - low).clamp(min=torch.finfo(low.dtype).tiny), 0.0)
    result[..., 1:-1, 1:-1] = inner
    return result


@torch.no_grad()
def normalised_gradient(images: Tensor) -> Tensor:
    """Sum over scales 1, 1/2, 1/4 and 1/8 of the normalised gradient magnitude, then scaled to 0..1 for each sample and channel.

    (B, C, *spatial) -> float32 of the same shape. A change of the intensities x to a x + b leaves it as it is, whatever the sign of
    a. An even image gives 0.
    """
    images, size = images.float(), images.shape[2:]
    total = torch.zeros_like(images)
    for scale in SCALES:
        small = resized(images, [max(side // scale, 1) for side in size])
        total = total + resized(normalised_in_windows(sobel_magnitude(small)), size)
    flat = total.flatten(2)
    low, high = (value.view(*images.shape[:2], *[1] * len(size)) for value in (flat.amin(2), flat.amax(2)))
    return (total - low) / (high - low).clamp(min=1e-6)


def standardised(edges: Tensor, valid: Tensor | None = None) -> Tensor:
    """Scales each map to mean 0 and standard deviation 1.

    Args:
        edges: (B, C, *spatial).
        valid: bool (B, 1, *spatial), False on padding, which takes no part and becomes 0; None: every position is valid.

    Returns:
        Maps of the same shape; an even map becomes 0.
    """
    inside = torch.ones_like(edges) if valid is None else valid.to(edges.dtype).expand_as(edges)
    over = tuple(range(2, edges.ndim))
    count = inside.sum(over, keepdim=True).clamp(min=1.0)
    away = (edges - (edges * inside).sum(over, keepdim=True) / count) * inside
    deviation = (away.square().sum(over, keepdim=True) / count).sqrt()
    return away / deviation.clamp(min=1e-6)
