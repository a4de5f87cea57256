"""Losses by name. Logits are (B, K, *spatial), K >= 2; targets (B, *spatial) in 0..K-1 with IGNORE (255) on padding.

All of them work in 2D and 3D, leave ignored positions out of every sum, compute in at least float32, return a scalar, and
stay finite (value 0, gradient 0) if nothing is left to count. Members of the Dice family sum over different things; do not
compare the values of one with another's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from semibench.contracts.method import IGNORE

Supervision = Literal["dice_ce", "dice_ce_foreground", "bce_dice", "cross_entropy"]
"""The names that `supervised_loss` accepts."""


def _wide(values: Tensor) -> Tensor:
    """Convert to at least float32: the smoothing constants vanish in half precision."""
    return values if values.dtype == torch.float64 else values.float()


def one_hot(target: Tensor, classes: int) -> Tensor:
    """Turn labels into one-hot maps; ignored positions are zero in all classes.

    Args:
        target: integers (B, *spatial) in 0..classes-1, with IGNORE on padding.
        classes: number of classes.

    Returns:
        float32 (B, classes, *spatial).
    """
    counted = target != IGNORE
    index = torch.where(counted, target, torch.zeros_like(target)).long().unsqueeze(1)
    hot = torch.zeros((len(target), classes, *target.shape[1:]), device=target.device)
    return hot.scatter_(1, index, counted.unsqueeze(1).float())


def masked_mean(values: Tensor, valid: Tensor | None = None) -> Tensor:
    """Average the elements where `valid` is True.

    Args:
        values: any shape.
        valid: bool, broadcastable to `values`; None: every element counts.

    Returns:
        The mean as a scalar; 0 if no element counts.
    """
    if valid is None:
        return _wide(values).mean()
    weights = valid.to(_wide(values).dtype).expand_as(values)
    return (_wide(values) * weights).sum() / weights.sum().clamp(min=1.0)


def cross_entropy(logits: Tensor, target: Tensor, *, weight: Tensor | None = None) -> Tensor:
    """Average -ln softmax(z)_y over the positions that are not ignored.

    Args:
        logits: z, (B, K, *spatial).
        target: y, (B, *spatial).
        weight: class weights (K,); the mean is then weighted too.
    """
    wide, target = _wide(logits), target.long()
    total = F.cross_entropy(wide, target, weight=weight, ignore_index=IGNORE, reduction="sum")
    counted = target != IGNORE
    if weight is None:
        return total / counted.sum().clamp(min=1)
    share = weight.to(wide)[torch.where(counted, target, torch.zeros_like(target))] * counted
    return total / share.sum().clamp(min=torch.finfo(wide.dtype).tiny)


def soft_dice(
    logits: Tensor,
    target: Tensor,
    *,
    squared: bool = True,
    per_image: bool = False,
    background: bool = True,
    smooth: float = 1e-5,
) -> Tensor:
    """Soft Dice loss of p = softmax(z), averaged over classes: D_c = 1 - (2 sum p y + s) / (sum q + sum y + s).

    The default is the "DiceLoss" of SSL4MIS (Dice_A).

    Args:
        logits: z, (B, K, *spatial).
        target: y, (B, *spatial).
        squared: q = p^2; otherwise q = p.
        per_image: sum over each image and average over images; otherwise sum over the whole batch.
        background: count the background class.
        smooth: s.
    """
    return _dice(_wide(logits).softmax(1), target, None, squared, per_image, background, smooth)


def _dice(
    probabilities: Tensor,
    target: Tensor,
    mask: Tensor | None,
    squared: bool,
    per_image: bool,
    background: bool,
    smooth: float,
) -> Tensor:
    hot = one_hot(target, probabilities.shape[1]).to(probabilities.dtype)
    counted = (target != IGNORE).unsqueeze(1).to(probabilities.dtype)
    if mask is not None:
        counted = counted * mask
        hot = hot * mask
    if not background:
        probabilities, hot = probabilities[:, 1:], hot[:, 1:]
    probabilities = probabilities * counted
    over = tuple(range(2, hot.ndim)) if per_image else (0, *range(2, hot.ndim))
    common = (probabilities * hot).sum(over)
    size = (probabilities.square() if squared else probabilities).sum(over)
    return (1.0 - (2.0 * common + smooth) / (size + hot.sum(over) + smooth)).mean()


def dice_ce(logits: Tensor, target: Tensor, *, smooth: float = 1e-5, mix: float = 0.5) -> Tensor:
    """mix * CE + (1 - mix) * Dice_A; with mix = 1/2 this is the supervised loss of SSL4MIS, (CE + Dice_A) / 2.

    Args:
        logits: (B, K, *spatial).
        target: (B, *spatial).
        smooth: smoothing constant of the Dice.
        mix: weight of the cross-entropy.
    """
    return mix * cross_entropy(logits, target) + (1.0 - mix) * soft_dice(logits, target, smooth=smooth)


def bce_dice(logits: Tensor, target: Tensor, *, smooth: float = 1e-5) -> Tensor:
    """BCE / 2 + Dice of MGCC and CMU-Net, with p = sigmoid(z_1 - z_0).

    The Dice has plain sums (not squared), is taken for each image, D_i = 1 - (2 sum p y + s) / (sum p + sum y + s), and is
    averaged over images. For K > 2 classes it is written for the softmax, with the Dice averaged over foreground classes;
    for K = 2 both forms are equal.

    Args:
        logits: (B, K, *spatial).
        target: (B, *spatial).
        smooth: s.
    """
    dice = soft_dice(logits, target, squared=False, per_image=True, background=False, smooth=smooth)
    return 0.5 * cross_entropy(logits, target) + dice


def supervised_loss(logits: Tensor, target: Tensor, kind: Supervision = "dice_ce") -> Tensor:
    """Compute a supervised loss by name, so that a method can offer the choice as an option.

    Args:
        logits: (B, K, *spatial).
        target: (B, *spatial).
        kind: "dice_ce" is (CE + Dice_A) / 2 of SSL4MIS; "dice_ce_foreground" is the same with the Dice of the foreground
            classes only (UA-MT and its 3D relatives); "bce_dice" is the loss of MGCC; "cross_entropy" is CE alone.

    Raises:
        ValueError: for an unknown name.
    """
    match kind:
        case "dice_ce":
            return dice_ce(logits, target)
        case "dice_ce_foreground":
            return 0.5 * (cross_entropy(logits, target) + soft_dice(logits, target, background=False))
        case "bce_dice":
            return bce_dice(logits, target)
        case "cross_entropy":
            return cross_entropy(logits, target)
    raise ValueError(f"unknown supervised loss {kind!r}: dice_ce, dice_ce_foreground, bce_dice or cross_entropy")


def masked_cross_entropy(logits: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy over a region: sum(CE * M) / (sum(M) + 1e-16) (BCP: Bai et al., CVPR 2023).

    Args:
        logits: (B, K, *spatial).
        target: (B, *spatial).
        mask: M, (*spatial) or (B, *spatial), 1 where the loss counts.
    """
    each = F.cross_entropy(_wide(logits), target.long(), ignore_index=IGNORE, reduction="none")
    counted = mask.to(each.dtype).expand_as(each) * (target != IGNORE)
    return (each * counted).sum() / (counted.sum() + 1e-16)


def masked_dice(logits: Tensor, target: Tensor, mask: Tensor, *, smooth: float = 1e-10) -> Tensor:
    """Dice_A over a region: squared, summed over the batch, background counted (BCP: Bai et al., CVPR 2023).

    Args:
        logits: (B, K, *spatial).
        target: (B, *spatial).
        mask: (*spatial) or (B, *spatial), 1 where the loss counts.
        smooth: smoothing constant.
    """
    probabilities = _wide(logits).softmax(1)
    region = mask.to(probabilities.dtype).expand(target.shape).unsqueeze(1)
    return _dice(probabilities, target, region, True, False, True, smooth)


def dice_between(logits: Tensor, target: Tensor, mask: Tensor, *, smooth: float = 1e-5) -> Tensor:
    """Dice_A against probabilities: D_c = 1 - (2 sum p q m + s) / (sum p^2 m + sum q^2 m + s), with p = softmax(z).

    Sums run over batch and positions; the result is averaged over classes. This is UniMatch's Dice with ignored pixels; it is
    exactly 0 if all are ignored.

    Args:
        logits: z, (B, K, *spatial).
        target: q, (B, K, *spatial), soft or one-hot.
        mask: m, (B, *spatial), 0 where nothing counts.
        smooth: s.
    """
    p, q = _wide(logits).softmax(1), _wide(target)
    counted = mask.to(p.dtype).unsqueeze(1)
    over = (0, *range(2, p.ndim))
    common, size = (p * q * counted).sum(over), ((p.square() + q.square()) * counted).sum(over)
    return (1.0 - (2.0 * common + smooth) / (size + smooth)).mean()


def region_loss(logits: Tensor, target: Tensor, mask: Tensor, *, smooth: float = 1e-10) -> Tensor:
    """(masked Dice + masked CE) / 2 over a region (BCP: Bai et al., CVPR 2023); 0 for an empty region.

    Args:
        logits: (B, K, *spatial).
        target: (B, *spatial).
        mask: (*spatial) or (B, *spatial), 1 where the loss counts.
        smooth: smoothing constant of the Dice.
    """
    return 0.5 * (masked_dice(logits, target, mask, smooth=smooth) + masked_cross_entropy(logits, target, mask))


def softmax_mse(logits: Tensor, target: Tensor, *, valid: Tensor | None = None) -> Tensor:
    """Average (softmax(z) - q)^2 over samples, classes and positions.

    Args:
        logits: z, (B, K, *spatial).
        target: the probabilities q, (B, K, *spatial); detach them if they must not move.
        valid: bool (B, *spatial), False on padding; None: every position counts.
    """
    square = (_wide(logits).softmax(1) - _wide(target)).square()
    return masked_mean(square, None if valid is None else valid.unsqueeze(1))


def entropy(logits: Tensor, *, valid: Tensor | None = None) -> Tensor:
    """Average the entropy of p = softmax(z) over positions: H(p) = -sum_c p_c ln p_c, in nats.

    Args:
        logits: z, (B, K, *spatial).
        valid: bool (B, *spatial), False on padding; None: every position counts.
    """
    return masked_mean(voxel_entropy(logits), valid)


def voxel_entropy(logits: Tensor) -> Tensor:
    """Compute the entropy of p = softmax(z) at each position: H(p) = -sum_c p_c ln p_c.

    Args:
        logits: z, (B, K, *spatial).

    Returns:
        (B, *spatial), in nats.
    """
    log_p = _wide(logits).log_softmax(1)
    return -(log_p.exp() * log_p).sum(1)


def kl_divergence(logits: Tensor, target: Tensor, *, valid: Tensor | None = None) -> Tensor:
    """Average KL(q || p) = sum_c q_c ln(q_c / p_c) over positions, which pulls p = softmax(logits) towards q = softmax(target).

    Args:
        logits: (B, K, *spatial).
        target: logits too, (B, K, *spatial); detach them if they must not move.
        valid: bool (B, *spatial), False on padding; None: every position counts.
    """
    log_p, log_q = _wide(logits).log_softmax(1), _wide(target).log_softmax(1)
    return masked_mean((log_q.exp() * (log_q - log_p)).sum(1), valid)


def js_divergence(first: Tensor, second: Tensor, *, valid: Tensor | None = None) -> Tensor:
    """Average the Jensen-Shannon divergence of two softmaxes over positions, in nats; at most ln 2.

    Args:
        first: logits (B, K, *spatial).
        second: logits (B, K, *spatial).
        valid: bool (B, *spatial), False on padding; None: every position counts.
    """
    mean = log_mean_softmax((first, second))
    halves = [
        (log_p.exp() * (log_p - mean)).sum(1) for log_p in (_wide(first).log_softmax(1), _wide(second).log_softmax(1))
    ]
    return masked_mean(0.5 * (halves[0] + halves[1]), valid)


def log_mean_softmax(logits: Sequence[Tensor]) -> Tensor:
    """Compute the logarithm of the mean of softmaxes, the logits of a predictor that averages networks.

    Args:
        logits: one (B, K, *spatial) for each network.

    Returns:
        (B, K, *spatial); its softmax is the mean.
    """
    logs = torch.stack([_wide(z).log_softmax(1) for z in logits])
    return logs.logsumexp(0) - torch.tensor(float(len(logits))).log().item()


def two_class_logits(logit: Tensor) -> Tensor:
    """Turn the output of a sigmoid network into logits of two classes: cat([0, z]).

    Args:
        logit: z, (B, 1, *spatial).

    Returns:
        (B, 2, *spatial); its softmax is (1 - sigmoid(z), sigmoid(z)).

    Raises:
        ValueError: if there is more than one channel.
    """
    if logit.shape[1] != 1:
        raise ValueError(f"a sigmoid network has one output channel, got {tuple(logit.shape)}")
    return torch.cat([torch.zeros_like(logit), logit], 1)
