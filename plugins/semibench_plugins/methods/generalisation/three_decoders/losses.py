"""Cross-entropy with a linear Dice over the batch, in the paper's and the code's form; soft Dice of two maps."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from semibench import IGNORE
from semibench.blocks import cross_entropy, one_hot

Form = Literal["paper", "code"]
"""paper: (CE + 1 - Dice) / 2; code: CE - Dice."""
Weighted = Literal["both", "dice"]
"""Which parts of the loss the class weights act on."""


def class_dice(logits: Tensor, target: Tensor, smooth: float = 1.0) -> Tensor:
    """Linear Dice (K - 1,) of the foreground classes over the whole batch: (2 sum p y + s) / (sum p + sum y + s)."""
    hot = one_hot(target, logits.shape[1])[:, 1:]
    counted = (target != IGNORE).unsqueeze(1)
    probabilities = logits.float().softmax(1)[:, 1:] * counted
    over = (0, *range(2, logits.ndim))
    common = (probabilities * hot).sum(over)
    return (2.0 * common + smooth) / (probabilities.sum(over) + hot.sum(over) + smooth)


def dice_with_ce(
    logits: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    weighted: Weighted = "both",
    form: Form = "paper",
    smooth: float = 1.0,
) -> Tensor:
    """DiceCE of A&D and DTLP-Net (eq. 2, 3, 11, 13, 15).

    "paper": (CE_w + mean_{k >= 1} w_k (1 - dice_k)) / 2. "code": CE_w - mean_{k >= 1} w_k dice_k, which falls to -1 and
    has twice the gradient. weight: (K,) class weights; the cross-entropy over all classes is then a weighted mean, while
    the Dice uses foreground classes only. weighted: "dice" leaves the cross-entropy unweighted. Padding is left out. Returns
    a float32 scalar."""
    entropy = cross_entropy(logits, target, weight=weight if weighted == "both" else None)
    dice = class_dice(logits, target, smooth)
    share = torch.ones_like(dice) if weight is None else weight[1:].to(dice)
    if form == "code":
        return entropy - (share * dice).mean()
    return 0.5 * (entropy + (share * (1.0 - dice)).mean())


def soft_dice_between(
    first: Tensor, second: Tensor, *, valid: Tensor | None = None, squared: bool = False, smooth: float = 1e-5
) -> Tensor:
    """SD(p, q) = 1 - mean_k (2 sum p q + s) / (sum p + sum q + s) of two probability maps (B, K, *spatial), over all
    classes, with sums over the batch. For p = q it is 0 only if both are hard; with `squared`, which puts p^2 and q^2 in
    the denominator, it always is. valid: bool (B, *spatial), False on padding."""
    p, q = first.float(), second.float()
    if valid is not None:
        p, q = p * valid.unsqueeze(1), q * valid.unsqueeze(1)
    over = (0, *range(2, p.ndim))
    size = (p.square() + q.square()).sum(over) if squared else (p + q).sum(over)
    return (1.0 - (2.0 * (p * q).sum(over) + smooth) / (size + smooth)).mean()
