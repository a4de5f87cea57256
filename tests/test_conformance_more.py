"""The batteries for data sets, protocols and generators: every built-in passes; methods in company."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conformance_toys import Good, Tiny
from torch import Tensor

from semibench import (
    Batch,
    Clock,
    Losses,
    UnknownNameError,
    UsageError,
)
from semibench.conformance import (
    METHOD_RUN_CHECKS,
    BoundCheck,
    MethodCase,
    MethodRunCase,
    checks_of,
)
from semibench.conformance.battery import CHECKS
from semibench.conformance.learning import LEARNING_CHECKS, LearningCase
from semibench.registry import registry

torch.set_num_threads(1)
KNOWN: dict[str, str] = {}
"""Id of a check -> why it fails for now; shown as xfail, and an error once it passes."""

SMALL = {"latent-diffusion": {"vae_steps": 2, "unet_steps": 2, "ddim_steps": 2}}


def cases() -> list[Any]:
    found = []
    for kind in ("dataset", "protocol", "generator"):
        for item in registry().cards(f"{kind}s"):
            if item.distribution != "semibench":
                continue
            for check in checks_of(item.name, kind, options=SMALL.get(item.name)):
                if check.fact == "import_of_cards_is_light":
                    continue  # one test for all below: a process each costs more than it says
                marks = [pytest.mark.xfail(reason=KNOWN[str(check)], strict=True)] if str(check) in KNOWN else []
                found.append(pytest.param(check, id=str(check), marks=marks))
    return found


@pytest.mark.parametrize("check", cases())
def test_conformance_of_built_ins(check: BoundCheck) -> None:
    assert check.reason() is None


@pytest.mark.parametrize("name", ["mean-teacher", "unet", "tus", "self", "latent-diffusion"])
def test_cards_are_light(name: str) -> None:
    (check,) = [check for check in checks_of(name) if check.fact == "import_of_cards_is_light"]
    assert check.reason() is None


def test_every_check_says_what_must_hold() -> None:
    assert all(function.__doc__ for checks in CHECKS.values() for function in checks.values())


def test_names_are_looked_up_with_hints() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'mean-teacher'"):
        checks_of("mean-techer")
    with pytest.raises(UnknownNameError, match="kind with a battery"):
        checks_of("mean-teacher", "recipe")
    with pytest.raises(UsageError, match="no_such_fact"):
        checks_of("self", known={"no_such_fact": "why"})


def test_a_known_failure_carries_its_reason() -> None:
    (check,) = [check for check in checks_of("self", known={"draws_differ": "why"}) if check.known]
    assert (check.fact, check.known) == ("draws_differ", "why")


# Methods in company


def method_runs(fact: str) -> list[Any]:
    names = [item.name for item in registry().cards("methods") if item.distribution == "semibench"]
    small = {"adaoutput": {"critic_filters": 4}}
    found = [
        check for name in names for check in checks_of(name, "method", options=small.get(name)) if check.fact == fact
    ]
    return [pytest.param(check, id=str(check)) for check in found]


IN_COMPANY = [
    parameter
    for fact in ("touches_no_file_and_no_network", "predicts_odd_sizes")
    for parameter in method_runs(fact)
    if "-2d-" in str(parameter.id) or fact == "predicts_odd_sizes"
]


@pytest.mark.parametrize("check", IN_COMPANY)
def test_methods_in_company(check: BoundCheck) -> None:
    assert check.reason() is None


@pytest.mark.slow
@pytest.mark.parametrize("check", method_runs("a_short_run_on_a_phantom"))
def test_a_short_run_of_every_method(check: BoundCheck) -> None:
    assert check.reason() is None


class Logging(Good):
    place = ""

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        with Path(self.place).open("a") as log:
            log.write("step")
        return super().losses(batch, clock)


class Shrinking(Good):
    def forward(self, images: Tensor) -> Tensor:
        logits = super().forward(images)
        return logits if logits.shape[-1] <= 32 else logits / 0.0 * 0.0


def test_a_method_that_writes_files_is_found(tmp_path: Path) -> None:
    check = METHOD_RUN_CHECKS["touches_no_file_and_no_network"]
    check(MethodRunCase(MethodCase(Good, Tiny)))
    Logging.place = str(tmp_path / "log.txt")
    with pytest.raises(AssertionError, match=r"log\.txt"):
        check(MethodRunCase(MethodCase(Logging, Tiny)))


def test_a_method_that_fails_on_odd_sizes_is_found() -> None:
    check = METHOD_RUN_CHECKS["predicts_odd_sizes"]
    check(MethodRunCase(MethodCase(Good, Tiny)))
    with pytest.raises(AssertionError, match="NaN"):
        check(MethodRunCase(MethodCase(Shrinking, Tiny)))


# Learning


@pytest.mark.parametrize(
    ("scores", "broken"),
    [
        ((0.8, 0.7, 0.2), set()),
        ((0.7, 0.71, 0.2), set()),
        ((0.6, 0.8, 0.2), {"unlabeled_samples_help"}),
        ((0.21, 0.8, 0.2), {"beats_chance", "unlabeled_samples_help"}),
    ],
)
def test_what_counts_as_learning(scores: tuple[float, float, float], broken: set[str]) -> None:
    case = LearningCase(MethodCase(Good, Tiny))
    case.__dict__["scores"] = scores
    found = set()
    for fact, check in LEARNING_CHECKS.items():
        try:
            check(case)
        except AssertionError as error:
            assert f"{scores[0]:.3f}" in str(error)
            found.add(fact)
    assert found == broken


@pytest.mark.slow
def test_mean_teacher_learns() -> None:
    found = [check for check in checks_of("mean-teacher", slow=True) if check.fact in LEARNING_CHECKS]
    assert [check.reason() for check in found] == [None, None]  # they share one case: it is trained once
