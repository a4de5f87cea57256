"""CTCT, cross teaching between a convolutional network and a transformer (Luo et al., MIDL 2022), in 2D."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from semibench import Batch, Clock, Losses, Ramp, Term
from semibench.blocks import soft_dice
from semibench_plugins.datasets.paper_budgets import MGCC_RECIPE
from semibench_plugins.methods.pseudo_labels.cps import pseudo_labels
from semibench_plugins.methods.pseudo_labels.cross_teaching import (
    CROSS_TEACHING_RECIPE,
    CrossTeaching,
    CrossTeachingOptions,
)


class CTCT(CrossTeaching):
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
        "acdc": {"recipe": CROSS_TEACHING_RECIPE},
        "mgcc-2023": {
            "options": {"loss": "bce_dice"},
            "terms": {"cross": {"ramp": {"end": 1.5}}},
            "recipe": MGCC_RECIPE,
        },
    }

    class Options(CrossTeachingOptions, frozen=True, extra="forbid"):
        """Options of `ctct`."""

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: labeled part, sum over the networks; cross: unlabeled part, sum of both directions."""
        sup, a, b = self.supervised_and_unlabeled(batch)
        valid = batch["unlabeled"].valid
        return {"sup": sup, "cross": soft_dice(a, pseudo_labels(b, valid)) + soft_dice(b, pseudo_labels(a, valid))}
