"""Pixel affinity loss of CSC-PA (section 3.4, equations 12 to 14)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from semibench import IGNORE

Mode = Literal["soft", "literal", "code"]
Distribution = Literal["hw", "row", "bernoulli"]
OFFSETS = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0))
TINY = 1e-6


def shifted(maps: Tensor, dy: int, dx: int, beyond: float = 0.0) -> Tensor:
    """(..., H, W) -> the value of each pixel's neighbour (dy, dx); `beyond` outside the image."""
    height, width = maps.shape[-2:]
    padded = F.pad(maps, (1, 1, 1, 1), value=beyond)
    return padded[..., 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]


def neighbour_cosines(features: Tensor) -> Tensor:
    """cos(F_i, F_k) for the 8 neighbours k of each pixel i: (B, C, H, W) -> (B, 8, H, W); 0 outside the image."""
    unit = F.normalize(features.float(), dim=1)
    return torch.stack([(unit * shifted(unit, *offset)).sum(1) for offset in OFFSETS], 1)


def neighbours(maps: Tensor, beyond: float = 0.0) -> Tensor:
    """(B, H, W) -> values of the 8 neighbours, (B, 8, H, W)."""
    return torch.stack([shifted(maps, *offset, beyond) for offset in OFFSETS], 1)


def hard_signs(label: Tensor, classes: int, centre: Tensor | None = None) -> Tensor:
    """M (B, 8, H, W) of a label map: +1 for a foreground neighbour, -1 for a background neighbour. With more than two
    classes, +1 for a neighbour of the pixel's own class (taken from `centre` if given), else -1."""
    around = neighbours(label.float())
    same = around == 1 if classes == 2 else around == (label if centre is None else centre).float().unsqueeze(1)
    return 2.0 * same.float() - 1.0


def soft_signs(probabilities: Tensor, centre: Tensor) -> Tensor:
    """M of a prediction (B, K, H, W), 2 p_k - 1 in -1..1: p is the foreground's probability at neighbour k or, with more
    than two classes, that of the pixel's class in `centre` (B, H, W)."""
    if probabilities.shape[1] == 2:
        return 2.0 * neighbours(probabilities[:, 1]) - 1.0
    index = centre.long().unsqueeze(1)
    around = [shifted(probabilities, *offset).gather(1, index).squeeze(1) for offset in OFFSETS]
    return 2.0 * torch.stack(around, 1) - 1.0


def affinity_map(signs: Tensor, counted: Tensor, cosines: Tensor | None = None, *, signed: bool = False) -> Tensor:
    """G (B, H, W) = sum_k w_k M_k (equation 12) with w_k = cos_k / sum_k |cos_k| over the counted neighbours, in -1..1.

    signs, counted: (B, 8, H, W). cosines: None for equal weights (the reference). signed: use the code's normaliser sum
    cos. Example: 5 foreground neighbours with cosine 1 and 3 background neighbours with .2 give (5 - .6) / 5.6 = .786;
    with equal weights .25.
    """
    weights = counted.float() if cosines is None else cosines * counted
    total = (weights if signed else weights.abs()).sum(1)
    return (weights * signs).sum(1) / torch.where(total.abs() < TINY, torch.ones_like(total), total)


def divergence(predicted: Tensor, target: Tensor, counted: Tensor, distribution: Distribution = "hw") -> Tensor:
    """KL(target || prediction) of two maps (G + 1) / 2, G (B, H, W), over the counted pixels (equations 13 and 14).

    "hw": softmax over the positions of each image, summed, mean over images. "row": softmax over the rows of each column
    (the code), summed, divided by B. "bernoulli": each pixel is a separate probability, mean over pixels.
    """
    p, t = ((0.5 * (maps + 1.0)).clamp(0.0, 1.0) for maps in (predicted, target))
    if distribution == "bernoulli":
        p = p.clamp(TINY, 1.0 - TINY)
        each = torch.special.xlogy(t, t) - t * p.log() + torch.special.xlogy(1 - t, 1 - t) - (1 - t) * (1 - p).log()
        return (each * counted).sum() / counted.sum().clamp(min=1)
    if distribution == "hw":
        p, t, counted = (maps.flatten(1) for maps in (p, t, counted))
    low = torch.finfo(p.dtype).min
    log_p, log_t = (maps.masked_fill(~counted, low).log_softmax(1) for maps in (p, t))
    each = torch.where(counted, log_t.exp() * (log_t - log_p), torch.zeros_like(p))
    return each.sum() / len(p)


def pixel_affinity(
    features: Tensor,
    logits: Tensor,
    label: Tensor,
    *,
    mode: Mode = "code",
    distribution: Distribution = "hw",
    reference: Tensor | None = None,
    confident: Tensor | None = None,
) -> Tensor:
    """PAL, a scalar: compares a prediction with a label map, or with a pseudo-label map that has its own features.

    features: F' (B, C, H, W) of the prediction; logits: (B, K, H, W) at the same resolution; label: (B, H, W) with IGNORE.
    reference: features that weight the target's neighbours (pseudo-labels; None: equal weights, as for true labels).
    confident: bool (B, H, W); neighbours that aren't confident are left out on both sides. So are neighbours that are
    ignored or outside the image, and pixels that have no neighbour left.

    mode "soft": M of the prediction is 2 p - 1 and the cosines have no gradient, so the prediction learns. "literal": M of
    the prediction is hard and only the cosines have a gradient; the minimum is at equal cosines, so edges blur. "code" (the
    released code): neither has a gradient, sum cos normalises, softmax over rows. Features weight the prediction and the
    target of a pseudo-label; the target of a true label is the plain mean of the signs. One thing differs from the code at
    the border: its true labels count neighbours beyond the image as background, here they are left out.
    """
    classes, labeled = logits.shape[1], label != IGNORE
    near = neighbours(labeled.float()) > 0
    if confident is not None:
        near = near & (neighbours(confident.float()) > 0)
    counted = labeled & near.any(1)
    centre = torch.where(labeled, label, torch.zeros_like(label))
    code = mode == "code"
    weights = neighbour_cosines(features if mode == "literal" else features.detach())
    if mode == "soft":
        signs = soft_signs(logits.float().softmax(1), centre)
    else:
        signs = hard_signs(logits.argmax(1), classes, centre)
    with torch.no_grad():
        target_weights = None if reference is None else neighbour_cosines(reference)
        target = affinity_map(hard_signs(centre, classes), near, target_weights, signed=code)
    predicted = affinity_map(signs, near, weights, signed=code)
    return divergence(predicted, target, counted, "row" if code else distribution)
