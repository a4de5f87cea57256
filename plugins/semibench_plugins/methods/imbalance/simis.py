"""SimiS, a simple baseline for imbalanced semi-supervised learning (Chen et al., arXiv 2211.11086, 2022), as DHC's authors carried
it over to segmentation, in 2D and 3D."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from semibench import Backbones, Batch, Clock, Losses, Pools, Ramp, Task, Term
from semibench.blocks import class_counts
from semibench_plugins.methods.generalisation.three_decoders.losses import dice_with_ce
from semibench_plugins.methods.imbalance.co_training import EPOCHS, RECIPE, CoTraining, cross_terms
from semibench_plugins.methods.nesterov import NesterovOptions


def gaps(counts: Tensor) -> Tensor:
    """Counts n (K,) -> weights K (max_j P_j - P_k), P = n / sum n: 0 for the most frequent class."""
    shares = counts / counts.sum().clamp(min=1.0)
    return len(counts) * (shares.max() - shares)


class SimiS(CoTraining):
    """CPS with classes weighted by how far they are from the most frequent one.

    The original classifier adds pseudo-labeled samples to the labeled set, the more the rarer a class is. A voxel can't be
    added alone, so the port gives classes weights instead, for each network b from its predictions on all samples:
    w_b <- .99 w_b + .01 gaps(n_b), gaps_k = K (max_j P_j - P_k), P the shares of predicted classes; at the start
    w = .99 K + .01 gaps(counts of the labels), almost the same for all classes.
    L = L_sup,1 + L_sup,2 + c [CE_w1(z1, argmax z2) + CE_w2(z2, argmax z1)], L_sup,b = CE_wb(z_b, y) + mean_{k >= 1} w_bk
    (1 - Dice_k), c = .1 exp(-5 (1 - t)^2), the cross term on labeled and unlabeled samples. (The loss function has
    L_sup / 2, hence the weight 2.) Cross-entropies are weighted means.

    Published, the weight of the background falls to 0 as the start is forgotten: where there are few classes nothing holds back
    false positives, and the cross term spreads the foreground. No weight falls below `floor` = 1 here, which is ours: no class
    counts less than without weights. On the blobs of the learning check (two classes, 800 iterations) the mean of the networks
    has .201 without a floor, which is chance, and .856 with it, the labels alone .835; after 200 iterations .853 without.
    Preset `dhc`: a floor of .001, which keeps the weights from vanishing where all classes are equally frequent, the port's
    steps of the ramp, batch and rate. Its Dice is subtracted instead of 1 - Dice added; the gradient is the same.
    Scored: the mean of the logits (published), the first network, the second.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(2.0),
        "cross": Term(0.1, Ramp("sigmoid"), search=(0.02, 2.0), unlabeled=True),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "dhc": {
            "options": {"floor": 0.001, "nesterov": True},
            "terms": {"cross": {"ramp": dict(EPOCHS)}},
            "recipe": dict(RECIPE),
        }
    }

    class Options(NesterovOptions, frozen=True, extra="forbid"):
        """Options of `simis`."""

        momentum: float = Field(0.99, ge=0.0, lt=1.0, description="of the class weights; useful range .9 to .999")
        floor: float = Field(
            1.0, gt=0.0, description="smallest class weight; the greatest is K; published: none; useful range .001 to 1"
        )

    weights: Tensor

    def __init__(self, task: Task, backbones: Backbones, options: SimiS.Options) -> None:
        super().__init__(task, backbones, options)
        self.options, self.kinds = options, len(task.classes)
        self.register_buffer("weights", torch.full((2, self.kinds), float(self.kinds)))

    def begin(self, stage: str, pools: Pools) -> None:
        """Starts close to equal weights, moved by the counts of the labeled cases."""
        self.weights.fill_(float(self.kinds))
        for weight in self.weights:
            self._follow(weight, pools.class_voxels().float())

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: labeled part, half the sum over the networks; cross: all samples, sum of both directions."""
        target, pair = batch["labeled"].target, self.both(batch)
        for weight, label in zip(self.weights, pair.labels, strict=True):
            self._follow(weight, class_counts(label, self.kinds))
        first, second = self.weights.clamp(min=self.options.floor)
        self.notes["background-weight"] = self.weights[:, 0].mean()
        sup = [dice_with_ce(z, target, weight=weight) for z, weight in zip(pair.labeled, (first, second), strict=True)]
        return {"sup": sup[0] + sup[1], "cross": cross_terms(pair, (first, second))}

    @torch.no_grad()
    def _follow(self, weight: Tensor, counts: Tensor) -> None:
        if bool(counts.any()):
            weight.lerp_(gaps(counts), 1.0 - self.options.momentum)
