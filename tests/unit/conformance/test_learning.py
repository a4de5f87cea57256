"""What counts as learning, by given scores, and running statistics of other images than the tested ones. (Whether the built-in
methods learn: tests/battery/test_learning.py.)"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.conformance_toys import Good, Tiny
from torch import Tensor

from semibench import Batch, Clock, Losses, Method
from semibench.blocks import Teacher, frozen_statistics
from semibench.conformance import MethodSubject
from semibench.conformance.learning import LEARNING_CHECKS, LearningSubject, Outcome

BEATS_CHANCE, FIT = LEARNING_CHECKS["beats_chance"], LEARNING_CHECKS["running_statistics_fit"]


def scored(chance: float = 0.2, **outcomes: Outcome) -> LearningSubject:
    subject = LearningSubject(MethodSubject(Good, Tiny))
    subject.__dict__.update(chance=chance, outcomes=outcomes)
    return subject


@pytest.mark.parametrize(("own", "holds"), [(0.8, True), (0.26, True), (0.24, False), (0.1, False)])
def test_what_counts_as_learning(own: float, holds: bool) -> None:
    """The default predictor decides, with its statistics as trained."""
    subject = scored(main=Outcome(own, 0.9), teacher=Outcome(1.0, 1.0))
    if holds:
        assert f"Dice {own:.3f}; everything foreground gives 0.200: {own - 0.2:+.3f}" in BEATS_CHANCE(subject)
    else:
        with pytest.raises(AssertionError, match=f"Dice {own:.3f}"):
            BEATS_CHANCE(subject)


def test_how_much_may_be_lost_by_running_statistics() -> None:
    """In either direction, and by the predictors that aren't the default one, too."""
    fine = Outcome(0.5, 0.54)
    assert FIT(scored(main=fine, teacher=Outcome(0.5, 0.46))).count("with statistics of whole images") == 2
    with pytest.raises(
        AssertionError, match=r"^teacher: Dice 0\.500 as trained, 0\.300 with statistics of whole images: -0.200"
    ):
        FIT(scored(main=fine, teacher=Outcome(0.5, 0.3)))
    with pytest.raises(AssertionError) as caught:
        FIT(scored(main=fine, teacher=Outcome(0.5, 0.56)))
    assert str(caught.value).startswith("teacher: Dice 0.500 as trained, 0.560 with statistics of whole images: +0.060")
    assert "frozen_statistics" in str(caught.value)


def noised(images: Tensor) -> Tensor:
    """Bright noise, unlike any image of the toy."""
    return images + 6.0 + 6.0 * torch.randn_like(images)


class LooksAtNoise(Good):
    """Before it learns, the network sees noise in training mode, without gradient."""

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        with torch.no_grad():
            self.net(noised(batch["unlabeled"].image))
        return super().losses(batch, clock)


class LooksAtNoiseFrozen(LooksAtNoise):
    def losses(self, batch: Batch, clock: Clock) -> Losses:
        with torch.no_grad(), frozen_statistics(self.net):
            self.net(noised(batch["unlabeled"].image))
        return Good.losses(self, batch, clock)


class TeacherOfNoise(Good):
    """Only the teacher sees noise, and its statistics are its own."""

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        self.teacher(noised(batch["unlabeled"].image))
        return super().losses(batch, clock)


class TeacherOfNoiseFrozen(Good):
    """Its statistics follow those of the network."""

    def __init__(self, task: Any, backbones: Any, options: Any) -> None:
        super().__init__(task, backbones, options)
        self.teacher = Teacher(self.net, 0.9, buffers="ema")

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        with frozen_statistics(self.teacher):
            self.teacher(noised(batch["unlabeled"].image))
            return super().losses(batch, clock)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "wrong"),
    [(LooksAtNoise, ["net"]), (LooksAtNoiseFrozen, []), (TeacherOfNoise, ["teacher"]), (TeacherOfNoiseFrozen, [])],
)
def test_statistics_of_noise_are_found(method: type[Method], wrong: list[str]) -> None:
    torch.set_num_threads(1)
    subject = LearningSubject(MethodSubject(method, Tiny), iterations=60)
    assert [name for name, one in subject.outcomes.items() if abs(one.gap) > 0.05] == wrong
    if not wrong:
        FIT(subject)
    else:
        with pytest.raises(AssertionError, match=f"^{wrong[0]}: Dice"):
            FIT(subject)
