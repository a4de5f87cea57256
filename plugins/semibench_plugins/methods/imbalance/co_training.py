"""Two networks that label each other, as the class-imbalance methods of the 3D literature train them (code of DHC)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from semibench import IGNORE, Backbones, Batch, Optimiser, Task
from semibench.blocks import cross_entropy, masked_mean
from semibench_plugins.methods.nesterov import NesterovOptions, one_optimiser
from semibench_plugins.methods.pseudo_labels.cps import TwoNetworks, pseudo_labels

RECIPE: Mapping[str, Any] = {
    "labeled_batch": 2, "unlabeled_batch": 2, "optimiser": "sgd", "lr": 0.03, "momentum": 0.9, "weight_decay": 3e-5,
}  # fmt: skip
"""Batch and optimiser of DHC's code, which also ran the other methods."""
EPOCHS: Mapping[str, Any] = {"kind": "sigmoid", "levels": 300}
"""The code's ramp: over the whole training, one step in each of 300 epochs."""


@dataclass(frozen=True)
class Pair:
    """What both networks make of a batch: logits (B, K, *spatial) on all samples, `count` labeled ones first; valid is False on
    padding."""

    first: Tensor
    second: Tensor
    count: int
    valid: Tensor

    @functools.cached_property
    def labels(self) -> tuple[Tensor, Tensor]:
        """The most likely classes by each network, int64 (B, *spatial), IGNORE on padding, without gradient."""
        return pseudo_labels(self.first, self.valid), pseudo_labels(self.second, self.valid)

    @property
    def labeled(self) -> tuple[Tensor, Tensor]:
        """Logits of the labeled samples."""
        return self.first[: self.count], self.second[: self.count]


def cross_terms(pair: Pair, weights: tuple[Tensor, Tensor]) -> Tensor:
    """CE_w1(z1, argmax z2) + CE_w2(z2, argmax z1) on all samples: each network learns the other's labels with its own class
    weights (K,). Both are weighted means."""
    one, two = pair.labels
    return cross_entropy(pair.first, two, weight=weights[0]) + cross_entropy(pair.second, one, weight=weights[1])


def kept_cross_entropy(
    logits: Tensor, label: Tensor, kept: Tensor, valid: Tensor, *, weight: Tensor | None = None
) -> Tensor:
    """Mean over all voxels but padding of [kept] w_y CE(z, y): dropped voxels count as 0, and the mean is over voxels, not over
    weights. label, kept, valid: (B, *spatial); weight: (K,)."""
    each = F.cross_entropy(logits.float(), label, weight=weight, ignore_index=IGNORE, reduction="none")
    return masked_mean(each * kept, valid)


class CoTraining(TwoNetworks):
    """Two networks of the same architecture, initialised differently: both as the backbone draws its weights
    (DHC's code: as Kaiming He's rule does). Scored: the mean of their logits (as DHC's code does), the first, and the
    second."""

    def __init__(self, task: Task, backbones: Backbones, options: NesterovOptions) -> None:
        super().__init__(task, backbones, options)
        self.first, self.second = backbones(), backbones()
        self.nesterov = options.nesterov

    def optimisers(self) -> Mapping[str, Optimiser]:
        """One optimiser for both networks; SGD if `nesterov` is set."""
        return one_optimiser(self, nesterov=self.nesterov)

    def both(self, batch: Batch) -> Pair:
        """Passes all samples through both networks."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        images, valid = torch.cat([labeled.image, unlabeled.image]), torch.cat([labeled.valid, unlabeled.valid])
        return Pair(self.first(images), self.second(images), len(labeled.image), valid)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> mean of both networks' logits (B, K, *spatial)."""
        return self.mean(images)

    def predictors(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """The mean of the logits, the first network and the second."""
        return {"mean": self.mean, "first": self.first, "second": self.second}
