"""CLD, calibrating label distribution (Lin, Yao, Li, Zheng & Li, MICCAI 2022), in 2D and 3D."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from semibench import IGNORE, Backbones, Batch, Clock, Losses, Pools, Ramp, Task, Term
from semibench.blocks import class_counts, inverse_frequency
from semibench_plugins.methods.generalisation.three_decoders.losses import dice_with_ce
from semibench_plugins.methods.imbalance.co_training import (
    EPOCHS,
    RECIPE,
    CoTraining,
    Pair,
    kept_cross_entropy,
)
from semibench_plugins.methods.nesterov import NesterovOptions


class CLD(CoTraining):
    """CPS with classes weighted by how rare they are, that drops predictions of classes the networks are sure of.

    w_k = (max_j n_j / n_k)^(1/3), n the voxels of the labeled cases. A class that none of them has gets the weight of the
    rarest that is there (the code divides by 0).
    L = L_sup(z1) + L_sup(z2) + c sum_b mean_v [m_b w_y CE(z_b, y)], L_sup = CE_w + mean_{k >= 1} w_k (1 - Dice_k), y the
    other network's label, c = .1 exp(-5 (1 - t)^2), on labeled and unlabeled samples. (The loss function has L_sup / 2,
    hence the weight 2.)
    m_b keeps a voxel that network b *itself* predicts as k with probability s_k = ((1 - c_k) / max_j (1 - c_j))^gamma; the
    least sure class is always kept. c_k is the network's mean probability of class k on labeled voxels of k: collected over
    `update_every` iterations, then averaged, c <- .999 c + .001 new; the first value counts in full. A class that wasn't
    seen keeps its c (the code pulls it to 0). Before the first value all are kept (the code starts with random c).
    The mean runs over all voxels without padding, dropped ones included.

    Not part of this class: the paper's crops, drawn around slices with rare classes. Crops belong to the recipe, and DHC's
    3D port, which made the published rows on Synapse, has none of them either. Preset `dhc`: that port's constants, weight 1
    and c every 8 iterations. The port's Dice is subtracted instead of 1 - Dice added; the gradient is the same.
    Scored: the mean of the logits (as in the port; the authors' own code scores the first network), the first, the second.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(2.0),
        "cross": Term(0.1, Ramp("sigmoid"), search=(0.02, 1.0), unlabeled=True),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "dhc": {
            "options": {"update_every": 8, "nesterov": True},
            "terms": {"cross": {"weight": 1.0, "ramp": dict(EPOCHS)}},
            "recipe": dict(RECIPE),
        }
    }

    class Options(NesterovOptions, frozen=True, extra="forbid"):
        """Options of `cld`."""

        exponent: float = Field(
            1 / 3, ge=0.0, le=1.0, description="exponent of the class weights; useful range 0 to 1; 0: none"
        )
        gamma: float = Field(0.5, ge=0.0, description="exponent of the keep rates; useful range .2 to 2; 0: keep all")
        momentum: float = Field(0.999, ge=0.0, lt=1.0, description="of the confidences; useful range .9 to .999")
        update_every: int = Field(2, ge=1, description="iterations between updates of the confidences; useful 1 to 8")

    class_weight: Tensor
    confidence: Tensor
    collected: Tensor
    counts: Tensor

    def __init__(self, task: Task, backbones: Backbones, options: CLD.Options) -> None:
        super().__init__(task, backbones, options)
        self.options, kinds = options, len(task.classes)
        self.register_buffer("class_weight", torch.ones(kinds))
        self.register_buffer("confidence", torch.zeros(2, kinds))
        self.register_buffer("collected", torch.zeros(2, kinds))
        self.register_buffer("counts", torch.zeros(kinds))

    def begin(self, stage: str, pools: Pools) -> None:
        """Counts the voxels of the labeled cases."""
        self.class_weight.copy_(inverse_frequency(pools.class_voxels(), self.options.exponent))

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: labeled part, half the sum over the networks; cross: kept voxels of all samples, sum of both directions."""
        target, pair = batch["labeled"].target, self.both(batch)
        self._observe(pair, target, clock)
        rates, (one, two) = self.keep_rates(), pair.labels
        self.notes["least-kept"] = rates.min()
        sup = [dice_with_ce(z, target, weight=self.class_weight) for z in pair.labeled]
        kept, weight = (self.sampled(one, rates[0]), self.sampled(two, rates[1])), self.class_weight
        first = kept_cross_entropy(pair.first, two, kept[0], pair.valid, weight=weight)
        second = kept_cross_entropy(pair.second, one, kept[1], pair.valid, weight=weight)
        return {"sup": sup[0] + sup[1], "cross": first + second}

    def keep_rates(self) -> Tensor:
        """(2, K): with which probability each network keeps a prediction of each class."""
        unsure = 1.0 - self.confidence
        return (unsure / unsure.amax(1, keepdim=True).clamp(min=1e-12)) ** self.options.gamma

    def sampled(self, own: Tensor, rates: Tensor) -> Tensor:
        """Own labels (B, *spatial), rates (K,) -> bool (B, *spatial): voxels that are kept. Padding is irrelevant."""
        rate = rates[own.masked_fill(own == IGNORE, 0)]
        return torch.rand(own.shape, device=own.device) < rate

    @torch.no_grad()
    def _observe(self, pair: Pair, target: Tensor, clock: Clock) -> None:
        """Collects the probabilities of the true classes; every `update_every` iterations the confidences follow."""
        kinds, inside = self.class_weight.numel(), target != IGNORE
        index = target.masked_fill(~inside, 0).long()
        for number, logits in enumerate(pair.labeled):
            right = logits.float().softmax(1).gather(1, index.unsqueeze(1)).squeeze(1)
            self.collected[number] += torch.bincount(index[inside], weights=right[inside], minlength=kinds)
        self.counts += class_counts(target, kinds)
        if (clock.step + 1) % self.options.update_every:
            return
        new, share = self.collected / self.counts.clamp(min=1.0), 1.0 - self.options.momentum
        moved = torch.where(self.confidence > 0, self.confidence.lerp(new, share), new)
        self.confidence.copy_(torch.where(self.counts > 0, moved, self.confidence))
        self.collected.zero_()
        self.counts.zero_()
