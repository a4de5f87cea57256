"""Virtual adversarial noise with a Dice distance (SS-Net; after Miyato et al., TPAMI 2018)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from semibench.blocks import dice_between

Distance = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(logits, target probabilities, valid) -> scalar."""


def linear_dice_distance(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """1 - (2 sum p q + s) / (sum p + sum q + s), sums over samples, classes and valid positions, s = 1e-8. It isn't 0 for two
    equal maps unless they are certain, so minimising it also sharpens the prediction."""
    p, counted = logits.float().softmax(1), valid.unsqueeze(1).float()
    common, size = (p * target * counted).sum(), ((p + target) * counted).sum()
    return 1.0 - (2.0 * common + 1e-8) / (size + 1e-8)


def squared_dice_distance(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean over classes of 1 - (2 sum p q + s) / (sum p^2 + sum q^2 + s), s = 1e-10; 0 for two equal maps."""
    return dice_between(logits, target, valid, smooth=1e-10)


def unit(direction: Tensor) -> Tensor:
    """(B, ...) -> the same with norm 1 for each sample; a direction of zeros stays one."""
    norm = direction.flatten(1).norm(dim=1).view(-1, *[1] * (direction.ndim - 1))
    return direction / norm.clamp_min(torch.finfo(direction.dtype).tiny)


def worst_direction(
    predict: Callable[[Tensor], Tensor], images: Tensor, target: Tensor, valid: Tensor, distance: Distance, probe: float
) -> Tensor:
    """Returns the direction, of norm 1 in each sample, in which the prediction changes most: one step of the power method from
    uniform noise of norm `probe`. Parameters get no gradient. Computed in float32, also under autocast: in half precision the
    gradient of so small a move is noise, or 0."""
    with torch.autocast(images.device.type, enabled=False):
        start = unit(torch.rand_like(images, dtype=torch.float32) - 0.5).requires_grad_()
        moved = distance(predict(images.float() + probe * start), target.float(), valid)
        (gradient,) = torch.autograd.grad(moved, start)
    return unit(gradient.detach())
