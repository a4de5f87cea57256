"""Losses by name. Logits (B, K, *spatial), K >= 2; targets (B, *spatial) in 0..K-1 with IGNORE (255) on padding.

All of them work in 2D and 3D, leave ignored positions out of every sum, compute in at least float32, return a scalar, and
stay finite (value 0, gradient 0) if nothing is left to count. Members of the Dice family sum over different things; do not
compare the values of one with another's.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from semibench.contracts.method import IGNORE

Supervision = Literal["dice_ce", "dice_ce_foreground", "dice_ce_linear", "bce_dice", "cross_entropy"]
"""Names of `supervised_loss`."""


def widened(values: Tensor) -> Tensor:
    """Convert to at least float32: the smoothing constants vanish in half precision."""
    return values if values.dtype == torch.float64 else values.float()


def one_hot(target: Tensor, classes: int) -> Tensor:
    """One-hot encodes labels.

    Args:
        target: labels (B, *spatial), with IGNORE where nothing counts.
        classes: K.

    Returns:
        float32 (B, K, *spatial); ignored positions are 0 in all classes.

    Examples:
        >>> one_hot(torch.tensor([[0, 1, 255]]), classes=2).sum(1)
        tensor([[1., 1., 0.]])
    """
    counted = target != IGNORE
    index = torch.where(counted, target, torch.zeros_like(target)).long().unsqueeze(1)
    hot = torch.zeros((len(target), classes, *target.shape[1:]), device=target.device)
    return hot.scatter_(1, index, counted.unsqueeze(1).float())


def masked_mean(values: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean over the elements where a mask holds.

    Args:
        values: a tensor of any shape.
        valid: bool, broadcastable to `values`; None: the mean over all elements.

    Returns:
        A scalar, at least float32; 0 if the mask holds nowhere.

    Examples:
        >>> masked_mean(torch.tensor([1.0, 2.0, 6.0]), torch.tensor([True, True, False]))
        tensor(1.5000)
    """
    if valid is None:
        return widened(values).mean()
    weights = valid.to(widened(values).dtype).expand_as(values)
    return (widened(values) * weights).sum() / weights.sum().clamp(min=1.0)


def cross_entropy(logits: Tensor, target: Tensor, *, weight: Tensor | None = None) -> Tensor:
    """Cross-entropy: the mean of -log softmax(z)_y over the positions that count.

    Args:
        logits: (B, K, *spatial).
        target: labels (B, *spatial), with IGNORE where nothing counts.
        weight: (K,), weights of the classes (the mean is then weighted too); None: all 1.

    Returns:
        A scalar.

    Examples:
        >>> cross_entropy(torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.long))
        tensor(1.0986)
    """
    wide, target = widened(logits), target.long()
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
    """Soft Dice loss of the softmax, mean over classes: D_c = 1 - (2 sum p y + s) / (sum q + sum y + s).

    The default is SSL4MIS's "DiceLoss" (Dice_A): q = p^2, sums over batch and positions together, background counted.

    Args:
        logits: (B, K, *spatial).
        target: labels (B, *spatial), with IGNORE where nothing counts.
        squared: q = p^2; False: q = p.
        per_image: sum over each image and average over images, instead of summing over the batch.
        background: count class 0.
        smooth: s.

    Returns:
        A scalar.

    Examples:
        >>> soft_dice(torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.long))
        tensor(0.8000)
    """
    return _dice(widened(logits).softmax(1), target, None, squared, per_image, background, smooth)


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
    """mix * CE + (1 - mix) * Dice_A; with mix = 1/2 the supervised loss of SSL4MIS, (CE + Dice_A) / 2.

    Args:
        logits: (B, K, *spatial).
        target: labels (B, *spatial), with IGNORE where nothing counts.
        smooth: smoothing constant of the Dice.
        mix: share of the cross-entropy.

    Returns:
        A scalar.

    Examples:
        >>> dice_ce(torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.long)).shape
        torch.Size([])
    """
    return mix * cross_entropy(logits, target) + (1.0 - mix) * soft_dice(logits, target, smooth=smooth)


def bce_dice(logits: Tensor, target: Tensor, *, smooth: float = 1e-5) -> Tensor:
    """BCE / 2 + Dice of MGCC and CMU-Net: p = sigmoid(z_1 - z_0), Dice per image with plain (not squared) sums.

    D_i = 1 - (2 sum p y + s) / (sum p + sum y + s), mean over images. For K > 2 classes the same is written for the softmax, with
    the Dice averaged over the foreground classes; for K = 2 the two agree.

    Args:
        logits: (B, K, *spatial).
        target: labels (B, *spatial), with IGNORE where nothing counts.
        smooth: s.

    Returns:
        A scalar.

    Examples:
        >>> bce_dice(torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.long)).shape
        torch.Size([])
    """
    dice = soft_dice(logits, target, squared=False, per_image=True, background=False, smooth=smooth)
    return 0.5 * cross_entropy(logits, target) + dice


def supervised_loss(logits: Tensor, target: Tensor, kind: Supervision = "dice_ce") -> Tensor:
    """The supervised loss of a family of methods, by name, so that a method can offer the choice as an option.

    Args:
        logits: (B, K, *spatial).
        target: labels (B, *spatial), with IGNORE where nothing counts.
        kind: "dice_ce" ((CE + Dice_A) / 2, SSL4MIS), "dice_ce_foreground" (the same with the Dice of the foreground classes
            only, UA-MT and its 3D relatives), "dice_ce_linear" (that with p instead of p^2 and s = 1, DHC and its relatives),
            "bce_dice" (MGCC) or "cross_entropy" (CE alone).

    Returns:
        A scalar.

    Raises:
        ValueError: if the name is unknown.

    Examples:
        >>> supervised_loss(torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.long), "cross_entropy")
        tensor(1.0986)
    """
    match kind:
        case "dice_ce":
            return dice_ce(logits, target)
        case "dice_ce_foreground":
            return 0.5 * (cross_entropy(logits, target) + soft_dice(logits, target, background=False))
        case "dice_ce_linear":
            dice = soft_dice(logits, target, squared=False, background=False, smooth=1.0)
            return 0.5 * (cross_entropy(logits, target) + dice)
        case "bce_dice":
            return bce_dice(logits, target)
        case "cross_entropy":
            return cross_entropy(logits, target)
    raise ValueError(f"unknown supervised loss {kind!r}: {', '.join(get_args(Supervision))}")


def masked_cross_entropy(logits: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy over a region: sum(CE * M) / (sum(M) + 1e-16) (BCP).

    Args:
        logits: (B, K, *spatial).
        target: labels (B, *spatial), with IGNORE where nothing counts.
        mask: (*spatial) or (B, *spatial), 1 where the loss counts.

    Returns:
        A scalar.

    Examples:
        >>> masked_cross_entropy(torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.long), torch.ones(4, 4))
        tensor(1.0986)
    """
    each = F.cross_entropy(widened(logits), target.long(), ignore_index=IGNORE, reduction="none")
    counted = mask.to(each.dtype).expand_as(each) * (target != IGNORE)
    return (each * counted).sum() / (counted.sum() + 1e-16)


def masked_dice(
    logits: Tensor,
    target: Tensor,
    mask: Tensor,
    *,
    squared: bool = True,
    per_image: bool = False,
    smooth: float = 1e-10,
) -> Tensor:
    """`soft_dice` over a region, background counted. BCP's code has two forms of it.

    The defaults are those of its 2D code (ACDC). Its 3D code (LA) has squared=False, per_image=True and smooth=1e-5.

    Args:
        logits: (B, K, *spatial).
        target: labels (B, *spatial), with IGNORE where nothing counts.
        mask: (*spatial) or (B, *spatial), 1 where the loss counts.
        squared: squared probabilities in the denominator; False: plain ones.
        per_image: sum over each image and average over images, instead of summing over the batch.
        smooth: smoothing constant.

    Returns:
        A scalar.

    Examples:
        >>> masked_dice(torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.long), torch.ones(4, 4)).shape
        torch.Size([])
    """
    probabilities = widened(logits).softmax(1)
    region = mask.to(probabilities.dtype).expand(target.shape).unsqueeze(1)
    return _dice(probabilities, target, region, squared, per_image, True, smooth)


def dice_between(
    logits: Tensor, target: Tensor, mask: Tensor, *, per_image: bool = False, smooth: float = 1e-5
) -> Tensor:
    """Dice_A against probabilities: D_c = 1 - (2 sum p q m + s) / (sum p^2 m + sum q^2 m + s), mean over classes.

    Sums run over batch and positions. This is UniMatch's Dice with ignored pixels; it is exactly 0 if all are ignored.

    Args:
        logits: (B, K, *spatial).
        target: q, probabilities (B, K, *spatial), soft or one-hot.
        mask: m, (B, *spatial), 0 where nothing counts.
        per_image: sum over each image and average over images, instead of summing over the batch.
        smooth: s.

    Returns:
        A scalar.

    Examples:
        >>> dice_between(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4).softmax(1), torch.ones(2, 4, 4)).shape
        torch.Size([])
    """
    p, q = widened(logits).softmax(1), widened(target)
    counted = mask.to(p.dtype).unsqueeze(1)
    over = tuple(range(2, p.ndim)) if per_image else (0, *range(2, p.ndim))
    common, size = (p * q * counted).sum(over), ((p.square() + q.square()) * counted).sum(over)
    return (1.0 - (2.0 * common + smooth) / (size + smooth)).mean()


def region_loss(
    logits: Tensor,
    target: Tensor,
    mask: Tensor,
    *,
    squared: bool = True,
    per_image: bool = False,
    smooth: float = 1e-10,
) -> Tensor:
    """(masked Dice + masked CE) / 2 over a region (Bai et al., CVPR 2023).

    Args:
        logits: (B, K, *spatial).
        target: labels (B, *spatial), with IGNORE where nothing counts.
        mask: (*spatial) or (B, *spatial), 1 where the loss counts.
        squared: as in `masked_dice`.
        per_image: as in `masked_dice`; the cross-entropy is a mean over the whole batch in both cases.
        smooth: smoothing constant of the Dice.

    Returns:
        A scalar; 0 for an empty region.

    Examples:
        >>> region_loss(torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.long), torch.zeros(4, 4))
        tensor(0.)
    """
    dice = masked_dice(logits, target, mask, squared=squared, per_image=per_image, smooth=smooth)
    return 0.5 * (dice + masked_cross_entropy(logits, target, mask))


def two_class_logits(logit: Tensor) -> Tensor:
    """Two-class logits of a sigmoid network: cat([0, z]), whose softmax is (1 - sigmoid(z), sigmoid(z)).

    Args:
        logit: z, (B, 1, *spatial).

    Returns:
        (B, 2, *spatial).

    Raises:
        ValueError: if there is more than one channel.

    Examples:
        >>> two_class_logits(torch.zeros(2, 1, 4, 4)).shape
        torch.Size([2, 2, 4, 4])
    """
    if logit.shape[1] != 1:
        raise ValueError(f"a sigmoid network has one output channel, got {tuple(logit.shape)}")
    return torch.cat([torch.zeros_like(logit), logit], 1)
