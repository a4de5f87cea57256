"""Contrastive label propagation of Diff-CL (section 4.3, eqs. 11 to 15): memory of labeled features, and the loss.

The paper doesn't give p, q, k, tau, the width of the features, the size of the memory or the reduction; the values here are
this harness's. Eq. 11 divides by a product of plain sums; read as the cosine. Eqs. 12 and 13 ("max over j of a sum") are
read as the k highest and the k lowest sums. The text below eq. 14 takes b_j from the negatives; read as the positives, as
eq. 15 requires.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MemoryBank(nn.Module):
    """Ring buffers with the last `size` features of each class as unit vectors; new features overwrite the oldest."""

    features: Tensor
    filled: Tensor
    place: Tensor

    def __init__(self, classes: int, size: int, width: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("features", torch.zeros(classes, size, width))
        self.register_buffer("filled", torch.zeros(classes, dtype=torch.int64))
        self.register_buffer("place", torch.zeros(classes, dtype=torch.int64))

    @torch.no_grad()
    def add(self, kind: int, features: Tensor) -> None:
        """Adds features (n, width) of one class; only the last `size` are stored."""
        features = F.normalize(features.detach().float()[-self.size :], dim=1)
        slots = (self.place[kind] + torch.arange(len(features), device=self.place.device)) % self.size
        self.features[kind, slots] = features
        self.place[kind] = (self.place[kind] + len(features)) % self.size
        self.filled[kind] = (self.filled[kind] + len(features)).clamp(max=self.size)

    def sample(self, kind: int, count: int) -> Tensor | None:
        """Draws (count, width) features without repetition; returns None if the class has fewer."""
        filled = int(self.filled[kind])
        if filled < count:
            return None
        return self.features[kind, torch.randperm(filled, device=self.features.device)[:count]]


def extremes(scores: Tensor, k: int, allowed: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Positions of the k highest and the k lowest scores (q,); eqs. 12 and 13. The highest come from the mask `allowed`
    first. No gradient: this only selects."""
    best = scores if allowed is None else scores.masked_fill(~allowed, -torch.inf)
    return best.topk(k).indices, scores.topk(k, largest=False).indices


def contrast(anchors: Tensor, positives: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """(p, d), (k, d), (n, d), unit vectors -> (p, k): eq. 14,
    l_ij = -ln[e^{cos(a_i, b_j) / tau} / (e^{cos(a_i, b_j) / tau} + sum_n e^{cos(a_i, b_n) / tau})]."""
    against = (anchors @ negatives.T / temperature).logsumexp(1, keepdim=True)
    return F.softplus(against - anchors @ positives.T / temperature)


def propagation_loss(
    anchors: Sequence[tuple[int, Tensor]],
    features: Tensor,
    k: int,
    temperature: float,
    *,
    labels: Tensor | None = None,
    reduction: Literal["mean", "sum"] = "mean",
) -> Tensor:
    """Eq. 15. anchors: (class, (p, d) unit vectors without gradient); features: (q, d) of unlabeled positions, any length,
    with gradient; labels: (q,), if given, only positions with the class's label can be its positives.

    Per class: score_j = sum_i cos(a_i, b_j); the k highest are pulled and the k lowest pushed (half of the features each if
    there are fewer than 2 k). mean: over classes, anchors and positives; sum: as printed, about classes x p x k times
    larger. 0 if nothing is left.
    """
    k = min(k, len(features) // 2)
    total, counted = features.new_zeros((), dtype=torch.float32), 0
    with torch.autocast(features.device.type, enabled=False):
        unit = F.normalize(features.float(), dim=1)
        for kind, rows in anchors if k else ():
            allowed = None if labels is None else labels == kind
            high, low = extremes((rows @ unit.detach().T).sum(0), k, allowed)
            if allowed is not None:
                high = high[allowed[high]]
            if len(high):
                each = contrast(rows, unit[high], unit[low], temperature)
                total, counted = total + each.sum(), counted + each.numel()
    return total / max(counted, 1) if reduction == "mean" else total
