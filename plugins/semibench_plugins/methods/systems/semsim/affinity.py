"""Affinity-refined predictions of SemSim (arXiv 2410.13486, Eq. 4 to 6): each position also receives the predictions at
positions with similar features."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Normalise = Literal["summed", "other"]
TINY = 1e-8


def affinity(first: Tensor, second: Tensor, *, scale: float, normalise: Normalise, valid: Tensor) -> Tensor:
    """M (B, P, P), M[k1, k2] = softmax of scale <first(k1), second(k2)>: over k1, the index that is summed when M is
    applied ("summed"), or over k2 ("other", the predecessor's code). first, second: (B, D, P); valid: bool (B, P), the
    positions that take part in the softmax."""
    scores = scale * torch.einsum("bdk,bdl->bkl", first, second)
    over = 1 if normalise == "summed" else 2
    return scores.masked_fill(~_valid_or_all(valid).unsqueeze(3 - over), float("-inf")).softmax(over)


def spread(
    values: Tensor, first: Tensor, second: Tensor, *, scale: float, normalise: Normalise, valid: Tensor
) -> Tensor:
    """values (B, K, P) times M: sum over k1 of values(k1) M[k1, k2]. "summed" uses torch's fused attention, which avoids
    the P x P matrix if there is a kernel for it."""
    if normalise == "other":
        return values @ affinity(first, second, scale=scale, normalise=normalise, valid=valid)
    queries, keys, carried = (part.transpose(1, 2).unsqueeze(1) for part in (second, first, values))
    mask = _valid_or_all(valid)[:, None, None]
    return F.scaled_dot_product_attention(queries, keys, carried, attn_mask=mask, scale=scale)[:, 0].transpose(1, 2)


def refined(logits: Tensor, around: Tensor, *, residual: bool, probabilities: bool) -> Tensor:
    """Returns refined logits, given the logits and `around`, the output of `spread` for them.

    On logits: z + z M. On probabilities (Eq. 5 to the letter): the logarithm of p + p M divided by its sum over classes, so
    that a softmax recovers it; `around` is then spread probabilities. residual=False leaves out the position's own
    prediction.
    """
    if not probabilities:
        return logits + around if residual else around
    total = logits.softmax(1) + around if residual else around
    return (total / total.sum(1, keepdim=True).clamp_min(TINY)).clamp_min(TINY).log()


def _valid_or_all(valid: Tensor) -> Tensor:
    """Returns valid (B, P), but all True for samples without a valid position (their softmax would be NaN)."""
    return valid | ~valid.any(1, keepdim=True)
