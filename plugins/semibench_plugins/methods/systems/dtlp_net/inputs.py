"""Augmented inputs for decoder theta: cross-set CutMix (eq. 12) and block masks (eq. 14)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from semibench.blocks import block_mask, box_mask

BLOCKS = 16
"""Blocks along each axis: a block is 1/16 of the patch (Table I: 7 x 7 x 5 voxels of 112 x 112 x 80)."""


def partners(count: int, others: int) -> Tensor:
    """(count,) a partner for each unlabeled sample, uniform among all other samples. Positions 0..count-1 are the
    unlabeled samples, count..count+others-1 the labeled samples; a single sample is its own partner."""
    total = count + others
    if total < 2:
        return torch.zeros(count, dtype=torch.int64)
    drawn = torch.randint(total - 1, (count,))
    return drawn + (drawn >= torch.arange(count)).long()


def boxes(size: Sequence[int], count: int, sides: tuple[float, float], *, like: Tensor) -> Tensor:
    """bool (count, *size): True in one box per sample; each side is a share of the patch drawn uniformly from `sides`."""
    shares = torch.empty((count, len(size))).uniform_(*sides).tolist()
    return torch.stack([box_mask(size, share, like=like) == 0 for share in shares])


def block_size(size: Sequence[int]) -> tuple[int, ...]:
    """Sides of a block: 1/16 of the patch, at least one voxel."""
    return tuple(max(1, side // BLOCKS) for side in size)


def kept_blocks(images: Tensor, ratio: float) -> Tensor:
    """Eq. 14: (B, C, *spatial) -> float (B, 1, *spatial), 1 where a block is kept; `ratio` is the masked share. The
    equation has two axes and omits the range of the second; here all axes are cut into blocks, separately for each
    sample."""
    size = images.shape[2:]
    return block_mask(size, ratio, block=block_size(size), batch=len(images), like=images)
