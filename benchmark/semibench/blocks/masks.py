"""Masks for mixing and hiding parts of images. Random numbers come from torch's global stream, which the harness seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def _device(like: Tensor | None) -> torch.device | None:
    return None if like is None else like.device


def box_mask(size: Sequence[int], share: float | Sequence[float], *, like: Tensor | None = None) -> Tensor:
    """Draw a mask of ones with one box of zeros at a uniform position (BCP: Bai et al., CVPR 2023).

    Args:
        size: spatial size of the mask.
        share: length of the box as a share of each side, one number or one for each axis. The length is
            int(share * side): 2/3 of 256 is a box of 170 with offsets 0..85. A box as long as the side starts at 0.
        like: a tensor on the device of the result.

    Returns:
        float32 (*size).

    Raises:
        ValueError: if a share is outside [0, 1] or there is not one for each axis.
    """
    shares = [share] * len(size) if isinstance(share, int | float) else list(share)
    if len(shares) != len(size) or not all(0.0 <= s <= 1.0 for s in shares):
        raise ValueError(f"expected a share in [0, 1], one number or one for each axis of {tuple(size)}; got {share}")
    mask = torch.ones(tuple(size), device=_device(like))
    window = []
    for side, part in zip(size, shares, strict=True):
        length = int(side * part + 1e-9)
        start = int(torch.randint(max(side - length, 1), ()))
        window.append(slice(start, start + length))
    mask[tuple(window)] = 0.0
    return mask


def block_mask(
    size: Sequence[int], share: float, *, block: int | Sequence[int], batch: int = 1, like: Tensor | None = None
) -> Tensor:
    """Draw a mask of blocks, for masked image consistency: multiply the images by it.

    Args:
        size: spatial size of the mask.
        share: probability that a block is 0; otherwise it is 1.
        block: side of a block in voxels, one number or one for each axis. The last block of an axis is cut if the side is
            not a multiple.
        batch: number of masks.
        like: a tensor on the device of the result.

    Returns:
        float32 (batch, 1, *size).
    """
    lengths = [block] * len(size) if isinstance(block, int) else list(block)
    cells = [math.ceil(side / length) for side, length in zip(size, lengths, strict=True)]
    mask = (torch.rand((batch, 1, *cells), device=_device(like)) >= share).float()
    for axis, (side, length) in enumerate(zip(size, lengths, strict=True), start=2):
        mask = mask.repeat_interleave(length, axis).narrow(axis, 0, side)
    return mask


def cutmix_mask(
    size: Sequence[int],
    *,
    batch: int,
    area: tuple[float, float] = (0.02, 0.4),
    ratio: tuple[float, float] = (0.3, 1 / 0.3),
    probability: float = 0.5,
    like: Tensor | None = None,
) -> Tensor:
    """Draw CutMix boxes, one for each sample; the defaults are those of UniMatch. Boxes that do not fit are drawn again.

    Args:
        size: spatial size of the masks.
        batch: number of masks.
        area: (low, high) of the box's share of the image (in 3D: of the volume), uniform.
        ratio: (low, high) of the box's first to second side, log-uniform in 2D and 3D.
        probability: probability that a sample has a box.
        like: a tensor on the device of the result.

    Returns:
        bool (batch, *size): True inside the box.
    """
    mask = torch.zeros((batch, *size), dtype=torch.bool, device=_device(like))
    for one in mask:
        if torch.rand(()) > probability:
            continue
        one[_box(size, area, ratio)] = True
    return mask


def _box(size: Sequence[int], area: tuple[float, float], ratio: tuple[float, float]) -> tuple[slice, ...]:
    dims = len(size)
    while True:
        share = float(torch.empty(()).uniform_(*area)) ** (1.0 / dims)
        aspect = math.exp(float(torch.empty(()).uniform_(math.log(ratio[0]), math.log(ratio[1]))))
        factors = [math.sqrt(aspect), 1.0 / math.sqrt(aspect), *[1.0] * (dims - 2)]
        lengths = [int(side * share * factor) for side, factor in zip(size, factors, strict=True)]
        if all(length <= side for length, side in zip(lengths, size, strict=True)):
            starts = [int(torch.randint(side - length + 1, ())) for length, side in zip(lengths, size, strict=True)]
            return tuple(slice(start, start + length) for start, length in zip(starts, lengths, strict=True))


def paste(below: Tensor, above: Tensor, mask: Tensor) -> Tensor:
    """Take `above` where the mask is True, else `below`.

    Args:
        below: images (B, C, *spatial) or labels (B, *spatial).
        above: the same shape.
        mask: bool (B, *spatial).

    Returns:
        The shape of `below`.
    """
    return torch.where(mask.unsqueeze(1) if below.ndim == mask.ndim + 1 else mask, above, below)
