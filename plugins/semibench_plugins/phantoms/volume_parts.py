"""Types and small functions for volume scenes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label as components

from semibench.blocks import FloatArray

Label = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Tissues = NDArray[np.int64]
Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]


@dataclass
class Scene:
    """One drawn patient, before a scanner images it.

    Attributes:
        tissues: indices into `names`.
        names: the names of the tissues.
        label: the class of each voxel.
        detail: an additional signal (relative or HU) on top of the tissues; None if there is none.
        cleared: voxels that are set to 0 after imaging, as outside of a stripped brain; None if there are none.
    """

    tissues: Tissues
    names: tuple[str, ...]
    label: Label
    detail: FloatArray | None = None
    cleared: Mask | None = None


def largest_part(mask: Mask) -> Mask:
    """Returns the largest connected component (6 neighbours in 3D)."""
    parts, count = components(mask)
    if count < 2:
        return mask
    return np.asarray(parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:])))


def bumps(shape: Shape, spacing: Spacing, size: float) -> list[int]:
    """Returns the number of bumps of `size` mm that fit along each axis, at least two."""
    return [max(2, round(n * s / size)) for n, s in zip(shape, spacing, strict=True)]
