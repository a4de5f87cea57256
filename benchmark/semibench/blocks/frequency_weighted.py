"""A supervised loss in which frequent classes count less."""

from __future__ import annotations

from torch import Tensor

from semibench.blocks.class_balance import class_counts
from semibench.blocks.losses import masked_mean, soft_dice
from semibench.contracts.method import IGNORE

LEAST = 0.005
"""Probability below which the cross-entropy has no gradient."""


def frequency_weighted_loss(logits: Tensor, target: Tensor, *, smooth: float = 1e-5) -> Tensor:
    """Cross-entropy weighted by 1 - the share of the class, plus Dice with squares over all classes (PnP-AdaNet, SIFA).

    The cross-entropy is the mean over all labeled positions of -(1 - n_y / n) ln max(p_y, .005), with the shares n_y / n of the
    batch.

    Args:
        logits: (B, K, *spatial).
        target: (B, *spatial) with IGNORE where nothing counts.
        smooth: smoothing constant of the Dice.

    Returns:
        A scalar; 0 if nothing is labeled.

    Examples:
        >>> target = torch.tensor([[0, 0, 0, 1]])
        >>> frequency_weighted_loss(20.0 * torch.eye(2)[target].movedim(-1, 1), target).round(decimals=4)
        tensor(0.)
    """
    counts = class_counts(target, logits.shape[1])
    weight = 1.0 - counts / counts.sum().clamp(min=1.0)
    counted = target != IGNORE
    label = target.masked_fill(~counted, 0).long()
    probability = logits.float().softmax(1).gather(1, label.unsqueeze(1)).squeeze(1).clamp(min=LEAST)
    return masked_mean(-weight[label] * probability.log(), counted) + soft_dice(logits, target, smooth=smooth)
