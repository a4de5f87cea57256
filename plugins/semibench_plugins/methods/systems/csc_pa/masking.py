"""Confidence-based masking and confidence-based selection of CSC-PA.

The paper's appendix, which defines the masking, was not available; this follows the released code.
"""

from __future__ import annotations

import torch
from torch import Tensor

GRID = 9
"""Patches per side: 513 / 57 in the code."""


def entropy(probabilities: Tensor) -> Tensor:
    """(B, K, H, W) -> (B, H, W) in nats."""
    return -torch.special.xlogy(probabilities, probabilities).sum(1)


def percentile(progress: float, drop: float = 20.0) -> float:
    """Returns the percentile of the entropy below which a pixel counts: 100 - drop (1 - progress), in percent."""
    return 100.0 - drop * (1.0 - progress)


def below_percentile(values: Tensor, percent: float, among: Tensor | None = None) -> Tensor:
    """True where values (any shape) are below their percentile over the batch, or over the mask `among`. Values equal to
    the percentile are dropped, as in the code."""
    pool = values.flatten() if among is None else values[among]
    if not pool.numel():
        return torch.zeros_like(values, dtype=torch.bool)
    ordered = pool.float().sort().values
    rank = percent / 100.0 * (len(ordered) - 1)
    low = int(rank)
    high = min(low + 1, len(ordered) - 1)
    threshold = torch.lerp(ordered[low], ordered[high], rank - low)
    return values.float() < threshold


def patch_of_pixels(size: tuple[int, int], grid: int, device: torch.device) -> Tensor:
    """(H, W): the index of each pixel's patch, 0 to grid^2 - 1. Patches are as equal in size as possible."""
    row, column = (torch.arange(side, device=device) * grid // side for side in size)
    return row[:, None] * grid + column[None, :]


def patch_scores(probabilities: Tensor, grid: int = GRID) -> Tensor:
    """(B, K, H, W) -> (B, grid^2): mean of -p ln p, p the largest probability, over a patch's pixels that are predicted as
    foreground, + 1e-10; 0 for a patch without such pixels."""
    size = (probabilities.shape[2], probabilities.shape[3])
    best, kind = probabilities.max(1)
    foreground = (kind > 0).float().flatten(1)
    doubt = -torch.special.xlogy(best, best).flatten(1) * foreground
    index = patch_of_pixels(size, grid, probabilities.device).flatten().expand_as(foreground)
    empty = torch.zeros(len(probabilities), grid * grid, device=probabilities.device)
    count = empty.scatter_add(1, index, foreground)
    total = empty.scatter_add(1, index, doubt.to(empty.dtype))
    return torch.where(count > 0, total / count.clamp(min=1.0) + 1e-10, empty)


def masked_patches(scores: Tensor, keep: float, mask: float) -> Tensor:
    """Draws the patches to hide, bool (B, P). Of the m patches with a score, the ceil(keep m) most doubtful stay visible;
    of the n others, a random ceil(mask n) are hidden. keep declines from .7 to 0 over the run."""
    count = scores.shape[1]
    # Slightly below the product, so that rounding up leaves .7 x 10 at 7 and 3 x 1/3 at 1.
    visible = ((scores > 0).sum(1) * keep - 1e-6).ceil().clamp(min=0)
    order = scores.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    stays = order < visible.unsqueeze(1)
    drawn = torch.rand(scores.shape, device=scores.device).masked_fill(stays, 2.0).argsort(dim=1).argsort(dim=1)
    hidden = ((count - stays.sum(1)) * mask - 1e-6).ceil()
    return drawn < hidden.unsqueeze(1)


def mask_images(images: Tensor, probabilities: Tensor, *, keep: float, mask: float, grid: int = GRID) -> Tensor:
    """x^m: images (B, C, H, W) with hidden patches set to 0. probabilities: the prediction of stage 1, (B, K, H, W)."""
    hidden = masked_patches(patch_scores(probabilities, grid), keep, mask)
    size = (images.shape[2], images.shape[3])
    pixels = hidden[:, patch_of_pixels(size, grid, images.device)]
    return images.masked_fill(pixels.unsqueeze(1), 0.0)
