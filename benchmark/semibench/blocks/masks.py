"""Masks for mixing and hiding parts of images. Random numbers come from torch's global stream, which the harness seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

RatioLaw = Literal["uniform", "log-uniform"]
"""How `cutmix_mask` draws the ratio of a box's sides."""


def _device(like: Tensor | None) -> torch.device | None:
    return None if like is None else like.device


def box_mask(size: Sequence[int], share: float | Sequence[float], *, like: Tensor | None = None) -> Tensor:
    """Draws a mask of ones with one box of zeros at a uniform position (BCP).

    Each side of the box is int(share * side) long: 2/3 of 256 is a box of 170 at an offset of 0 to 85. A box as long as the
    side is at offset 0.

    Args:
        size: sides of the mask.
        share: share of each side, one number or one per axis, in [0, 1].
        like: a tensor on the device that the mask should be on; None: the CPU.

    Returns:
        float32 (*size).

    Raises:
        ValueError: if a share is outside [0, 1] or the number of shares is wrong.

    Examples:
        >>> int((box_mask((6, 6), 0.5) == 0).sum())
        9
    """
    shares = [share] * len(size) if isinstance(share, int | float) else list(share)
    if len(shares) != len(size) or not all(0.0 <= s <= 1.0 for s in shares):
        raise ValueError(f"expected a share in [0, 1], one number or one per axis of {tuple(size)}; got {share}")
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
    """Draws grids of blocks, each zero with probability `share`, for masked image consistency.

    Args:
        size: sides of the mask.
        share: probability that a block is zero.
        block: side of a block, one number or one per axis; the last block of an axis is cut where the side is not a multiple.
        batch: number of masks.
        like: a tensor on the device that the mask should be on; None: the CPU.

    Returns:
        float32 (batch, 1, *size) of zeros and ones, to multiply images (batch, C, *size) by.

    Examples:
        >>> block_mask((8, 8), 0.5, block=4, batch=2).shape
        torch.Size([2, 1, 8, 8])
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
    ratio_law: RatioLaw = "uniform",
    probability: float = 0.5,
    like: Tensor | None = None,
) -> Tensor:
    """Draws one box per sample for CutMix; in 2D the defaults are UniMatch's.

    The area is drawn once. Ratio and corner are drawn, anywhere in the image, until the box lies inside it, so boxes that
    are long on one side are rarer than the law of the ratio says. With the defaults boxes are longer along the first axis:
    the mean ratio is 1.61. "log-uniform" prefers no axis.

    Args:
        size: sides of the mask.
        batch: number of samples.
        area: range of the box's share of the image (in 3D: of the volume), uniform.
        ratio: range of the ratio of the box's first to its second side, each as a share of the image's. In 3D the third
            side is the cube root of the box's share.
        ratio_law: whether the ratio or its logarithm is uniform.
        probability: chance that a sample has a box.
        like: a tensor on the device that the mask should be on; None: the CPU.

    Returns:
        bool (batch, *size), True inside the box; all False for a sample without one.

    Raises:
        ValueError: if no box of the greatest area and an allowed ratio fits into the image.

    Examples:
        >>> cutmix_mask((8, 8), batch=2).shape
        torch.Size([2, 8, 8])
    """
    side = area[1] ** (1.0 / len(size))
    if not 0.0 < area[0] <= area[1] < 1.0 or not 0.0 < ratio[0] <= ratio[1]:
        raise ValueError(f"expected ranges with 0 < area < 1 and 0 < ratio; got area={area}, ratio={ratio}")
    if ratio[0] * side**2 >= 1.0 or ratio[1] <= side**2:
        raise ValueError(f"no box of the share {area[1]} and a ratio in {ratio} fits into an image; lower the area")
    mask = torch.zeros((batch, *size), dtype=torch.bool, device=_device(like))
    for one in mask:
        if torch.rand(()) > probability:
            continue
        one[_box(size, area, ratio, ratio_law)] = True
    return mask


def _box(
    size: Sequence[int], area: tuple[float, float], ratio: tuple[float, float], ratio_law: RatioLaw
) -> tuple[slice, ...]:
    dims = len(size)
    share = float(torch.empty(()).uniform_(*area)) ** (1.0 / dims)
    while True:
        draw, *corner = torch.rand(1 + dims, dtype=torch.float64).tolist()
        aspect = (
            ratio[0] + draw * (ratio[1] - ratio[0])
            if ratio_law == "uniform"
            else ratio[0] * (ratio[1] / ratio[0]) ** draw
        )
        factors = [math.sqrt(aspect), 1.0 / math.sqrt(aspect), *[1.0] * (dims - 2)]
        lengths = [int(side * share * factor) for side, factor in zip(size, factors, strict=True)]
        starts = [int(side * part) for side, part in zip(size, corner, strict=True)]
        if all(start + length <= side for start, length, side in zip(starts, lengths, size, strict=True)):
            return tuple(slice(start, start + length) for start, length in zip(starts, lengths, strict=True))


def paste(below: Tensor, above: Tensor, mask: Tensor) -> Tensor:
    """Pastes `above` onto `below` where a mask is True.

    Args:
        below: images (B, C, *spatial) or labels (B, *spatial).
        above: of the shape of `below`.
        mask: bool (B, *spatial).

    Returns:
        A tensor of the shape of `below`.

    Examples:
        >>> paste(torch.tensor([[1, 2]]), torch.tensor([[3, 4]]), torch.tensor([[False, True]]))
        tensor([[1, 4]])
    """
    mask = mask.unsqueeze(1) if below.ndim == mask.ndim + 1 else mask
    return torch.where(mask, above, below)
