"""S4CVNet, cross teaching of a convolutional network and a transformer with a teacher (Wang et al., ECCV Workshops 2022)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from semibench import Backbones, Batch, Clock, Losses, Ramp, Task, Term
from semibench.blocks import Teacher, frozen_statistics, soft_dice, softmax_mse
from semibench_plugins.methods.pseudo_labels.cps import pseudo_labels
from semibench_plugins.methods.pseudo_labels.cross_teaching import (
    CROSS_TEACHING_RECIPE,
    CrossTeaching,
    CrossTeachingOptions,
)


class S4CVNet(CrossTeaching):
    """A convolutional network (f1) and a transformer (f2) learn from each other's labels, and from the average of f2.

    L = L_sup(f1) + L_sup(f2) + w_c [Dice(p1, argmax p2) + Dice(p2, argmax p1)] + w_t sum_i mean (p_i - q)^2 on unlabeled
    samples. The teacher is the moving average of the transformer, q its softmax on x + n, n = clip(N(0, .1), +-.2). Both
    weights rise linearly in 200 steps: w_t to .1, w_c to .7 (the code's factor 7 on the same .1, which it marks as
    adjustable). w_t is 0 for the first 1000 of 30000 iterations. The teacher is in training mode, so its dropout
    is active; where it has running statistics, they follow the transformer's.

    The weights are those of the code. Preset `acdc`: the recipe of the script. Scored: the teacher (as published), the
    convolutional network, the transformer, and the mean of these two networks' logits. The authors start the transformer
    from ImageNet weights; here it starts from random weights, which costs it much: on the battery's toy the teacher reaches
    a Dice of .75, the convolutional network .88 (labels alone .84).
    """

    terms: Mapping[str, Term] = {
        "sup": Term(),
        "cross": Term(0.7, Ramp("linear", levels=200), search=(0.05, 3.0), unlabeled=True),
        "consistency": Term(
            0.1, Ramp("linear", levels=200), active=(1 / 30, math.inf), search=(0.01, 1.0), unlabeled=True
        ),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"acdc": {"recipe": CROSS_TEACHING_RECIPE}}

    class Options(CrossTeachingOptions, frozen=True, extra="forbid"):
        """Options of `s4cvnet`."""

        decay: float = Field(0.99, ge=0.0, le=1.0, description="largest decay of the average; useful range .9 to .999")
        noise: float = Field(
            0.1, ge=0.0, description="standard deviation of the teacher's input noise; useful .02 to .2"
        )

    def __init__(self, task: Task, backbones: Backbones, options: S4CVNet.Options) -> None:
        super().__init__(task, backbones, options)
        self.noise = options.noise
        self.teacher = Teacher(self.second, options.decay, buffers="ema", mode="train")

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: labeled part, sum over the networks; cross, consistency: unlabeled part, sum over the networks."""
        unlabeled = batch["unlabeled"]
        valid = unlabeled.valid
        sup, a, b = self.supervised_and_unlabeled(batch)
        losses = {"sup": sup, "cross": soft_dice(a, pseudo_labels(b, valid)) + soft_dice(b, pseudo_labels(a, valid))}
        if not self.weight("consistency", clock):
            return losses
        noise = (self.noise * torch.randn_like(unlabeled.image)).clamp(-2 * self.noise, 2 * self.noise)
        with frozen_statistics(self.teacher):
            goal = self.teacher(unlabeled.image + noise).float().softmax(1)
        return {**losses, "consistency": softmax_mse(a, goal, valid=valid) + softmax_mse(b, goal, valid=valid)}

    def after_step(self, clock: Clock) -> None:
        """Updates the moving average of the transformer."""
        self.teacher.update(self.second)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial) of the teacher."""
        logits: Tensor = self.teacher(images)
        return logits

    def predictors(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """The teacher, the two networks, and the mean of their logits."""
        return {"teacher": self.teacher, **super().predictors()}
