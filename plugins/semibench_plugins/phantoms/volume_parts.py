"""Types and small functions for volume scenes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label as components

Label = NDArray[np.uint8]
Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]


def largest_part(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Returns the largest connected component (6 neighbours in 3D)."""
    parts, count = components(mask)
    if count < 2:
        return mask
    return np.asarray(parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:])))


def bumps(shape: Shape, spacing: Spacing, size: float) -> list[int]:
    """Returns the number of bumps of `size` mm that fit along each axis, at least two."""
    return [max(2, round(n * s / size)) for n, s in zip(shape, spacing, strict=True)]
