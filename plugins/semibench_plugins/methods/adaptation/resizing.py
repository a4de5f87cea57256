"""Resizing of maps to a grid that mostly divides theirs."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F


def resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, *s) -> (B, C, *size): means of windows where the sides divide, else linear. (The means have a deterministic
    gradient on a GPU, which torch's pooling in 3D lacks.)"""
    sides = maps.shape[2:]
    if any(side % goal for side, goal in zip(sides, size, strict=True)):
        return F.interpolate(maps, tuple(size), mode=("bilinear", "trilinear")[len(size) - 2])
    for axis, goal in enumerate(size, start=2):
        if maps.shape[axis] != goal:
            maps = maps.unflatten(axis, (goal, -1)).mean(axis + 1)
    return maps
