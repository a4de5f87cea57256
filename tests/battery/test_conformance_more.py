"""The batteries for data sets, protocols and generators: every built-in passes; methods in company."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.conformance_toys import Good, Tiny

from semibench import UnknownNameError, UsageError
from semibench.conformance import BoundCheck, MethodCase, battery, checks_of
from semibench.conformance.battery import CHECKS
from semibench.conformance.learning import LEARNING_CHECKS, LearningCase
from semibench.contracts.deprecation import DEPRECATIONS
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


@pytest.mark.no_cover
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


def test_a_battery_of_all_kinds_and_its_old_form() -> None:
    kinds = {check.kind for check in battery()}
    assert kinds == set(CHECKS)
    new = [str(check) for check in battery({"method": ["supervised"], "backbone": ["vnet"]})]
    with pytest.warns(DeprecationWarning) as warned:
        assert [str(check) for check in battery(methods=["supervised"], backbones=["vnet"])] == new
    assert [str(DEPRECATIONS[f"battery({kind}s=...)"]) for kind in ("method", "backbone")] == [
        str(one.message) for one in warned
    ]
    assert all(one.filename == __file__ for one in warned), "the warning points at who uses the old form"
    with pytest.raises(UnknownNameError, match="kind with a battery"):
        battery({"recipe": None})


def test_a_known_failure_carries_its_reason() -> None:
    (check,) = [check for check in checks_of("self", known={"draws_differ": "why"}) if check.known]
    assert (check.fact, check.known) == ("draws_differ", "why")


# Methods in company


def method_runs(*facts: str) -> list[list[BoundCheck]]:
    """For each method and dims the checks of these facts, which share what they compute."""
    small = {"adaoutput": {"critic_filters": 4}, "ctct": {"second_width": 0.125}}
    found: dict[tuple[str, int], list[BoundCheck]] = {}
    for item in registry().cards("methods"):
        if item.distribution == "semibench":
            for check in checks_of(item.name, "method", options=small.get(item.name)):
                if check.fact in facts:
                    found.setdefault((check.name, check.dims), []).append(check)
    return list(found.values())


IN_COMPANY = [
    pytest.param(check, id=str(check))
    for fact in ("touches_no_file_and_no_network", "hidden_labels_change_no_digit", "predicts_odd_sizes")
    for (check,) in method_runs(fact)
    if check.dims == min(registry().get("methods", check.name).card.dims) or fact == "predicts_odd_sizes"
]


@pytest.mark.no_cover
@pytest.mark.parametrize("check", IN_COMPANY)
def test_methods_in_company(check: BoundCheck) -> None:
    assert check.reason() is None


SHORT_RUNS = [
    pytest.param(checks, id=f"{checks[0].name}-{checks[0].dims}d")
    for checks in method_runs("a_short_run_on_a_phantom", "writes_only_into_the_run_folder")
]


@pytest.mark.no_cover
@pytest.mark.slow
@pytest.mark.parametrize("checks", SHORT_RUNS)
def test_a_short_run_of_every_method(checks: list[BoundCheck]) -> None:
    assert [(check.fact, check.reason()) for check in checks] == [(check.fact, None) for check in checks]


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
    case.__dict__.update(zip(("own", "reference", "chance"), scores, strict=True))
    found = set()
    for fact, check in LEARNING_CHECKS.items():
        try:
            words = check(case)
        except AssertionError as error:
            assert f"{scores[0]:.3f}" in str(error)
            found.add(fact)
        else:
            assert f"{scores[0] - scores[2 if fact == 'beats_chance' else 1]:+.3f}" in words, "by how much"
    assert found == broken


def learners() -> list[Any]:
    """The checks of learning of every built-in method; those of one method share what is trained."""
    found = []
    for item in registry().cards("methods"):
        if item.distribution == "semibench":
            checks = [check for check in checks_of(item.name, slow=True) if check.fact in LEARNING_CHECKS]
            found.append(pytest.param(checks, id=item.name))
    return found


@pytest.mark.no_cover
@pytest.mark.slow
@pytest.mark.parametrize("checks", learners())
def test_every_built_in_learns(checks: list[BoundCheck]) -> None:
    """A known failure is to fail: where it no longer does, its reason goes."""
    reasons = {check.fact: check.reason() for check in checks}
    assert {fact for fact, why in reasons.items() if why} == {check.fact for check in checks if check.known}, reasons
