"""AC-MT, ambiguity-consensus mean teacher (Xu et al., MedIA 2023), in 2D and 3D."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from semibench import Backbones, Batch, Clock, Losses, MethodOptions, Ramp, Task, Term
from semibench.blocks import StudentTeacher, Supervision, Teacher, frozen_statistics, supervised_loss

EPSILON = 1e-6
"""Added inside the logarithm of the entropy."""
LA_RECIPE: Mapping[str, Any] = {"iterations": 8000, "labeled_batch": 2, "unlabeled_batch": 2}


def normalised_entropy(probabilities: Tensor) -> Tensor:
    """(B, K, *spatial) -> (B, *spatial): -sum_c p_c ln(p_c + 1e-6) / ln K."""
    return -(probabilities * (probabilities + EPSILON).log()).sum(1) / math.log(probabilities.shape[1])


class ACMT(StudentTeacher):
    """Mean teacher whose consistency counts only where the *student* is ambiguous, the opposite of UA-MT's choice.

    The ambiguity e of a position is the entropy of the student's softmax p as a share of ln K. A position counts if
    e >= H(t), and L_c = sum 1[e >= H] |p - q|^2 / (K sum 1[e >= H]), q = softmax(teacher(u + n)), n = clip(N(0, .1), +-.2).
    H = start + (end - start) exp(-5 (1 - t)^2) with t the progress of the run. L = (CE + Dice) / 2 + w L_c; w rises to .1
    as exp(-5 (1 - t)^2) in 40 steps over the first three quarters. The teacher stays in training mode.

    H falls from .75 to .6, as the paper describes it: more and more positions count. In the authors' code that line is
    commented out, and H rises to .95 (preset `la`, with their recipe; `la-relaxed`: the paper's H with that recipe). With
    selector="uncertainty", e is the entropy of the mean of 8 softmaxes of the student with noise and dropout, the divisor is
    sum 1[e >= H] without K, and the code's H rises to .9 (preset `la-uncertainty`). Two other selectors of the paper, by
    prototypes and by confident learning, are missing.

    The running statistics of the teacher follow the student's, which come from whole images without noise (in the authors'
    code the teacher's come from noised images). Scored: the student (as published) and the teacher. The authors keep the
    weights that are best on the test list.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(),
        "consistency": Term(0.1, Ramp("sigmoid", end=0.75, levels=40), search=(0.01, 10.0), unlabeled=True),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "la": {"options": {"end": 0.95}, "recipe": LA_RECIPE},
        "la-relaxed": {"recipe": LA_RECIPE},
        "la-uncertainty": {"options": {"selector": "uncertainty", "end": 0.9}, "recipe": LA_RECIPE},
    }

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `ac-mt`."""

        decay: float = Field(0.99, ge=0.0, le=1.0, description="largest decay of the average; useful range .9 to .999")
        noise: float = Field(0.1, ge=0.0, description="standard deviation of the input noise; useful range .02 to .3")
        selector: Literal["entropy", "uncertainty"] = Field(
            "entropy",
            description="ambiguity: entropy of the student's prediction, or of the mean of several noisy ones",
        )
        start: float = Field(
            0.75, ge=0.0, le=1.0, description="threshold at the start, as a share of ln K; useful range .4 to .9"
        )
        end: float = Field(
            0.6, ge=0.0, le=1.0, description="threshold at the end; .6 (the paper) or .95 (the code); useful .3 to .99"
        )
        passes: int = Field(8, ge=2, description="predictions per uncertainty estimate; useful range 4 to 16")
        loss: Supervision = Field("dice_ce", description="supervised loss")

    def __init__(self, task: Task, backbones: Backbones, options: ACMT.Options) -> None:
        super().__init__(task, backbones, options)
        self.options = options
        self.ramp = Ramp("sigmoid")
        self.student = backbones()
        self.teacher = Teacher(self.student, options.decay, buffers="ema", mode="train")

    def threshold(self, clock: Clock) -> float:
        """Returns the ambiguity, as a share of ln K, from which a position counts."""
        start, end = self.options.start, self.options.end
        return start + (end - start) * self.ramp(clock.progress)

    def _noised(self, images: Tensor) -> Tensor:
        limit = 2 * self.options.noise
        return images + (self.options.noise * torch.randn_like(images)).clamp(-limit, limit)

    @torch.no_grad()
    def ambiguity(self, images: Tensor, predicted: Tensor) -> Tensor:
        """Images (B, C, *spatial) and the student's softmax (B, K, *spatial) -> e, (B, *spatial)."""
        if self.options.selector == "entropy":
            return normalised_entropy(predicted)
        total = torch.zeros_like(predicted)
        with frozen_statistics(self.student):
            for _ in range(self.options.passes):
                total += self.student(self._noised(images)).float().softmax(1)
        return normalised_entropy(total / self.options.passes)

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: labeled part; consistency: ambiguous positions of the unlabeled part, without padding."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        images = torch.cat([labeled.image, unlabeled.image])
        logits, logits_u = self.student(images).split([len(labeled.image), len(unlabeled.image)])
        with frozen_statistics(self.teacher):
            target = self.teacher(self._noised(unlabeled.image)).float().softmax(1)
        predicted = logits_u.float().softmax(1)
        ambiguous = self.ambiguity(unlabeled.image, predicted) >= self.threshold(clock)
        counted = (ambiguous & unlabeled.valid).unsqueeze(1).float()
        self.notes["ambiguous"] = counted.mean()
        classes = predicted.shape[1] if self.options.selector == "entropy" else 1
        return {
            "sup": supervised_loss(logits, labeled.target, self.options.loss),
            "consistency": (counted * (predicted - target).square()).sum() / (classes * counted.sum() + 1e-16),
        }
