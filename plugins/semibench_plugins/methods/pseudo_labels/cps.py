"""CPS, cross pseudo supervision (Chen et al., CVPR 2021), in 2D and 3D."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from semibench import IGNORE, Backbone, Backbones, Batch, Clock, Losses, Method, MethodOptions, Task, Term
from semibench.blocks import Supervision, cross_entropy, supervised_loss
from semibench_plugins.datasets.paper_budgets import MGCC_RECIPE, SSL4MIS_RECIPE

SSL4MIS_TERM = {"weight": 0.1, "ramp": {"kind": "sigmoid", "levels": 200}}


def pseudo_labels(logits: Tensor, valid: Tensor) -> Tensor:
    """(B, K, *spatial) -> int64 (B, *spatial): the most likely class, without gradient; IGNORE on padding."""
    return logits.detach().argmax(1).masked_fill(~valid, IGNORE)


class TwoNetworks(Method):
    """Trains two networks side by side on the same batches. Scored: the first (as published), the second, and the mean
    of their logits."""

    first: Backbone
    second: Backbone

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial) of the first network."""
        return self.first(images)

    def mean(self, images: Tensor) -> Tensor:
        """Returns the mean of both networks' logits."""
        return 0.5 * (self.first(images) + self.second(images))

    def predictors(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """The first network, the second, and the mean of their logits."""
        return {"first": self.first, "second": self.second, "mean": self.mean}


class CPS(TwoNetworks):
    """Two networks of the same architecture, initialised differently, learn from each other's hard labels.

    L = L_sup(f1) + L_sup(f2) + w [CE(z1, argmax z2) + CE(z2, argmax z1)] on labeled and unlabeled samples, without
    gradient through the labels, w = 1.5 and constant (the paper's L_cps, without CutMix; 1.5 is its VOC
    value, 6 on Cityscapes). The paper's supervised loss is the cross-entropy (option `loss`); the default here is that
    of all methods. Padding of unlabeled samples is left out.

    Presets: `ssl4mis`, unlabeled samples only and a weight rising to .1; `mgcc-2023`, the same with the loss and budget of
    that paper; `dhc`, the 3D port of DHC's authors: L_sup is CE + Dice of the foreground with sums, without the half, the weight
    rises to 1 (their code scores the mean of the logits and has Nesterov momentum); `voc`, the paper's supervised loss.
    """

    terms: Mapping[str, Term] = {"sup": Term(), "cross": Term(1.5, search=(0.01, 6.0), unlabeled=True)}
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "voc": {"options": {"loss": "cross_entropy"}},
        "ssl4mis": {"options": {"on": "unlabeled"}, "terms": {"cross": SSL4MIS_TERM}, "recipe": SSL4MIS_RECIPE},
        "mgcc-2023": {
            "options": {"on": "unlabeled", "loss": "bce_dice"},
            "terms": {"cross": {"weight": 0.1, "ramp": {"kind": "sigmoid", "levels": 200, "end": 1.5}}},
            "recipe": MGCC_RECIPE,
        },
        "dhc": {
            "options": {"loss": "dice_ce_linear"},
            "terms": {"sup": 2.0, "cross": {"weight": 1.0, "ramp": {"kind": "sigmoid", "levels": 300}}},
            "recipe": {"labeled_batch": 2, "unlabeled_batch": 2, "lr": 0.03, "weight_decay": 3e-5},
        },
    }

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `cps`."""

        on: Literal["all", "unlabeled"] = Field(
            "all", description="which samples get the other network's labels: all (the paper) or unlabeled (SSL4MIS)"
        )
        loss: Supervision = Field("dice_ce", description="supervised loss")

    def __init__(self, task: Task, backbones: Backbones, options: CPS.Options) -> None:
        super().__init__(task, backbones, options)
        self.options = options
        self.first, self.second = backbones(), backbones()

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: labeled part, sum over the networks; cross: sum of both directions."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        images, count = torch.cat([labeled.image, unlabeled.image]), len(labeled.image)
        one, two = self.first(images), self.second(images)
        start = 0 if self.options.on == "all" else count
        valid = torch.cat([labeled.valid, unlabeled.valid])[start:]
        a, b = one[start:], two[start:]
        sup = [supervised_loss(z[:count], labeled.target, self.options.loss) for z in (one, two)]
        cross = cross_entropy(a, pseudo_labels(b, valid)) + cross_entropy(b, pseudo_labels(a, valid))
        return {"sup": sup[0] + sup[1], "cross": cross}
