"""Diverse teaching: fuses two teachers' predictions by their entropy (eq. 7-10); turns a label map into probabilities."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

MapReading = Literal["affine", "softmax"]
"""How a label map in [-1, 1] becomes probabilities: (x + 1) / 2 divided by its sum, or softmax(x)."""

FLOOR = 1e-6


def bits(probabilities: Tensor) -> Tensor:
    """Eq. 8: (B, K, *spatial) -> (B, 1, *spatial), entropy H = -sum_k p_k log2 p_k. (The equation prints the index i under
    the sum and two letters for one map.)"""
    p = probabilities.float()
    return -(p * p.clamp(min=1e-12).log()).sum(1, keepdim=True) / math.log(2.0)


def fused(first: Tensor, second: Tensor, share: float = 1.0) -> Tensor:
    """Eq. 9, 10: (w_1 p_1 + w_2 p_2) / (w_1 + w_2) with w = exp(-H), voxel by voxel; maps (B, K, *spatial). share: a factor
    on w_2; 1 as printed, 0 leaves p_1."""
    one, two = (-bits(first)).exp(), share * (-bits(second)).exp()
    return (one * first + two * second) / (one + two)


def as_probabilities(label_map: Tensor, reading: MapReading = "affine") -> Tensor:
    """Label map (B, K, *spatial) in [-1, 1] -> probabilities; uniform where the map is -1 for every class."""
    if reading == "softmax":
        return label_map.softmax(1)
    part = (label_map + 1.0) / 2.0 + FLOOR
    return part / part.sum(1, keepdim=True)
