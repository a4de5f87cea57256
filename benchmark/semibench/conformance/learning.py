"""Whether a method learns: minutes, so only where it is asked for (`bench check NAME --slow`). Three labeled samples, four
dozen unlabeled ones, blobs on strong noise; a small budget that says something about faults and little about rank."""

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
from semibench.conformance.case import MethodCase
from semibench.conformance.data import BlobData, BlobPools, Pool, blobs
from semibench.contracts.method import IGNORE, Batch, Losses, Method
from semibench.contracts.schedule import Clock, Stream, Term
from semibench.reporting import Reporter
from semibench.training.loop import train

ITERATIONS = 200
BATCH = 2
NOISE = 1.0
SEEDS = (0,)


class LabeledOnly(Method):
    """The reference: the same network and budget, labeled samples only."""

    terms: Mapping[str, Term] = {"sup": Term()}
    streams = {"labeled": Stream("labeled")}

    def __init__(self, task: Any, backbones: Any, options: Any) -> None:
        super().__init__(task, backbones, options)
        self.net = backbones()

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: the supervised loss."""
        return {"sup": supervised_loss(self.net(batch["labeled"].image), batch["labeled"].target)}

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial)."""
        return self.net(images)


class FewLabels(BlobData):
    """One labeled and sixteen unlabeled samples of each domain, on strong noise."""

    def __init__(self, case: MethodCase, seed: int) -> None:
        super().__init__(case.task, case.method.streams, batch=BATCH, seed=seed)
        labeled = blobs(case.task, seed=100 + seed, per_domain=1, noise=NOISE)
        unlabeled = blobs(case.task, seed=200 + seed, per_domain=16, noise=NOISE)
        parts = ("image", "label", "valid", "domain")
        both = Pool(*(torch.cat([getattr(labeled, part), getattr(unlabeled, part)]) for part in parts))
        self._pools = {"labeled": labeled, "unlabeled": unlabeled, "all": both}
        self.pools = BlobPools(self._pools, len(case.task.classes))
        self.task = replace(case.task, cases={name: len(pool.image) for name, pool in self._pools.items()})


def dice(prediction: Tensor, label: Tensor) -> float:
    """Mean over samples of the foreground Dice (all foreground classes as one), padding left out. Both (B, *spatial)."""
    counted = label != IGNORE
    found, truth = (prediction > 0) & counted, (label > 0) & counted
    common = (found & truth).flatten(1).sum(1)
    return float((2 * common / (found.flatten(1).sum(1) + truth.flatten(1).sum(1)).clamp(min=1)).mean())


@dataclass(frozen=True, eq=False)
class LearningCase:
    """A method that is trained for some iterations with each of the seeds; results are computed once."""

    small: MethodCase
    iterations: int = ITERATIONS
    seeds: tuple[int, ...] = SEEDS

    def trained(self, case: MethodCase) -> float:
        """Mean Dice on samples that were not trained on."""
        case = replace(case, backbone_options={"width": 0.25})
        test = blobs(case.task, seed=999, per_domain=12, noise=NOISE)
        values = []
        for seed in self.seeds:
            method = case.build(seed)
            budget = {"lr": 0.02, "labeled_batch": BATCH, "unlabeled_batch": BATCH}
            recipe = case.recipe(self.iterations).model_copy(update=budget)
            with tempfile.TemporaryDirectory() as folder:
                train(
                    method, FewLabels(case, seed), recipe, seed=seed, device=torch.device("cpu"), folder=Path(folder),
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
        """Mean Dice of the labeled samples alone."""
        setting = self.small.dims, self.small.classes, self.small.channels
        network: Any = self.small.backbone
        return labels_alone(network, *setting, self.iterations, self.seeds)

    @cached_property
    def chance(self) -> float:
        """Mean Dice of calling everything foreground."""
        label = blobs(self.small.task, seed=999, per_domain=12, noise=NOISE).label
        return dice(torch.ones_like(label), label)


@functools.cache
def labels_alone(
    backbone: Any, dims: int, classes: int, channels: int, iterations: int, seeds: tuple[int, ...]
) -> float:
    """Mean Dice of the labeled samples alone with this network; methods of one process share it."""
    case = MethodCase(LabeledOnly, backbone, dims, classes, channels)
    return LearningCase(case, iterations, seeds).trained(case)


Check = Callable[[LearningCase], str]
"""Returns by how much, in words."""


def check_beats_chance(case: LearningCase) -> str:
    """After 200 iterations its Dice is above that of calling everything foreground (by 0.05)."""
    own, chance = case.own, case.chance
    words = f"Dice {own:.3f}; everything foreground gives {chance:.3f}: {own - chance:+.3f}"
    assert own > chance + 0.05, words
    return words


def check_unlabeled_samples_help(case: LearningCase) -> str:
    """With three labels and 48 unlabeled samples it is no worse than the same network on the labels alone (by 0.02)."""
    own, reference = case.own, case.reference
    words = f"Dice {own:.3f}, the labels alone give {reference:.3f}: {own - reference:+.3f}"
    assert own > reference - 0.02, words
    return words


LEARNING_CHECKS: Mapping[str, Check] = {
    name.removeprefix("check_"): function for name, function in globals().items() if name.startswith("check_")
}
"""All checks by name."""
