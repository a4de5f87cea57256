"""Checks of a method that was trained on three labeled and 48 unlabeled samples: blobs on strong noise.

Training takes a while, so they run on request only (`bench check NAME --slow`). The budget is small: a failure points to a
fault, but the figures say little about how methods rank, nor what unlabeled samples are worth. Boards measure that.
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
from torch import Tensor, nn

from semibench.blocks import estimate_statistics, supervised_loss
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
BATCHES = 25
"""From how many batches the running statistics are estimated again."""
MARGIN = 0.05
"""By how much the Dice must exceed chance, and how much it may change by running statistics of whole images."""


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


class Predicting(nn.Module):
    """A method whose forward pass is that of one of its predictors."""

    def __init__(self, method: Method, predictor: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.method, self.predictor = method, predictor

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (B, C, *spatial) to logits (B, K, *spatial)."""
        return self.predictor(images)


@dataclass(frozen=True)
class Outcome:
    """Mean Dice of a predictor on test samples. saved: with the running statistics that training left. estimated: with
    statistics estimated again on whole images of training batches, without noise, masks or mixing."""

    saved: float
    estimated: float

    @property
    def gap(self) -> float:
        """The gain by estimating the statistics again."""
        return self.estimated - self.saved


@dataclass(frozen=True, eq=False)
class LearningSubject:
    """A method to train with each of the seeds; each figure is computed once."""

    small: MethodSubject
    iterations: int = ITERATIONS
    seeds: tuple[int, ...] = SEEDS

    @cached_property
    def outcomes(self) -> Mapping[str, Outcome]:
        """Predictor -> its Dice, a mean over the seeds. The default predictor comes first."""
        runs = [self._trained(seed) for seed in self.seeds]
        return {
            name: Outcome(*(sum(values) / len(runs) for values in zip(*(run[name] for run in runs), strict=True)))
            for name in runs[0]
        }

    def _trained(self, seed: int) -> dict[str, tuple[float, float]]:
        """Trains with this seed and returns for each predictor the Dice with saved and with estimated statistics."""
        subject = replace(self.small, backbone_options={"width": 0.25})
        method, data = subject.build(seed), FewLabels(subject, seed)
        budget = {"lr": 0.02, "labeled_batch": BATCH, "unlabeled_batch": BATCH}
        recipe = subject.recipe(self.iterations).model_copy(update=budget)
        with tempfile.TemporaryDirectory() as folder:
            train(
                method, data, recipe, seed=seed, device=torch.device("cpu"), folder=Path(folder), validate=None,
                reporter=Reporter(),
            )  # fmt: skip
        return dice_of_predictors(method.eval(), data, blobs(subject.task, seed=999, per_domain=12, noise=NOISE))

    @cached_property
    def own(self) -> float:
        """Mean Dice of the method's default predictor."""
        return next(iter(self.outcomes.values())).saved

    @cached_property
    def reference(self) -> float:
        """Mean Dice of the same network trained on the labeled samples only. It is information, no check judges by it."""
        shape = self.small.dims, self.small.classes, self.small.channels
        network: Any = self.small.backbone
        return labels_alone(network, *shape, self.iterations, self.seeds)

    @cached_property
    def chance(self) -> float:
        """Mean Dice of predicting foreground everywhere."""
        label = blobs(self.small.task, seed=999, per_domain=12, noise=NOISE).label
        return dice(torch.ones_like(label), label)


@torch.no_grad()
def dice_of_predictors(method: Method, data: FewLabels, test: Pool) -> dict[str, tuple[float, float]]:
    """Returns for each predictor of a trained method the Dice with the running statistics as they are, and with statistics
    estimated again on the images of training batches, so that both saw labeled and unlabeled images in equal shares."""
    saved = {name: value.clone() for name, value in method.named_buffers()}
    figures = {}
    for name, predictor in method.predictors().items():
        before = dice(predictor(test.image).argmax(1), test.label)
        batches = (data.batch(iteration).values() for iteration in range(BATCHES))
        estimate_statistics(Predicting(method, predictor), (torch.cat([one.image for one in each]) for each in batches))
        figures[name] = before, dice(predictor(test.image).argmax(1), test.label)
        for key, value in method.named_buffers():
            value.copy_(saved[key])
    return figures


@functools.cache
def labels_alone(
    backbone: Any, dims: int, classes: int, channels: int, iterations: int, seeds: tuple[int, ...]
) -> float:
    """Returns the mean Dice of this network trained on the labeled samples only. All methods checked in one process share it."""
    subject = MethodSubject(LabeledOnly, backbone, dims, classes, channels)
    return LearningSubject(subject, iterations, seeds).own


Check = Callable[[LearningSubject], str]
"""Returns the figures as a sentence."""


def check_beats_chance(subject: LearningSubject) -> str:
    """After 200 iterations, the Dice exceeds that of predicting foreground everywhere by more than 0.05."""
    own, chance = subject.own, subject.chance
    figures = f"Dice {own:.3f}; everything foreground gives {chance:.3f}: {own - chance:+.3f}"
    assert own > chance + MARGIN, figures
    return figures


def check_running_statistics_fit(subject: LearningSubject) -> str:
    """For every predictor, the Dice changes by at most 0.05 when the running statistics that training leaves are estimated
    again on whole, clean images of training batches."""
    figures = {
        name: f"{name}: Dice {one.saved:.3f} as trained, {one.estimated:.3f} with statistics of whole images: {one.gap:+.3f}"
        for name, one in subject.outcomes.items()
    }
    wrong = [figures[name] for name, one in subject.outcomes.items() if abs(one.gap) > MARGIN]
    assert not wrong, (
        f"{'; '.join(wrong)}. Passes over images that aren't tested (noised, masked, mixed) move the running statistics: run "
        'them under `semibench.blocks.frozen_statistics`; a teacher that sees only such images takes buffers="ema"'
    )
    return "; ".join(figures.values())


LEARNING_CHECKS: Mapping[str, Check] = {
    name.removeprefix("check_"): function for name, function in globals().items() if name.startswith("check_")
}
"""All checks of learning, by name."""
