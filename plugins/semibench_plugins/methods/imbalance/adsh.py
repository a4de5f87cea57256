"""Adsh, adaptive thresholding for class-imbalanced semi-supervised learning (Guo & Li, ICML 2022), between two networks in 2D
and 3D."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from semibench import Backbones, Batch, Clock, Confidence, Losses, Ramp, Task, Term
from semibench.blocks import Supervision, supervised_loss
from semibench_plugins.methods.imbalance.co_training import (
    EPOCHS,
    RECIPE,
    CoTraining,
    kept_cross_entropy,
)
from semibench_plugins.methods.nesterov import NesterovOptions

BINS = 1000
"""Bins of the histograms of confidences, all of the same width."""


def adaptive_thresholds(histogram: Tensor, threshold: float, last: Tensor) -> Tensor:
    """Thresholds with which every class keeps the same share of its predictions.

    histogram: counts (K, bins) of the confidences of voxels predicted as each class. rho is the share of the most frequent
    class with a confidence from `threshold` on; class k gets the confidence of its ceil(rho n_k)-th most confident voxel (the
    first, if rho is 0), rounded down to a bin; so a class whose confidences all lie in the last bin keeps all of its voxels.
    last: (K,), thresholds of classes without any voxel."""
    bins = histogram.shape[1]
    from_here = histogram.flip(1).cumsum(1).flip(1).double()
    sizes = from_here[:, 0]
    start = min(math.ceil(threshold * bins - 1e-6), bins - 1)
    major = sizes.argmax()
    share = from_here[major, start] / sizes[major].clamp(min=1.0)
    wanted = (sizes * share - 1e-6).ceil().clamp(min=1.0)
    found = ((from_here >= wanted[:, None]).sum(1) - 1) / bins
    return torch.where(sizes > 0, found.to(last), last)


class Adsh(CoTraining):
    """CPS whose labels count from a confidence on that each class has for itself, so that all keep the same share.

    For each network b: over a pass of the unlabeled samples, the confidences of the voxels it predicts as k are counted in a
    histogram. rho is the share of its most frequent class that reaches tau; t_bk is the confidence that the same share
    of class k reaches (`adaptive_thresholds`). The thresholds hold for the next pass; before the first, all are tau.
    m_b(v) = 1 where the confidence reaches t_bk, k = argmax z_b(v).
    L = L_sup(z1) + L_sup(z2) + c [mean m_2 CE(z1, argmax z2) + mean m_1 CE(z2, argmax z1)] on labeled and unlabeled samples,
    without padding, c = .1 exp(-5 (1 - t)^2), L_sup = CE + Dice (the loss function is half of it, hence the weight 2).

    The paper classifies images and trains as FixMatch, with weak and strong views; the segmentation literature knows the rule
    between two networks (code of DHC), and that is built here. The background is the most frequent class, with rho close to 1,
    so most voxels are kept. Differences of that code: it ranks the class's score over all voxels, predicted as k or not, and
    multiplies the *logits* with the mask, so that a dropped voxel still adds ln K. Preset `dhc`: its tau of .9,
    thresholds four times a pass, none before the first, its Dice of the foreground with sums, its batch and its SGD with
    Nesterov momentum. Scored: the mean of the logits (published), the first network, the second.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(2.0),
        "cross": Term(0.1, Ramp("sigmoid"), search=(0.02, 1.0), unlabeled=True),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "dhc": {
            "options": {"threshold": 0.9, "period": 0.25, "start": "none", "loss": "dice_ce_linear", "nesterov": True},
            "terms": {"cross": {"ramp": dict(EPOCHS)}},
            "recipe": dict(RECIPE),
        }
    }
    rehearsal_options: ClassVar[Mapping[str, Any]] = {"threshold": 0.5}

    class Options(NesterovOptions, frozen=True, extra="forbid"):
        """Options of `adsh`."""

        threshold: Confidence = Field(
            0.95, ge=0.0, lt=1.0, description="tau, of the most frequent class; useful range .8 to .99"
        )
        period: float = Field(
            1.0, gt=0.0, description="passes over the unlabeled samples between two updates; useful range .25 to 1"
        )
        start: Literal["threshold", "none"] = Field(
            "threshold", description="thresholds before the first update: tau for all classes, or none"
        )
        loss: Supervision = Field("dice_ce", description="supervised loss")

    thresholds: Tensor
    histogram: Tensor
    updates: Tensor

    def __init__(self, task: Task, backbones: Backbones, options: Adsh.Options) -> None:
        super().__init__(task, backbones, options)
        self.options, kinds = options, len(task.classes)
        start = options.threshold if options.start == "threshold" else 0.0
        self.register_buffer("thresholds", torch.full((2, kinds), start))
        self.register_buffer("histogram", torch.zeros(2, kinds, BINS, dtype=torch.int64))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: labeled part, sum over the networks; cross: confident voxels of all samples, sum of both directions."""
        self._follow(clock)
        target, pair = batch["labeled"].target, self.both(batch)
        one, two = pair.labels
        kept = [
            self._confident(number, z, pair.count, pair.valid) for number, z in enumerate((pair.first, pair.second))
        ]
        self.notes["kept"] = (0.5 * (kept[0].float() + kept[1].float()) * pair.valid).mean()
        self.notes["least-threshold"] = self.thresholds.min()
        sup = [supervised_loss(z, target, self.options.loss) for z in pair.labeled]
        first = kept_cross_entropy(pair.first, two, kept[1], pair.valid)
        second = kept_cross_entropy(pair.second, one, kept[0], pair.valid)
        return {"sup": sup[0] + sup[1], "cross": first + second}

    @torch.no_grad()
    def _confident(self, number: int, logits: Tensor, count: int, valid: Tensor) -> Tensor:
        """Which voxels (B, *spatial) a network is sure of. Counts the confidences of the unlabeled ones, after `count`."""
        confidence, label = logits.detach().float().softmax(1).max(1)
        inside, kinds = valid[count:], self.thresholds.shape[1]
        place = (confidence[count:][inside] * BINS).long().clamp(max=BINS - 1)
        cell = label[count:][inside] * BINS + place
        self.histogram[number] += torch.bincount(cell, minlength=kinds * BINS).view(kinds, BINS)
        return confidence >= self.thresholds[number][label]

    @torch.no_grad()
    def _follow(self, clock: Clock) -> None:
        """Takes new thresholds once in a period and starts counting again."""
        periods = math.floor(clock.passes.get("unlabeled", 0.0) / self.options.period)
        if periods <= int(self.updates):
            return
        for last, histogram in zip(self.thresholds, self.histogram, strict=True):
            last.copy_(adaptive_thresholds(histogram, self.options.threshold, last))
        self.histogram.zero_()
        self.updates.fill_(periods)
