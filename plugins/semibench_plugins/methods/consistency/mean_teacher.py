"""Mean Teacher (Tarvainen & Valpola, NeurIPS 2017), as the semi-supervised segmentation literature runs it (SSL4MIS)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field

from semibench import Backbones, Batch, Clock, Losses, MethodOptions, Ramp, Task, Term
from semibench.blocks import StudentTeacher, Supervision, Teacher, frozen_statistics, softmax_mse, supervised_loss
from semibench_plugins.datasets.paper_budgets import MGCC_RECIPE, SSL4MIS_RECIPE


class MeanTeacher(StudentTeacher):
    """L = L_sup + w L_c, L_c = mean (softmax(student(u)) - softmax(teacher(u + n)))^2, n = clip(N(0, noise), +-2 noise).

    The teacher is the moving average of the student. It runs in training mode, with its own batch statistics and
    dropout. Its running statistics follow the student's, which come from images without noise. (In SSL4MIS they come from
    the noised images, which nobody tests; the student learns the same either way.) w rises to .1 in 200 steps over the
    budget (30000 iterations in SSL4MIS) and is 0 for the first 1000 of 30000. Preset `ssl4mis`: these settings with that
    code's recipe; `mgcc-2023`: decay .9 and the loss of that paper; `la`: UA-MT's schedule (40 steps, no gate) and
    supervised loss. Scored: the student (as published) and the teacher.

    SSL4MIS's script sets the learning rate of a step only after it, so its rate lags by one step; here it doesn't.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(),
        "consistency": Term(
            0.1, Ramp("sigmoid", levels=200), active=(1 / 30, math.inf), search=(0.01, 10.0), unlabeled=True
        ),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "ssl4mis": {"recipe": SSL4MIS_RECIPE},
        "mgcc-2023": {
            "options": {"decay": 0.9, "loss": "bce_dice"},
            "terms": {"consistency": {"ramp": {"end": 1.5}, "active": [1 / 20, None]}},
            "recipe": MGCC_RECIPE,
        },
        "la": {
            "options": {"loss": "dice_ce_foreground"},
            "terms": {"consistency": {"ramp": {"levels": 40}, "active": [0.0, None]}},
            "recipe": {"iterations": 6000, "labeled_batch": 2, "unlabeled_batch": 2},
        },
    }

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `mean-teacher`."""

        decay: float = Field(0.99, ge=0.0, le=1.0, description="largest decay of the average; useful range .9 to .999")
        noise: float = Field(
            0.1, ge=0.0, description="standard deviation of the teacher's input noise; useful .02 to .2"
        )
        loss: Supervision = Field("dice_ce", description="supervised loss")

    def __init__(self, task: Task, backbones: Backbones, options: MeanTeacher.Options) -> None:
        super().__init__(task, backbones, options)
        self.noise, self.loss = options.noise, options.loss
        self.student = backbones()
        self.teacher = Teacher(self.student, options.decay, buffers="ema", mode="train")

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: labeled part; consistency: unlabeled part without padding."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        images = torch.cat([labeled.image, unlabeled.image])
        logits, logits_u = self.student(images).split([len(labeled.image), len(unlabeled.image)])
        noise = (self.noise * torch.randn_like(unlabeled.image)).clamp(-2 * self.noise, 2 * self.noise)
        with frozen_statistics(self.teacher):
            target = self.teacher(unlabeled.image + noise).float().softmax(1)
        return {
            "sup": supervised_loss(logits, labeled.target, self.loss),
            "consistency": softmax_mse(logits_u, target, valid=unlabeled.valid),
        }
