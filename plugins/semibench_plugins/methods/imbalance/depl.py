"""DePL, debiased pseudo-labels (DebiasPL; Wang, Wu, Lian & Yu, CVPR 2022), between two networks in 2D and 3D."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from semibench import IGNORE, Backbones, Batch, Clock, Confidence, Losses, Ramp, Task, Term
from semibench.blocks import Supervision, supervised_loss
from semibench_plugins.methods.imbalance.co_training import (
    EPOCHS,
    RECIPE,
    CoTraining,
    Pair,
    kept_cross_entropy,
)
from semibench_plugins.methods.nesterov import NesterovOptions

LEAST = 1e-6
"""Smallest share of a class inside the logarithm; a class that is never predicted would win every voxel otherwise."""


def debiased(logits: Tensor, log_prior: Tensor, strength: float) -> Tensor:
    """z - strength ln q: logits (B, K, *spatial), ln q (K,). A negative strength gives the margin z + |strength| ln q."""
    return logits - strength * log_prior.view(-1, *[1] * (logits.ndim - 2))


class DePL(CoTraining):
    """CPS whose labels leave out what a network believes of every image: its mean prediction.

    For each network b, q_b (K,) is the moving average of its softmax over the unlabeled voxels, q <- .99 q + .01 mean, from
    1 / K. y_b = argmax p_b, p_b = softmax(z_b - tau ln q_b), counts where max p_b >= theta (m_b). The other network learns it
    with a margin: it must overcome its own prior.
    L = L_sup(z1) + L_sup(z2) + c [mean m_2 CE(z1 + tau ln q_1, y_2) + mean m_1 CE(z2 + tau ln q_2, y_1)] on labeled and
    unlabeled samples, without padding; dropped voxels count as 0 in the means. c = exp(-5 (1 - t)^2), tau = .4, theta = .8
    (the authors' code for images), L_sup = CE + Dice (the loss function is half of it, hence the weight 2).

    The paper classifies images and trains as FixMatch, with weak and strong views; the segmentation literature knows the
    rule between two networks (code of DHC), and that is built here. In that code q is a distribution for every *position* of
    the patch, which random crops make meaningless; here it is a vector, as in the paper. Its margin is computed and not
    used. Preset `dhc`: tau 1, theta .9, no margin, its Dice of the foreground with sums, its batch and its SGD with Nesterov
    momentum. With a background of 95 %, tau = 1 multiplies the odds of the rest by 20 and more. Scored: the mean of the
    logits (published), the first network, the second.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(2.0),
        "cross": Term(1.0, Ramp("sigmoid"), search=(0.05, 2.0), unlabeled=True),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "dhc": {
            "options": {"strength": 1.0, "threshold": 0.9, "margin": False, "loss": "dice_ce_linear", "nesterov": True},
            "terms": {"cross": {"ramp": dict(EPOCHS)}},
            "recipe": dict(RECIPE),
        }
    }
    rehearsal_options: ClassVar[Mapping[str, Any]] = {"threshold": 0.5}

    class Options(NesterovOptions, frozen=True, extra="forbid"):
        """Options of `depl`."""

        strength: float = Field(0.4, ge=0.0, description="tau, strength of the debiasing; useful range .1 to 1.5")
        threshold: Confidence = Field(
            0.8, ge=0.0, lt=1.0, description="theta, confidence from which a label counts; useful range .5 to .95"
        )
        momentum: float = Field(0.99, ge=0.0, lt=1.0, description="of the mean prediction; useful range .9 to .999")
        margin: bool = Field(True, description="add tau ln q to the logits that learn a label")
        loss: Supervision = Field("dice_ce", description="supervised loss")

    prior: Tensor

    def __init__(self, task: Task, backbones: Backbones, options: DePL.Options) -> None:
        super().__init__(task, backbones, options)
        self.options, kinds = options, len(task.classes)
        self.register_buffer("prior", torch.full((2, kinds), 1.0 / kinds))

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: labeled part, sum over the networks; cross: confident voxels of all samples, sum of both directions."""
        options, target, pair = self.options, batch["labeled"].target, self.both(batch)
        strength = options.strength
        labels, kept = [], []
        for logits, prior in zip((pair.first, pair.second), self._log_prior(), strict=True):
            confidence, label = debiased(logits.detach().float(), prior, strength).softmax(1).max(1)
            labels.append(label.masked_fill(~pair.valid, IGNORE))
            kept.append(confidence >= options.threshold)
        self._follow(pair)
        log_prior = self._log_prior()
        first, second = (
            debiased(logits, log_prior[n], -strength if options.margin else 0.0)
            for n, logits in enumerate((pair.first, pair.second))
        )
        self.notes["kept"] = (0.5 * (kept[0].float() + kept[1].float()) * pair.valid).mean()
        sup = [supervised_loss(z, target, options.loss) for z in pair.labeled]
        cross = kept_cross_entropy(first, labels[1], kept[1], pair.valid)
        cross = cross + kept_cross_entropy(second, labels[0], kept[0], pair.valid)
        return {"sup": sup[0] + sup[1], "cross": cross}

    def _log_prior(self) -> Tensor:
        return self.prior.clamp(min=LEAST).log()

    @torch.no_grad()
    def _follow(self, pair: Pair) -> None:
        """Moves the mean predictions towards those on the unlabeled samples of this batch."""
        inside = pair.valid[pair.count :]
        if not bool(inside.any()):
            return
        for prior, logits in zip(self.prior, (pair.first, pair.second), strict=True):
            shown = logits[pair.count :].detach().float().softmax(1) * inside.unsqueeze(1)
            mean = shown.transpose(0, 1).flatten(1).sum(1) / inside.sum()
            prior.lerp_(mean, 1.0 - self.options.momentum)
