"""AugSeg: random intensities and an adaptive injection of labeled patches (Zhao et al., CVPR 2023), in 2D."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from semibench import Backbones, Batch, Clock, Confidence, Losses, MethodOptions, Samples, Task, Term
from semibench.blocks import (
    ScoredTeacher,
    Supervision,
    Teacher,
    beta_box_mask,
    confident_cross_entropy,
    paste,
    supervised_loss,
    voxel_entropy,
    whole_and_changed,
)
from semibench_plugins.methods.weak_to_strong.random_intensities import random_intensities


@dataclass(frozen=True)
class Pseudo:
    """Images (B, C, H, W) with labels, their confidence and bool `valid`, all (B, H, W)."""

    image: Tensor
    label: Tensor
    confidence: Tensor
    valid: Tensor

    def pasted(self, other: Pseudo, box: Tensor) -> Pseudo:
        """Returns these samples with those of `other` inside a box, bool (B, H, W)."""
        return Pseudo(
            paste(self.image, other.image, box),
            paste(self.label, other.label, box),
            paste(self.confidence, other.confidence, box),
            paste(self.valid, other.valid, box),
        )

    def at(self, index: Tensor) -> Pseudo:
        """Returns the samples at these places."""
        return Pseudo(self.image[index], self.label[index], self.confidence[index], self.valid[index])


def certainty(logits: Tensor, valid: Tensor) -> Tensor:
    """(B, K, H, W), bool (B, H, W) -> rho (B,): mean of max p (1 - H(p) / ln K), in 0..1. For p = (.9, .1) it is .478."""
    best = logits.float().softmax(1).amax(1)
    each = best * (1.0 - voxel_entropy(logits) / math.log(logits.shape[1])) * valid
    return (each.flatten(1).sum(1) / valid.flatten(1).sum(1).clamp(min=1)).clamp(0.0, 1.0)


class AugSeg(ScoredTeacher):
    """A mean teacher with hard labels; what is new is how the student's unlabeled images are changed.

    The teacher labels the weak view in eval mode: y = argmax p, c = max p. The strong view has 1 to 3 random intensity
    changes (`random_intensities`). Then comes CutMix in two steps, with one permutation pi of the batch. With probability
    1 - rho_i (`certainty`) a copy of the strong image i gets a box of the labeled image pi(i), with its label and c = 1;
    the box's share of the image has the law 1 - Beta(8, 2). Each strong image i then gets a box of the copy pi(i), with its
    label and c; the share has the law 1 - Beta(4, 4).
    L = L_sup + L_u, L_u = 1/P sum 1[c >= .95] CE(student, y) over the P valid positions.
    L_sup is (CE + Dice) / 2 as in all methods here; the paper has CE (presets `csc-pa` and `code`).

    The teacher's parameters and buffers are averaged with decay .999. Scored: the teacher (as published) and the student.

    By default the mixed images have a pass of their own, which leaves the running statistics alone (statistics="labeled":
    labeled images alone move them). "extra-weak" adds a pass of the weak unlabeled images for the statistics (the code has
    a flag for few labels that puts labeled, weak and mixed images into one batch, so that all have the same norm).
    "every-pass" is the code's single pass of labeled and mixed images. Preset `code` has it, and the first of 80 epochs, in
    which the teacher is a copy of the student; afterwards its decay is what it would be without the copies. The code's
    colour changes have no effect on grey images. Its boxes lie rather at the bottom right, which is kept.
    """

    terms: Mapping[str, Term] = {"sup": Term(), "pseudo": Term(1.0, search=(0.1, 4.0), unlabeled=True)}
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "csc-pa": {"options": {"loss": "cross_entropy"}},
        "code": {"options": {"loss": "cross_entropy", "statistics": "every-pass", "copied": 1 / 80}},
    }
    rehearsal_options: ClassVar[Mapping[str, Any]] = {"threshold": 0.5}

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `augseg`."""

        threshold: Confidence = Field(
            0.95, ge=0.0, description="confidence from which a position counts; useful range .7 to .98"
        )
        changes: int = Field(3, ge=1, description="most intensity changes of a strong view; useful range 1 to 4")
        mix: bool = Field(True, description="cut-mix the strong views")
        inject: bool = Field(True, description="paste labeled boxes into uncertain images before that")
        decay: float = Field(
            0.999, ge=0.0, le=1.0, description="largest decay of the teacher; useful range .99 to .9999"
        )
        copied: float = Field(
            0.0,
            ge=0.0,
            lt=1.0,
            description="share of the run in which the teacher is a copy of the student (code: 1/80)",
        )
        statistics: Literal["labeled", "extra-weak", "every-pass"] = Field(
            "labeled", description="what moves the student's running statistics; every-pass: the code"
        )
        loss: Supervision = Field("dice_ce", description="supervised loss; cross_entropy: the paper")

    def __init__(self, task: Task, backbones: Backbones, options: AugSeg.Options) -> None:
        super().__init__(task, backbones, options)
        self.options, self.copied = options, options.copied
        self.student = backbones()
        self.teacher = Teacher(self.student, options.decay, buffers="ema", mode="eval")

    def after_step(self, clock: Clock) -> None:
        """Updates the moving average. The copies at the start count as updates, as in the code."""
        if clock.progress < self.copied:
            self.teacher.copy(self.student, restart=False)
        else:
            self.teacher.update(self.student)

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: labeled part; pseudo: mixed strong views of the unlabeled part."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        mixed = self._mixed(labeled, unlabeled, self.teacher(unlabeled.image))
        logits, logits_u = self._predict(labeled.image, unlabeled.image, mixed.image)
        confident = mixed.confidence >= self.options.threshold
        self.notes["kept"] = confident.float().mean()
        return {
            "sup": supervised_loss(logits, labeled.target, self.options.loss),
            "pseudo": confident_cross_entropy(logits_u, mixed.label, confident, valid=mixed.valid),
        }

    def _mixed(self, labeled: Samples, unlabeled: Samples, logits: Tensor) -> Pseudo:
        """The student's unlabeled samples: strong views, injected and cut-mixed."""
        confidence, label = logits.float().softmax(1).max(1)
        image = random_intensities(unlabeled.image, most=self.options.changes, valid=unlabeled.valid)
        strong = Pseudo(image, label, confidence, unlabeled.valid)
        if not self.options.mix:
            return strong
        count, size = len(image), image.shape[2:]
        order = torch.randperm(count).to(image.device)
        copy = strong
        if self.options.inject:
            rho = certainty(logits, unlabeled.valid)
            self.notes["certainty"] = rho.mean()
            target = labeled.target
            true = Pseudo(labeled.image, target, torch.ones_like(confidence[:1]).expand(target.shape), labeled.valid)
            chosen = torch.rand(count).to(rho) > rho
            box = beta_box_mask(size, batch=count, shape=(8.0, 2.0), like=image) & chosen.view(-1, 1, 1)
            copy = strong.pasted(true.at(order % len(target)), box)
        return strong.pasted(copy.at(order), beta_box_mask(size, batch=count, shape=(4.0, 4.0), like=image))

    def _predict(self, labeled: Tensor, weak: Tensor, mixed: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the labeled and of the mixed images."""
        if self.options.statistics == "extra-weak":
            with torch.no_grad():
                self.student(weak)
        return whole_and_changed(self.student, labeled, mixed, joint=self.options.statistics == "every-pass")
