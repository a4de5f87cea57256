"""Pseudo-labels for a cut-mixed strong view: predictions on the weak views, mixed with the same box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from semibench.blocks import paste
from semibench_plugins.methods.systems.semsim.fusion import LINEAR
from semibench_plugins.methods.systems.semsim.options import Pseudo, Targets


def resized(values: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, *spatial) -> (B, C, *size), linear."""
    if tuple(values.shape[2:]) == tuple(size):
        return values
    return F.interpolate(values, tuple(size), mode=LINEAR[values.ndim - 2])


def nearest(mask: Tensor, size: Sequence[int]) -> Tensor:
    """bool (B, *spatial) -> bool (B, *size)."""
    if tuple(mask.shape[1:]) == tuple(size):
        return mask
    return F.interpolate(mask.unsqueeze(1).float(), tuple(size), mode="nearest-exact")[:, 0] > 0.5


@dataclass(frozen=True)
class WeakPredictions:
    """Predictions on the weak views, without gradient. logits: (B, K, *its grid) by kind: "decoder", "intra" (refined by
    affinity), "cross" (by prototypes); certainty: (B, 1, *grid) of the votes, if needed."""

    logits: Mapping[str, Tensor]
    certainty: Tensor | None = None


@dataclass(frozen=True)
class PseudoLabels:
    """Pseudo-labels of one strong view.

    own: predictions on the images; partner: predictions on the same images for pasting them into the next image; box: bool
    (B, *spatial), the pasted region; valid: bool (B, *spatial), of the images before pasting.
    """

    own: WeakPredictions
    partner: WeakPredictions
    valid: Tensor
    box: Tensor
    pseudo: Pseudo
    targets: Targets
    threshold: float

    def mixed(self, own: Tensor, partner: Tensor) -> Tensor:
        """Mixes maps (B, C, *size) or (B, *size) of any size: the partner's values inside the box, else their own."""
        spatial = own.shape[own.ndim - self.box.ndim + 1 :]
        return paste(own, partner.roll(1, 0), nearest(self.box, spatial))

    def counted(self, size: Sequence[int]) -> Tensor:
        """bool (B, *size): False on padding."""
        return nearest(self.mixed(self.valid, self.valid), size)

    def probabilities(self, kind: str, size: Sequence[int]) -> Tensor:
        """Mixed probabilities (B, K, *size) of one kind."""
        own, partner = (resized(side.logits[kind].float(), size).softmax(1) for side in (self.own, self.partner))
        return self.mixed(own, partner)

    def labels(self, kind: str, size: Sequence[int]) -> Tensor:
        """(B, K, *size): probabilities that serve as labels for predictions of this kind."""
        if self.pseudo == "averaged":
            return torch.stack([self.probabilities(one, size) for one in self.own.logits]).mean(0)
        return self.probabilities("decoder" if self.pseudo == "decoder" else kind, size)

    def target(self, kind: str, size: Sequence[int], *, gate: str | None = None) -> tuple[Tensor, Tensor]:
        """The target (B, K, *size), one-hot or soft, and bool (B, *size), True where it is confident. gate: the kind whose
        confidence decides, instead of the labels'."""
        labels = self.labels(kind, size)
        gating = labels if gate is None else self.probabilities(gate, size)
        confident = (gating.amax(1) >= self.threshold) & self.counted(size)
        if self.targets == "soft":
            return labels, confident
        return F.one_hot(labels.argmax(1), labels.shape[1]).movedim(-1, 1).to(labels.dtype), confident
