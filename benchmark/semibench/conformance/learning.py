"""Checks whether a method learns from three labeled and 48 unlabeled samples: blobs on strong noise.

They take minutes, so they run on request only (`bench check NAME --slow`). The budget is small: a failure points to a fault,
but the figures say little about how methods rank.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semibench.blocks import supervised_loss
from semibench.conformance.data import BlobData, BlobPools, Pool, blobs
from semibench.conformance.subject import MethodSubject
from semibench.contracts.method import IGNORE, Batch, Losses, Method
from semibench.contracts.schedule import Clock, Stream, Term
from semibench.reporting import Reporter
from semibench.training.loop import train

ITERATIONS = 200
BATCH = 2
NOISE = 1.0
SEEDS = (0,)


class LabeledOnly(Method):
    """The reference: the same network and budget, trained on the labeled samples only."""

    terms: Mapping[str, Term] = {"sup": Term()}
    streams = {"labeled": Stream("labeled")}

    def __init__(self, task: Any, backbones: Any, options: Any) -> None:
        super().__init__(task, backbones, options)
        self.net = backbones()

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """Returns the supervised loss as `sup`."""
        return {"sup": supervised_loss(self.net(batch["labeled"].image), batch["labeled"].target)}

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (B, C, *spatial) to logits (B, K, *spatial)."""
        return self.net(images)


class FewLabels(BlobData):
    """One labeled and sixteen unlabeled samples per domain, on strong noise."""

    def __init__(self, subject: MethodSubject, seed: int) -> None:
        super().__init__(subject.task, subject.method.streams, batch=BATCH, seed=seed)
        labeled = blobs(subject.task, seed=100 + seed, per_domain=1, noise=NOISE)
        unlabeled = blobs(subject.task, seed=200 + seed, per_domain=16, noise=NOISE)
        parts = ("image", "label", "valid", "domain")
        both = Pool(*(torch.cat([getattr(labeled, part), getattr(unlabeled, part)]) for part in parts))
        self._pools = {"labeled": labeled, "unlabeled": unlabeled, "all": both}
        self.pools = BlobPools(self._pools, len(subject.task.classes))
        self.task = replace(subject.task, cases={name: len(pool.image) for name, pool in self._pools.items()})


def dice(prediction: Tensor, label: Tensor) -> float:
    """Returns the mean over samples of the foreground Dice (all classes as one), without padding. Both are (B, *spatial)."""
    counted = label != IGNORE
    predicted, truth = (prediction > 0) & counted, (label > 0) & counted
    common = (predicted & truth).flatten(1).sum(1)
    return float((2 * common / (predicted.flatten(1).sum(1) + truth.flatten(1).sum(1)).clamp(min=1)).mean())


@dataclass(frozen=True, eq=False)
class LearningSubject:
    """A method to train with each of the seeds; each figure is computed once."""

    small: MethodSubject
    iterations: int = ITERATIONS
    seeds: tuple[int, ...] = SEEDS

    def trained(self, subject: MethodSubject) -> float:
        """Trains with each seed and returns the mean Dice on test samples."""
        subject = replace(subject, backbone_options={"width": 0.25})
        test = blobs(subject.task, seed=999, per_domain=12, noise=NOISE)
        values = []
        for seed in self.seeds:
            method = subject.build(seed)
            budget = {"lr": 0.02, "labeled_batch": BATCH, "unlabeled_batch": BATCH}
            recipe = subject.recipe(self.iterations).model_copy(update=budget)
            with tempfile.TemporaryDirectory() as folder:
                train(
                    method, FewLabels(subject, seed), recipe, seed=seed, device=torch.device("cpu"), folder=Path(folder),
                    validate=None, reporter=Reporter(),
                )  # fmt: skip
            method.eval()
            with torch.no_grad():
                values.append(dice(method(test.image).argmax(1), test.label))
        return sum(values) / len(values)

    @cached_property
    def own(self) -> float:
        """Mean Dice of the method."""
        return self.trained(self.small)

    @cached_property
    def reference(self) -> float:
        """Mean Dice of the same network trained on the labeled samples only."""
        shape = self.small.dims, self.small.classes, self.small.channels
        network: Any = self.small.backbone
        return labels_alone(network, *shape, self.iterations, self.seeds)

    @cached_property
    def chance(self) -> float:
        """Mean Dice of predicting foreground everywhere."""
        label = blobs(self.small.task, seed=999, per_domain=12, noise=NOISE).label
        return dice(torch.ones_like(label), label)


@functools.cache
def labels_alone(
    backbone: Any, dims: int, classes: int, channels: int, iterations: int, seeds: tuple[int, ...]
) -> float:
    """Returns the mean Dice of this network trained on the labeled samples only. All methods checked in one process share it."""
    subject = MethodSubject(LabeledOnly, backbone, dims, classes, channels)
    return LearningSubject(subject, iterations, seeds).trained(subject)


Check = Callable[[LearningSubject], str]
"""Returns the figures as a sentence."""


def check_beats_chance(subject: LearningSubject) -> str:
    """After 200 iterations, the Dice exceeds that of predicting foreground everywhere by more than 0.05."""
    own, chance = subject.own, subject.chance
    figures = f"Dice {own:.3f}; everything foreground gives {chance:.3f}: {own - chance:+.3f}"
    assert own > chance + 0.05, figures
    return figures


def check_unlabeled_samples_help(subject: LearningSubject) -> str:
    """With 48 unlabeled samples, the Dice is at most 0.02 below that of the same network trained on the three labels alone."""
    own, reference = subject.own, subject.reference
    figures = f"Dice {own:.3f}, the labels alone give {reference:.3f}: {own - reference:+.3f}"
    assert own > reference - 0.02, figures
    return figures


LEARNING_CHECKS: Mapping[str, Check] = {
    name.removeprefix("check_"): function for name, function in globals().items() if name.startswith("check_")
}
"""All checks of learning, by name."""
