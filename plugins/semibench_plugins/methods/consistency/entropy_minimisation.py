"""EM, entropy minimisation: the direct term of ADVENT (Vu et al., CVPR 2019), in 2D and 3D."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from semibench import Backbones, Batch, Clock, Losses, Method, MethodOptions, Task, Term
from semibench.blocks import Supervision, entropy, supervised_loss
from semibench_plugins.datasets.paper_budgets import SSL4MIS_RECIPE

SSL4MIS_TERM = {"weight": 0.1, "ramp": {"kind": "sigmoid", "levels": 200}}


class EntropyMinimisation(Method):
    """The network is to predict every position with certainty.

    L = L_sup + w H, H = mean over unlabeled samples and positions of -sum_c p_c ln p_c / ln K, with gradient through all
    of p. H is 1 for uniform predictions and 0 for certain ones. w = .001 and constant (ADVENT's MinEnt, whose unlabeled samples
    are those of the target domain). A large w pushes everything into the background. Padding is left out.

    Preset `ssl4mis`: labeled samples count in H, too, and w rises to .1 in 200 steps. That code divides by ln 4 whatever K
    is, and adds 1e-6 inside the logarithm; here K is the number of classes, and the logarithm is exact. Its script sets the
    learning rate of a step only after it, so its rate lags by one step; here it doesn't.

    Scored: the network.
    """

    terms: Mapping[str, Term] = {"sup": Term(), "entropy": Term(1e-3, search=(1e-3, 1.0), unlabeled=True)}
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "ssl4mis": {"options": {"on": "all"}, "terms": {"entropy": SSL4MIS_TERM}, "recipe": SSL4MIS_RECIPE},
    }

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `em`."""

        on: Literal["unlabeled", "all"] = Field(
            "unlabeled", description="samples whose entropy counts: unlabeled (the paper) or all (SSL4MIS)"
        )
        loss: Supervision = Field("dice_ce", description="supervised loss")

    def __init__(self, task: Task, backbones: Backbones, options: EntropyMinimisation.Options) -> None:
        super().__init__(task, backbones, options)
        self.options = options
        self.largest = math.log(len(task.classes))
        self.net = backbones()

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: labeled part; entropy: unlabeled part or all, without padding."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        count = len(labeled.image)
        logits = self.net(torch.cat([labeled.image, unlabeled.image]))
        first = 0 if self.options.on == "all" else count
        valid = torch.cat([labeled.valid, unlabeled.valid])[first:]
        return {
            "sup": supervised_loss(logits[:count], labeled.target, self.options.loss),
            "entropy": entropy(logits[first:], valid=valid) / self.largest,
        }

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial)."""
        return self.net(images)
