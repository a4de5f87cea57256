"""Surface Dice at a tolerance, also called normalised surface distance (NSD)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from semibench.blocks.distances import surface_distances


def surface_dice(
    prediction: NDArray[np.bool_], reference: NDArray[np.bool_], spacing: Sequence[float] | None, tolerance: float
) -> float:
    """Measures the share of two surfaces that lies within a tolerance of the other one.

    NSD = (|{s in P: d(s, R) <= t}| + |{s in R: d(s, P) <= t}|) / (|P| + |R|) over the surface voxels P of the prediction and R of
    the reference (Nikolov et al., 2018, with voxels counted instead of weighted by area, as MONAI does).

    Args:
        prediction: bool (*spatial).
        reference: bool (*spatial).
        spacing: size of a voxel along each axis in mm; None: the tolerance is in voxels.
        tolerance: t, in the unit of the spacing.

    Returns:
        0 to 1; 1 if both masks are empty, 0 if only one is, as the other overlaps.

    Raises:
        ValueError: if the shapes differ, or the tolerance isn't a finite number of at least 0.

    Examples:
        >>> surface_dice(np.array([1, 0, 0], bool), np.array([0, 1, 0], bool), (0.5,), tolerance=0.5)
        1.0
    """
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise ValueError(f"expected a tolerance of at least 0; got {tolerance!r}")
    if prediction.shape != reference.shape:
        raise ValueError(f"expected two masks of the same shape; got {prediction.shape} and {reference.shape}")
    if not prediction.any() or not reference.any():
        return float(prediction.any() == reference.any())
    distances = surface_distances(prediction, reference, spacing)
    near = np.count_nonzero(distances.forward <= tolerance) + np.count_nonzero(distances.backward <= tolerance)
    return float(near) / (len(distances.forward) + len(distances.backward))
