"""The contrastive loss of U2PL, its memory of negatives, and which pixels are negatives of a class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semibench import IGNORE

Rule = Literal["paper", "code"]


class Memory(nn.Module):
    """Features of negatives: a queue for each class, in buffers of fixed size; the oldest are dropped first."""

    filled: Tensor
    next: Tensor

    def __init__(self, sizes: tuple[int, ...], channels: int) -> None:
        super().__init__()
        self.sizes = sizes
        for kind, size in enumerate(sizes):
            self.register_buffer(f"rows_{kind}", torch.zeros(size, channels))
        self.register_buffer("filled", torch.zeros(len(sizes), dtype=torch.int64))
        self.register_buffer("next", torch.zeros(len(sizes), dtype=torch.int64))

    def rows(self, kind: int) -> Tensor:
        """The features held for a class, (n, C), in no order."""
        held: Tensor = getattr(self, f"rows_{kind}")
        return held[: int(self.filled[kind])]

    @torch.no_grad()
    def add(self, kind: int, features: Tensor) -> None:
        """Adds features (n, C) to the queue of a class."""
        size = self.sizes[kind]
        features = features.detach()[-size:]
        start = int(self.next[kind])
        place = (start + torch.arange(len(features), device=features.device)) % size
        getattr(self, f"rows_{kind}")[place] = features.to(self.rows(kind).dtype)
        self.next[kind] = (start + len(features)) % size
        self.filled[kind] = min(int(self.filled[kind]) + len(features), size)


@dataclass(frozen=True)
class Pixels:
    """The pixels of labeled and unlabeled samples at the resolution of the features, flattened: N of them.

    label: (N,), true or pseudo-label with IGNORE. probabilities: the teacher's, (N, K). labeled: bool (N,). low, high: bool
    (N,), whether the entropy is low or high; labeled pixels are both.
    """

    label: Tensor
    probabilities: Tensor
    labeled: Tensor
    low: Tensor
    high: Tensor


def negatives(pixels: Pixels, ranks: tuple[int, int], rule: Rule = "paper") -> Tensor:
    """bool (N, K), whether a pixel is a negative of a class.

    With (r_l, r_h) = ranks and the classes of a pixel ranked by probability from 0: an unlabeled pixel is a negative of the
    classes with r_l <= rank < r_h if its entropy is high; a labeled one of the other classes than its own with rank < r_l,
    which the teacher takes it for. "code": the released code demands that the pixel has this class as well, so that no
    labeled pixel qualifies.
    """
    rank = pixels.probabilities.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    kinds = torch.arange(pixels.probabilities.shape[1], device=rank.device)
    own = pixels.label.unsqueeze(1) == kinds
    unlikely = (rank >= ranks[0]) & (rank < ranks[1])
    mistaken = (rank < ranks[0]) & ~own
    found = torch.where(pixels.labeled.unsqueeze(1), mistaken, unlikely & pixels.high.unsqueeze(1))
    found = found & (pixels.label != IGNORE).unsqueeze(1)
    return found & own if rule == "code" else found


@dataclass(frozen=True)
class Contrast:
    """L_c = mean over classes of CE([cos(a, m), cos(a, n_1), ..., cos(a, n_k)] / T, 0).

    anchors, negatives: how many are drawn, with replacement, and k. temperature: T. least: lowest teacher probability of an
    anchor's class.
    """

    anchors: int
    negatives: int
    temperature: float
    least: float
    ranks: tuple[int, int]
    rule: Rule

    def __call__(self, student: Tensor, teacher: Tensor, pixels: Pixels, memory: Memory) -> Tensor:
        """Updates the memory and returns the loss, a scalar.

        student, teacher: features (N, C). Anchors a are student features of class c with low entropy, m is the mean teacher
        feature of such pixels, n are from the memory. 0 if fewer than two classes are present.
        """
        against = negatives(pixels, self.ranks, self.rule)
        certain = [pixels.low & (pixels.label == kind) for kind in range(against.shape[1])]
        for kind in range(against.shape[1]):
            memory.add(kind, teacher[against[:, kind]])
        nothing = student.sum() * 0.0
        present = [kind for kind, mask in enumerate(certain) if mask.any()]
        if len(present) < 2:
            return nothing
        losses = [
            self._of_class(
                student[mask & (pixels.probabilities[:, kind] > self.least)], teacher[mask], memory.rows(kind)
            )
            for kind, mask in enumerate(certain)
            if kind in present
        ]
        return nothing + torch.stack([nothing if loss is None else loss for loss in losses]).mean()

    def _of_class(self, candidates: Tensor, positives: Tensor, held: Tensor) -> Tensor | None:
        if not len(candidates) or not len(held):
            return None
        anchors = F.normalize(_drawn(candidates, (self.anchors,)).float(), dim=1)
        positive = F.normalize(positives.detach().float().mean(0), dim=0)
        others = F.normalize(_drawn(held, (self.anchors, self.negatives)).float(), dim=2)
        cosines = torch.cat([(anchors @ positive).unsqueeze(1), torch.einsum("ac,anc->an", anchors, others)], 1)
        return F.cross_entropy(cosines / self.temperature, torch.zeros_like(cosines[:, 0], dtype=torch.int64))


def _drawn(rows: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Rows (n, C) drawn with replacement -> (*shape, C)."""
    return rows[torch.randint(len(rows), shape).to(rows.device)]
