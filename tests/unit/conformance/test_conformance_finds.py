"""The battery finds what it is for: for each check a plugin that breaks exactly this fact."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import Field
from support.conformance_toys import Good, Tiny
from torch import Tensor, nn

from semibench import (
    Batch,
    Clock,
    DivergedError,
    Losses,
    Method,
    MethodOptions,
    PluginError,
    Stream,
    Term,
    UsageError,
)
from semibench.blocks import cross_entropy
from semibench.conformance import METHOD_CHECKS, MethodSubject


class Undeclared(Good):
    terms = {"sup": Term()}


class NeverGiven(Good):
    terms = {**Good.terms, "other": Term()}


class NotScalar(Good):
    def losses(self, batch: Batch, clock: Clock) -> Losses:
        losses = dict(super().losses(batch, clock))
        return {**losses, "sup": losses["sup"].expand(2)}


class WithoutGradient(Good):
    def step(self, batch: Batch, clock: Clock, optimise: Any) -> None:
        with torch.no_grad():
            super().step(batch, clock, optimise)


class LeavesGradient(Good):
    def step(self, batch: Batch, clock: Clock, optimise: Any) -> None:
        optimise(self.losses(batch, clock), step=False)


class OwnBackward(Good):
    def after_step(self, clock: Clock) -> None:
        with torch.enable_grad():
            next(iter(self.net.parameters())).sum().backward()


class DeadFilter(Good):
    def __init__(self, task: Any, backbones: Any, options: Any) -> None:
        super().__init__(task, backbones, options)
        self.unused = nn.Linear(2, 2)


class WakingTeacher(Good):
    def begin(self, stage: str, pools: Any) -> None:
        self.teacher.requires_grad_(True)


class OwnTeacher(Good):
    """A moving average by hand: its parameters belong to the optimiser, and its predictions have a graph."""

    def __init__(self, task: Any, backbones: Any, options: Any) -> None:
        super().__init__(task, backbones, options)
        self.average = copy.deepcopy(self.net)

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        losses = dict(super().losses(batch, clock))
        u = batch["unlabeled"].image
        return {**losses, "unsup": (self.net(u).softmax(1) - self.average(u + 0.1).softmax(1)).square().mean()}

    def after_step(self, clock: Clock) -> None:
        super().after_step(clock)
        for mine, theirs in zip(self.average.parameters(), self.net.parameters(), strict=True):
            mine.lerp_(theirs, 0.01)


class OverwritesBeforeLosses(OwnTeacher):
    """The same, but the average moves at the start of the next iteration."""

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        with torch.no_grad():
            super().after_step(clock)
        return super().losses(batch, clock)

    def after_step(self, clock: Clock) -> None:
        self.teacher.update(self.net)


class NetworksInAList(Good):
    def __init__(self, task: Any, backbones: Any, options: Any) -> None:
        super().__init__(task, backbones, options)
        self.others = [nn.Conv2d(1, len(task.classes), 1) for _ in range(2)]


class ParametersInADictionary(Good):
    def __init__(self, task: Any, backbones: Any, options: Any) -> None:
        super().__init__(task, backbones, options)
        self.prompts = {"first": [nn.Parameter(torch.zeros(3))]}


class KeepsItsLogits(Good):
    def losses(self, batch: Batch, clock: Clock) -> Losses:
        losses = super().losses(batch, clock)
        self.last = [losses["unsup"]]
        return losses


class BankWithAGraph(Good):
    def __init__(self, task: Any, backbones: Any, options: Any) -> None:
        super().__init__(task, backbones, options)
        self.register_buffer("bank", torch.zeros(()))

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        losses = super().losses(batch, clock)
        self.bank = losses["unsup"]
        return losses


class NeedsForeground(Good):
    def losses(self, batch: Batch, clock: Clock) -> Losses:
        losses = dict(super().losses(batch, clock))
        found = (batch["labeled"].target == 1).sum()
        return {**losses, "sup": losses["sup"] / found * 100}


class RoundsItsConstantAway(Good):
    """In bfloat16, 1 + 1e-6 is 1."""

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        ones = torch.ones_like(self.net(batch["labeled"].image))
        losses = dict(super().losses(batch, clock))
        return {**losses, "sup": losses["sup"] - 1e-3 * (ones + 1e-6 - 1).log().mean()}


class HiddenMemory(Good):
    count = 0

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        self.count += 1
        return {name: value * self.count for name, value in super().losses(batch, clock).items()}


class GrowingBank(Good):
    def __init__(self, task: Any, backbones: Any, options: Any) -> None:
        super().__init__(task, backbones, options)
        self.register_buffer("bank", torch.zeros(0))

    def after_step(self, clock: Clock) -> None:
        super().after_step(clock)
        self.bank = torch.cat([self.bank, torch.ones(1)])


class LearnsAtTest(Good):
    def __init__(self, task: Any, backbones: Any, options: Any) -> None:
        super().__init__(task, backbones, options)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        self.seen += 1
        return self.net(images)


class BatchStatistics(Good):
    def forward(self, images: Tensor) -> Tensor:
        return self.net(images - images.mean())


class OneChannel(Good):
    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)[:, 1:]


class OtherDefault(Good):
    def predictors(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        return {"other": lambda images: self.net(images) + 1, "net": self}


class NarrowGate(Good):
    terms = {"sup": Term(), "unsup": Term(active=(0.5001, 0.5002))}


class TwoNames(Good):
    def __init__(self, task: Any, backbones: Any, options: Any) -> None:
        super().__init__(task, backbones, options)
        self.again = self.net.fine


class OwnClock(Good):
    def losses(self, batch: Batch, clock: Clock) -> Losses:
        return {name: value * (1 + time.perf_counter() % 1) for name, value in super().losses(batch, clock).items()}


class BlindToSeeds(Good):
    """Every seed gives one network and one training."""

    def __init__(self, task: Any, backbones: Any, options: Any) -> None:
        torch.manual_seed(7)
        super().__init__(task, backbones, options)

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        torch.manual_seed(clock.step)
        return super().losses(batch, clock)


class LooseOptions(Good):
    class Options(MethodOptions, frozen=True, extra="ignore"):
        pass


class WrongPreset(Good):
    presets = {"x": {"terms": {"supp": 2.0}}}


class PeeksAtLabels(Good):
    def losses(self, batch: Batch, clock: Clock) -> Losses:
        cross_entropy(self.net(batch["unlabeled"].image), batch["unlabeled"].target)
        return super().losses(batch, clock)


class TwoClassesOnly(Good):
    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)[:, :2]


class GreyOnly(Good):
    def losses(self, batch: Batch, clock: Clock) -> Losses:
        return {
            name: value * float("nan" if batch["labeled"].image.shape[1] > 1 else 1)
            for name, value in super().losses(batch, clock).items()
        }


class Refuses(Good):
    @classmethod
    def unsupported(cls, task: Any, options: Any) -> str | None:
        return "never"


class Weighted(Good):
    def losses(self, batch: Batch, clock: Clock) -> Losses:
        losses = super().losses(batch, clock)
        return {**losses, "unsup": self.weight("unsup", clock) * losses["unsup"]}


class LeastWeight(Good):
    """A weight of 0 isn't obeyed."""

    def weight(self, term: str, clock: Clock) -> float:
        return max(super().weight(term, clock), 0.1)


class BeginsAgain(Good):
    """Begins anew in each process."""

    began = False

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        if not self.began:
            self.began = True
            self.begin(clock.stage, None)
        return super().losses(batch, clock)


class OutsideTheState(Good):
    """Predicts with what no state holds."""

    shift = 0.0

    def after_step(self, clock: Clock) -> None:
        super().after_step(clock)
        self.shift += 1.0

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images) + torch.tensor([self.shift, *[0.0] * (len(self.task.classes) - 1)]).view(1, -1, 1, 1)

    def __init__(self, task: Any, backbones: Any, options: Any) -> None:
        super().__init__(task, backbones, options)
        self.task = task


class CodeInTheState(Good):
    def get_extra_state(self) -> Any:
        return Path("code")

    def set_extra_state(self, state: Any) -> None:
        pass


class TypelessOption(Good):
    class Options(MethodOptions, frozen=True, extra="forbid"):
        strength: Any = 1.0


class BadDefault(Good):
    class Options(MethodOptions, frozen=True, extra="forbid"):
        strength: float = Field(2.0, lt=1.0)


BROKEN: list[tuple[type[Method], str]] = [
    (Undeclared, "losses_are_declared"),
    (NeverGiven, "losses_are_declared"),
    (NotScalar, "losses_are_finite_scalars"),
    (Weighted, "losses_are_unweighted"),
    (LeastWeight, "zero_weight_changes_no_digit"),
    (BeginsAgain, "begin_runs_once"),
    (OutsideTheState, "state_round_trips"),
    (CodeInTheState, "state_round_trips"),
    (TypelessOption, "options_validate"),
    (BadDefault, "options_validate"),
    (WithoutGradient, "optimise_has_gradients"),
    (LeavesGradient, "no_gradient_is_left"),
    (OwnBackward, "no_gradient_is_left"),
    (DeadFilter, "every_parameter_is_trained"),
    (WakingTeacher, "teachers_get_no_gradient"),
    (OwnTeacher, "trained_weights_are_not_overwritten"),
    (OverwritesBeforeLosses, "trained_weights_are_not_overwritten"),
    (NetworksInAList, "networks_are_registered"),
    (ParametersInADictionary, "networks_are_registered"),
    (KeepsItsLogits, "no_graph_outlives_an_iteration"),
    (BankWithAGraph, "no_graph_outlives_an_iteration"),
    (NeedsForeground, "empty_foreground"),
    (RoundsItsConstantAway, "trains_in_half_precision"),
    (HiddenMemory, "resumes_to_the_same_digits"),
    (GrowingBank, "buffers_keep_their_shape"),
    (LearnsAtTest, "prediction_changes_nothing"),
    (BatchStatistics, "prediction_is_independent_of_the_batch"),
    (OneChannel, "predictor_shapes"),
    (OtherDefault, "predictor_shapes"),
    (NarrowGate, "small_budget_passes_every_gate"),
    (TwoNames, "no_parameter_has_two_names"),
    (OwnClock, "same_seed_same_losses"),
    (BlindToSeeds, "same_seed_same_losses"),
    (LooseOptions, "options_refuse_unknown_keys"),
    (WrongPreset, "presets_are_valid"),
    (PeeksAtLabels, "unlabeled_labels_are_absent"),
    (TwoClassesOnly, "runs_with_four_classes"),
    (GreyOnly, "runs_with_three_channels"),
    (Refuses, "supports_its_task"),
]


@pytest.mark.slow
@pytest.mark.parametrize("fact", METHOD_CHECKS)
def test_a_correct_method_passes(fact: str) -> None:
    torch.set_num_threads(1)
    assert METHOD_CHECKS[fact](MethodSubject(Good, Tiny)) is None


@pytest.mark.slow
@pytest.mark.parametrize(("method", "fact"), BROKEN, ids=[kind.__name__ for kind, _ in BROKEN])
def test_a_broken_method_is_found(method: type[Method], fact: str) -> None:
    torch.set_num_threads(1)
    with pytest.raises((AssertionError, PluginError, UsageError, LookupError, DivergedError)) as caught:
        METHOD_CHECKS[fact](MethodSubject(method, Tiny))
    assert str(caught.value), "the failure says what is wrong"


@pytest.mark.parametrize(
    ("method", "holds"),
    [(TwoClassesOnly, "runs_with_three_channels"), (GreyOnly, "runs_with_four_classes")],
)
def test_a_rehearsal_that_serves_two_checks_blames_one(method: type[Method], holds: str) -> None:
    broken = next(fact for kind, fact in BROKEN if kind is method)
    check_holds, check_broken = METHOD_CHECKS[holds], METHOD_CHECKS[broken]
    check_holds(MethodSubject(method, Tiny))
    with pytest.raises((AssertionError, PluginError, UsageError, LookupError, DivergedError)):
        check_broken(MethodSubject(method, Tiny))


def test_the_term_that_a_weight_of_0_does_not_silence_is_named() -> None:
    class OneOfThree(Good):
        terms = {"first": Term(), "sup": Term(), "unsup": Term()}

        def losses(self, batch: Batch, clock: Clock) -> Losses:
            losses = dict(super().losses(batch, clock))
            return {**losses, "first": losses["sup"]}

        def weight(self, term: str, clock: Clock) -> float:
            return max(super().weight(term, clock), 0.1 if term == "unsup" else 0.0)

    with pytest.raises(AssertionError) as caught:
        METHOD_CHECKS["zero_weight_changes_no_digit"](MethodSubject(OneOfThree, Tiny))
    assert "'unsup'" in str(caught.value) and "'first'" not in str(caught.value)


def test_every_check_of_a_method_has_its_broken_method() -> None:
    assert {fact for _, fact in BROKEN} == set(METHOD_CHECKS)


def test_streams_of_the_synthetic_data() -> None:
    class Many(Good):
        streams = {
            "labeled": Stream("labeled", strong=2),
            "every": Stream("all"),
            "domains": Stream("labeled", per_domain=True, size=1.0),
        }

    case = MethodSubject(Many, Tiny)
    data = case.data()
    batch = data.batch(7)
    assert len(batch["labeled"].strong) == 2 and batch["labeled"].strong[0].shape == batch["labeled"].image.shape
    assert len(batch["every"].image) == 4 and batch["every"].label is None
    assert batch["domains"].domain.tolist() == [0, 0, 1, 1, 2, 2]
    again = data.batch(7)
    assert torch.equal(batch["labeled"].strong[1], again["labeled"].strong[1])
    assert data.pools.class_voxels().sum() + 2 * 32 == 12 * 32 * 32
    assert sum(len(part.image) for part in data.pools.batches("all")) == 24
