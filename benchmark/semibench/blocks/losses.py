"""Losses by name. Logits (B, K, *spatial), K >= 2; targets (B, *spatial) in 0..K-1 with IGNORE (255) on padding.

All of them work in 2D and 3D, leave ignored positions out of every sum, compute in at least float32, return a scalar, and
stay finite (value 0, gradient 0) where nothing is left to count. The Dice family has members that differ in what they sum
over; values of one must not be compared with another's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from semibench.contracts.method import IGNORE

Supervision = Literal["dice_ce", "dice_ce_foreground", "bce_dice", "cross_entropy"]
"""Names of `supervised_loss`."""


def _wide(values: Tensor) -> Tensor:
    """At least float32: the smoothing constants vanish in half precision."""
    return values if values.dtype == torch.float64 else values.float()


def one_hot(target: Tensor, classes: int) -> Tensor:
    """(B, *spatial) -> float32 (B, classes, *spatial); ignored positions are zero in all classes."""
    counted = target != IGNORE
    index = torch.where(counted, target, torch.zeros_like(target)).long().unsqueeze(1)
    hot = torch.zeros((len(target), classes, *target.shape[1:]), device=target.device)
    return hot.scatter_(1, index, counted.unsqueeze(1).float())


def masked_mean(values: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean over all elements, or over those where `valid` (broadcastable to values) holds; 0 where none does."""
    if valid is None:
        return _wide(values).mean()
    weights = valid.to(_wide(values).dtype).expand_as(values)
    return (_wide(values) * weights).sum() / weights.sum().clamp(min=1.0)


def cross_entropy(logits: Tensor, target: Tensor, *, weight: Tensor | None = None) -> Tensor:
    """Mean of -log softmax(z)_y over counted positions. weight: (K,) class weights (the mean is then weighted too)."""
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
    """Soft Dice of the softmax, mean over classes: D_c = 1 - (2 sum p y + s) / (sum q + sum y + s).

    The default is SSL4MIS's "DiceLoss" (Dice_A): q = p^2 (squared), sums over batch and positions together, background
    counted. squared=False: q = p. per_image: sums per image, then the mean over images.
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
    """mix * CE + (1 - mix) * Dice_A; with mix = 1/2 the supervised loss of SSL4MIS, (CE + Dice_A) / 2."""
    return mix * cross_entropy(logits, target) + (1.0 - mix) * soft_dice(logits, target, smooth=smooth)


def bce_dice(logits: Tensor, target: Tensor, *, smooth: float = 1e-5) -> Tensor:
    """BCE / 2 + Dice of MGCC and CMU-Net: p = sigmoid(z_1 - z_0), Dice per image with plain (not squared) sums.

    D_i = 1 - (2 sum p y + s) / (sum p + sum y + s), mean over images. For K > 2 classes the same written for the
    softmax, the Dice a mean over the foreground classes; for K = 2 the two are one.
    """
    dice = soft_dice(logits, target, squared=False, per_image=True, background=False, smooth=smooth)
    return 0.5 * cross_entropy(logits, target) + dice


def supervised_loss(logits: Tensor, target: Tensor, kind: Supervision = "dice_ce") -> Tensor:
    """The supervised loss of a family of methods, by name, so that a method can offer the choice as an option.

    dice_ce: (CE + Dice_A) / 2, SSL4MIS. dice_ce_foreground: the same with the Dice of the foreground classes only, UA-MT
    and its 3D relatives. bce_dice: MGCC. cross_entropy: CE alone.
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
    """sum(CE * M) / (sum(M) + 1e-16). mask: (*spatial) or (B, *spatial), 1 where the loss counts (BCP)."""
    each = F.cross_entropy(_wide(logits), target.long(), ignore_index=IGNORE, reduction="none")
    counted = mask.to(each.dtype).expand_as(each) * (target != IGNORE)
    return (each * counted).sum() / (counted.sum() + 1e-16)


def masked_dice(logits: Tensor, target: Tensor, mask: Tensor, *, smooth: float = 1e-10) -> Tensor:
    """Dice_A over a region only: batch sums, squared, background counted. mask: (*spatial) or (B, *spatial)."""
    probabilities = _wide(logits).softmax(1)
    region = mask.to(probabilities.dtype).expand(target.shape).unsqueeze(1)
    return _dice(probabilities, target, region, True, False, True, smooth)


def dice_between(logits: Tensor, target: Tensor, mask: Tensor, *, smooth: float = 1e-5) -> Tensor:
    """Dice_A against probabilities: D_c = 1 - (2 sum p q m + s) / (sum p^2 m + sum q^2 m + s), sums over batch and
    positions, mean over classes. target: q (B, K, *spatial), soft or one-hot; mask: m (B, *spatial), 0 where nothing counts
    (UniMatch's Dice with ignored pixels, exactly 0 where all are)."""
    p, q = _wide(logits).softmax(1), _wide(target)
    counted = mask.to(p.dtype).unsqueeze(1)
    over = (0, *range(2, p.ndim))
    common, size = (p * q * counted).sum(over), ((p.square() + q.square()) * counted).sum(over)
    return (1.0 - (2.0 * common + smooth) / (size + smooth)).mean()


def region_loss(logits: Tensor, target: Tensor, mask: Tensor, *, smooth: float = 1e-10) -> Tensor:
    """(masked Dice + masked CE) / 2 over the region where mask is 1 (Bai et al., CVPR 2023); 0 for an empty region."""
    return 0.5 * (masked_dice(logits, target, mask, smooth=smooth) + masked_cross_entropy(logits, target, mask))


def softmax_mse(logits: Tensor, target: Tensor, *, valid: Tensor | None = None) -> Tensor:
    """Mean of (softmax(z) - q)^2 over samples, classes and positions. target: probabilities (B, K, *spatial), with or
    without gradient as the method wants it; valid: bool (B, *spatial), False where padded."""
    square = (_wide(logits).softmax(1) - _wide(target)).square()
    return masked_mean(square, None if valid is None else valid.unsqueeze(1))


def entropy(logits: Tensor, *, valid: Tensor | None = None) -> Tensor:
    """Mean over positions of H(p) = -sum_c p_c ln p_c, p = softmax(z)."""
    return masked_mean(voxel_entropy(logits), valid)


def voxel_entropy(logits: Tensor) -> Tensor:
    """(B, K, *spatial) -> (B, *spatial): H(p) in nats."""
    log_p = _wide(logits).log_softmax(1)
    return -(log_p.exp() * log_p).sum(1)


def kl_divergence(logits: Tensor, target: Tensor, *, valid: Tensor | None = None) -> Tensor:
    """Mean over positions of KL(q || p) = sum_c q_c ln(q_c / p_c); both arguments are logits: p = softmax(logits) is
    pulled towards q = softmax(target). Detach the target where it must not move."""
    log_p, log_q = _wide(logits).log_softmax(1), _wide(target).log_softmax(1)
    return masked_mean((log_q.exp() * (log_q - log_p)).sum(1), valid)


def js_divergence(first: Tensor, second: Tensor, *, valid: Tensor | None = None) -> Tensor:
    """Mean over positions of the Jensen-Shannon divergence of two softmaxes (logits given), in nats, at most ln 2."""
    mean = log_mean_softmax((first, second))
    halves = [
        (log_p.exp() * (log_p - mean)).sum(1) for log_p in (_wide(first).log_softmax(1), _wide(second).log_softmax(1))
    ]
    return masked_mean(0.5 * (halves[0] + halves[1]), valid)


def log_mean_softmax(logits: Sequence[Tensor]) -> Tensor:
    """ln of the mean of the softmaxes: what a predictor that averages networks returns; softmax gives the mean back."""
    logs = torch.stack([_wide(z).log_softmax(1) for z in logits])
    return logs.logsumexp(0) - torch.tensor(float(len(logits))).log().item()


def two_class_logits(logit: Tensor) -> Tensor:
    """(B, 1, *spatial) of a sigmoid network -> (B, 2, *spatial): cat([0, z]); its softmax is (1 - sigmoid(z), sigmoid(z))."""
    if logit.shape[1] != 1:
        raise ValueError(f"a sigmoid network has one output channel, got {tuple(logit.shape)}")
    return torch.cat([torch.zeros_like(logit), logit], 1)
