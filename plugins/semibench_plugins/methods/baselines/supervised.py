"""Supervised training on the labeled samples: the reference of every table ("only sup", "fully supervised")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor

from semibench import Backbones, Batch, Clock, Losses, Method, MethodOptions, Stream, Task, Term
from semibench.blocks import Supervision, supervised_loss
from semibench_plugins.datasets.paper_budgets import MGCC_RECIPE, SSL4MIS_RECIPE


class Supervised(Method):
    """L = L_sup on the labeled stream; unlabeled samples are never drawn. The protocol decides how many labels there are:
    with all of them, this is the upper bound of a table.

    The default loss is SSL4MIS's (CE + Dice) / 2. Preset `ssl4mis` adds that code's recipe. The others use the losses of
    other lineages: `mgcc-2023` BCE / 2 + Dice, `la` the Dice of the foreground only (UA-MT).
    """

    terms: Mapping[str, Term] = {"sup": Term()}
    streams: ClassVar[Mapping[str, Stream]] = {"labeled": Stream("labeled")}
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "ssl4mis": {"recipe": {**SSL4MIS_RECIPE, "labeled_batch": 24}},
        "mgcc-2023": {"options": {"loss": "bce_dice"}, "recipe": {**MGCC_RECIPE, "labeled_batch": 8}},
        "la": {"options": {"loss": "dice_ce_foreground"}, "recipe": {"iterations": 6000, "labeled_batch": 4}},
    }

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `supervised`."""

        loss: Supervision = Field("dice_ce", description="supervised loss")

    def __init__(self, task: Task, backbones: Backbones, options: Supervised.Options) -> None:
        super().__init__(task, backbones, options)
        self.loss = options.loss
        self.net = backbones()

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: the supervised loss."""
        labeled = batch["labeled"]
        return {"sup": supervised_loss(self.net(labeled.image), labeled.target, self.loss)}

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial)."""
        return self.net(images)
