"""UA-MT, uncertainty-aware mean teacher (Yu et al., MICCAI 2019), in 2D and 3D."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from semibench import Backbones, Batch, Clock, Losses, MethodOptions, Ramp, Task, Term
from semibench.blocks import StudentTeacher, Supervision, Teacher, frozen_statistics, supervised_loss
from semibench_plugins.datasets.paper_budgets import MGCC_RECIPE, SSL4MIS_RECIPE

REPEATED = 2
"""Copies of each sample in one forward pass for the uncertainty, as in the authors' code."""
EPSILON = 1e-6
"""Added inside the logarithm of the entropy."""


class UAMT(StudentTeacher):
    """Mean teacher whose consistency counts only where the teacher is certain.

    The mean m of T teacher softmaxes (fresh noise, dropout) has the entropy U = -sum_c m_c ln(m_c + 1e-6). A position
    counts if U < H, with H = (3/4 + 1/4 ramp) ln K over the run and ramp(t) = exp(-5 (1 - t)^2). With one more teacher
    pass q, L_c = sum 1[U < H] |p - q|^2 / (K sum 1[U < H]). L = L_sup + w L_c, w = .1 ramp. The teacher stays
    in training mode, so its dropout is active. If the network has no dropout, the input noise is the only source of
    uncertainty. The teacher's running statistics follow the student's (in the authors' code they come from the noised
    images); what the student learns doesn't depend on them.

    K is the number of classes, or always 2 with constants="binary", as in SSL4MIS. Presets: `ssl4mis`;
    `la`, the authors' 6000 iterations and supervised loss; `mgcc-2023`, decay .9 and the loss of that paper.
    Scored: the student (as published) and the teacher.

    SSL4MIS's script sets the learning rate of a step only after it, so its rate lags by one step; here it doesn't.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(),
        "consistency": Term(0.1, Ramp("sigmoid", levels=200), search=(0.01, 10.0), unlabeled=True),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "ssl4mis": {"options": {"constants": "binary"}, "recipe": SSL4MIS_RECIPE},
        "mgcc-2023": {
            "options": {"decay": 0.9, "loss": "bce_dice"},
            "terms": {"consistency": {"ramp": {"end": 1.5}}},
            "recipe": MGCC_RECIPE,
        },
        "la": {
            "options": {"loss": "dice_ce_foreground"},
            "terms": {"consistency": {"ramp": {"levels": 40}}},
            "recipe": {"iterations": 6000, "labeled_batch": 2, "unlabeled_batch": 2},
        },
    }

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `ua-mt`."""

        decay: float = Field(0.99, ge=0.0, le=1.0, description="largest decay of the average; useful range .9 to .999")
        noise: float = Field(
            0.1, ge=0.0, description="standard deviation of the teacher's input noise; useful .02 to .3"
        )
        passes: int = Field(
            8, ge=2, multiple_of=2, description="predictions per uncertainty estimate; useful range 4 to 16"
        )
        threshold: float = Field(
            0.75,
            ge=0.0,
            le=1.0,
            description="initial threshold, as a share of the largest entropy; useful range .5 to .95",
        )
        constants: Literal["classes", "binary"] = Field(
            "classes", description="largest entropy and divisor: ln K and K (the text) or ln 2 and 2 (SSL4MIS)"
        )
        consistency: Literal["unlabeled", "all"] = Field(
            "unlabeled", description="which samples must agree; the authors published a script for each"
        )
        loss: Supervision = Field("dice_ce", description="supervised loss")

    def __init__(self, task: Task, backbones: Backbones, options: UAMT.Options) -> None:
        super().__init__(task, backbones, options)
        self.options = options
        self.noise = options.noise
        self.kinds = len(task.classes) if options.constants == "classes" else 2
        self.relaxed = Ramp("sigmoid")
        self.student = backbones()
        self.teacher = Teacher(self.student, options.decay, buffers="ema", mode="train")

    def threshold(self, clock: Clock) -> float:
        """Returns the entropy in nats below which a position counts."""
        start = self.options.threshold
        return (start + (1.0 - start) * self.relaxed(clock.progress)) * math.log(self.kinds)

    def _target(self, images: Tensor) -> Tensor:
        noise = (self.noise * torch.randn_like(images)).clamp(-2 * self.noise, 2 * self.noise)
        with frozen_statistics(self.teacher):
            return self.teacher(images + noise).float().softmax(1)

    def uncertainty(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> (B, *spatial): entropy in nats of the teacher's mean prediction."""
        twice = images.repeat(REPEATED, *[1] * (images.ndim - 1))
        rounds = self.options.passes // REPEATED
        total = sum(self._target(twice) for _ in range(rounds))
        mean = torch.as_tensor(total).unflatten(0, (REPEATED, len(images))).mean(0) / rounds
        return -(mean * (mean + EPSILON).log()).sum(1)

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: labeled part; consistency: certain positions of the unlabeled part (or of all), without padding."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        images = torch.cat([labeled.image, unlabeled.image])
        logits = self.student(images)
        first = 0 if self.options.consistency == "all" else len(labeled.image)
        shown, valid = images[first:], torch.cat([labeled.valid, unlabeled.valid])[first:]
        target = self._target(shown)
        certain = ((self.uncertainty(shown) < self.threshold(clock)) & valid).unsqueeze(1).float()
        square = (logits[first:].float().softmax(1) - target).square()
        self.notes["certain"] = certain.mean()
        return {
            "sup": supervised_loss(logits[: len(labeled.image)], labeled.target, self.options.loss),
            "consistency": (certain * square).sum() / (self.kinds * certain.sum() + 1e-16),
        }
