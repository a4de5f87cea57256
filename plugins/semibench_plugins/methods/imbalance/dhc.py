"""DHC, dual-debiased heterogeneous co-training (Wang & Li, MICCAI 2023), in 2D and 3D."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from semibench import Backbones, Batch, Clock, Losses, Pools, Ramp, Task, Term
from semibench.blocks import ClassDifficulty, class_counts
from semibench_plugins.methods.generalisation.three_decoders.losses import dice_with_ce
from semibench_plugins.methods.imbalance.co_training import EPOCHS, RECIPE, CoTraining, cross_terms
from semibench_plugins.methods.nesterov import NesterovOptions

TINY = 1e-8


def log_ratios(counts: Tensor) -> Tensor:
    """DistDW: counts n (K,) -> weights K r_k / max_j r_j with r_k = ln(max_j n_j / n_k): 0 for the most frequent class, K for
    the rarest. 1e-8 is added to all counts, so a class that is nowhere has r of 25 or so. All classes equal: all weights 1."""
    ratios = ((counts.max() + TINY) / (counts + TINY)).log()
    greatest = ratios.max()
    return len(counts) * ratios / greatest if float(greatest) > 0 else torch.ones_like(ratios)


class DHC(CoTraining):
    """CPS whose networks have different class weights, so that they make different mistakes.

    L = L_sup,1 + L_sup,2 + c [CE_w1(z1, argmax z2) + CE_w2(z2, argmax z1)], L_sup,b = CE_wb(z_b, y) + mean_{k >= 1} w_bk
    (1 - Dice_k), c = .1 exp(-5 (1 - t)^2), the cross term on labeled and unlabeled samples. (The loss function has
    L_sup / 2, hence the weight 2.) Cross-entropies are weighted means.
    w1 (DiffDW) is how hard classes are to learn: `ClassDifficulty` with rule "ema" of network 1's labeled predictions,
    divided by its maximum, times K.
    w2 (DistDW) is how rare network 2 predicts classes: `log_ratios` of its counts on the unlabeled samples, averaged,
    w <- .99 w + .01 new, from the counts of the labels at the start.

    Published, the most frequent class, the background, has w2 = 0, and w1 is small for it: where there are few classes nothing
    holds back false positives, and the cross term spreads the foreground. No weight falls below `floor` = 1 here, which is ours:
    no class counts less than without weights. On the blobs of the learning check (two classes, 800 iterations) the mean of
    the networks has .405 without a floor and .827 with it, the labels alone .835; after 200 iterations .841 without.
    Preset `dhc`: no floor, the code's steps of the ramp, batch and rate. Its Dice is subtracted instead of 1 - Dice added;
    the gradient is the same. Scored: the mean of the logits (published), the first network, the second.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(2.0),
        "cross": Term(0.1, Ramp("sigmoid"), search=(0.02, 1.0), unlabeled=True),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "dhc": {
            "options": {"floor": 0.0, "nesterov": True},
            "terms": {"cross": {"ramp": dict(EPOCHS)}},
            "recipe": dict(RECIPE),
        }
    }

    class Options(NesterovOptions, frozen=True, extra="forbid"):
        """Options of `dhc`."""

        momentum: float = Field(0.99, ge=0.0, lt=1.0, description="of the weights by frequency; useful .9 to .999")
        window: int = Field(50, ge=1, description="iterations that the difficulty looks back; useful range 20 to 200")
        exponent: float = Field(0.2, ge=0.0, description="exponent of the difficulty; useful range 0 to .5")
        floor: float = Field(
            1.0, ge=0.0, description="smallest class weight; the greatest is K; published: 0; useful range 0 to 1"
        )

    frequency: Tensor

    def __init__(self, task: Task, backbones: Backbones, options: DHC.Options) -> None:
        super().__init__(task, backbones, options)
        self.options, self.kinds = options, len(task.classes)
        self.difficulty = ClassDifficulty(self.kinds, window=options.window, exponent=options.exponent, rule="ema")
        self.register_buffer("frequency", torch.ones(self.kinds))

    def begin(self, stage: str, pools: Pools) -> None:
        """Starts the weights by frequency from the labeled cases."""
        self.frequency.copy_(log_ratios(pools.class_voxels().float()))

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: labeled part, half the sum over the networks; cross: all samples, sum of both directions."""
        target, pair = batch["labeled"].target, self.both(batch)
        one, two = pair.labels
        hard = self.difficulty.update(one[: pair.count], target)
        seen = class_counts(two[pair.count :], self.kinds)
        if bool(seen.any()):
            self.frequency.lerp_(log_ratios(seen), 1.0 - self.options.momentum)
        both = (hard / hard.max() * self.kinds, self.frequency)
        weights = both[0].clamp(min=self.options.floor), both[1].clamp(min=self.options.floor)
        self.notes["background-weight-1"], self.notes["background-weight-2"] = weights[0][0], weights[1][0]
        sup = [dice_with_ce(z, target, weight=weight) for z, weight in zip(pair.labeled, weights, strict=True)]
        return {"sup": sup[0] + sup[1], "cross": cross_terms(pair, weights)}
