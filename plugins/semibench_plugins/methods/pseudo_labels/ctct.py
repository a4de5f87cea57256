"""CTCT, cross teaching between a convolutional network and a transformer (Luo et al., MIDL 2022), in 2D."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field

from semibench import Backbones, Batch, Clock, Losses, MethodOptions, Ramp, Task, Term
from semibench.blocks import Supervision, soft_dice, supervised_loss
from semibench_plugins.datasets.paper_budgets import MGCC_RECIPE, SSL4MIS_RECIPE
from semibench_plugins.methods.pseudo_labels.cps import TwoNetworks, pseudo_labels


class CTCT(TwoNetworks):
    """A convolutional network and a transformer learn from each other's hard labels on unlabeled samples, with Dice only.

    L = L_sup(f1) + L_sup(f2) + w [Dice(p1, argmax p2) + Dice(p2, argmax p1)], w = .1 exp(-5 (1 - t)^2),
    Dice over all classes and the whole batch. Padding is left out. Both networks take the run's patch, which sets the
    window of Swin-UNet (7 at the published 224, 8 at 256). The authors start the transformer from ImageNet weights
    and score the last iteration; here it starts from random weights. Scored: the convolutional network
    (as published), the transformer, and the mean of their logits.

    2D only, because the second network is 2D. Preset `mgcc-2023`: loss and budget of that paper.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(),
        "cross": Term(0.1, Ramp("sigmoid", levels=200), search=(0.01, 5.0), unlabeled=True),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "acdc": {"recipe": {**SSL4MIS_RECIPE, "labeled_batch": 8, "unlabeled_batch": 8, "patch": (224, 224)}},
        "mgcc-2023": {
            "options": {"loss": "bce_dice"},
            "terms": {"cross": {"ramp": {"end": 1.5}}},
            "recipe": MGCC_RECIPE,
        },
    }

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `ctct`."""

        second: str = Field("swin-unet", description="backbone of the second network")
        second_width: float | None = Field(
            None, gt=0.0, description="width of the second network; default: the recipe's for that backbone"
        )
        loss: Supervision = Field("dice_ce", description="supervised loss")

    @classmethod
    def unsupported(cls, task: Task, options: Any) -> str | None:
        """2D only: Swin-UNet is a 2D network."""
        if task.dims == 2:
            return None
        return f"ctct needs 2D networks, but the task asks for a {task.dims}D network"

    def __init__(self, task: Task, backbones: Backbones, options: CTCT.Options) -> None:
        super().__init__(task, backbones, options)
        self.loss = options.loss
        own: dict[str, Any] = {} if options.second_width is None else {"width": options.second_width}
        self.first, self.second = backbones(), backbones(options.second, **own)

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: labeled part, sum over the networks; cross: unlabeled part, sum of both directions."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        images, sizes = torch.cat([labeled.image, unlabeled.image]), [len(labeled.image), len(unlabeled.image)]
        (one, a), (two, b) = self.first(images).split(sizes), self.second(images).split(sizes)
        sup = [supervised_loss(z, labeled.target, self.loss) for z in (one, two)]
        valid = unlabeled.valid
        cross = soft_dice(a, pseudo_labels(b, valid)) + soft_dice(b, pseudo_labels(a, valid))
        return {"sup": sup[0] + sup[1], "cross": cross}
