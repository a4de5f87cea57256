"""Boxes for CutMix whose size follows a beta distribution. Random numbers come from torch's global stream."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def beta_box_mask(
    size: Sequence[int],
    *,
    batch: int,
    shape: tuple[float, float] = (4.0, 4.0),
    start: float = 0.125,
    like: Tensor | None = None,
) -> Tensor:
    """Draws one box per sample for CutMix, all of one size, by the law of Yun et al. (ICCV 2019), as in AugSeg and PS-MT.

    With lambda ~ Beta(a, b), drawn once, each side of a box is int(sqrt(1 - lambda) * side) long; in 3D the root is the
    cube root. The centre is drawn for each sample, and what lies outside the image is cut off.

    Args:
        size: sides of the mask.
        batch: number of samples.
        shape: a and b. The mean share of a box, before it is cut off, is b / (a + b).
        start: lowest centre, as a share of the side. Both codes draw from 1/8 of the side to its end, so that boxes lie rather
            at the bottom right; 0 prefers no side.
        like: a tensor on the device that the mask should be on; None: the CPU.

    Returns:
        bool (batch, *size), True inside the box.

    Raises:
        ValueError: if a or b is not positive or `start` is outside [0, 1).

    Examples:
        >>> beta_box_mask((8, 8), batch=2).shape
        torch.Size([2, 8, 8])
    """
    if min(shape) <= 0.0 or not 0.0 <= start < 1.0:
        raise ValueError(f"expected a positive shape and 0 <= start < 1; got shape={shape}, start={start}")
    device = None if like is None else like.device
    left = float(torch.distributions.Beta(*(torch.tensor(value, dtype=torch.float64) for value in shape)).sample())
    mask = torch.ones((batch, *size), dtype=torch.bool, device=device)
    for axis, side in enumerate(size):
        half = int(side * (1.0 - left) ** (1.0 / len(size))) // 2
        centre = torch.randint(int(side * start), side, (batch, 1))
        place = torch.arange(side)
        inside = (place >= centre - half) & (place < centre + half)
        mask &= inside.to(mask.device).view(batch, *[side if other == axis else 1 for other in range(len(size))])
    return mask
