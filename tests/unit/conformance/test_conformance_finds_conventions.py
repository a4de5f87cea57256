"""Each check of conventions, splits and recipes finds a plug-in that breaks it, and the built-in ones break none."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from semibench import ConventionCard, Metric, PublishedSplits, RecipeCard, Split, SplitCard
from semibench.blocks import class_metrics, declared_metrics
from semibench.cli.check_command import shown
from semibench.conformance import (
    CONVENTION_CHECKS,
    RECIPE_CHECKS,
    SPLIT_CHECKS,
    ConventionSubject,
    RecipeSubject,
    SplitSubject,
    checks_of,
)
from semibench.conformance.verdicts import Verdict
from semibench.contracts.metric import Convention
from semibench.discovery.registry import registry

NAMES = ("dice", "hd95_mm", "hd95_voxel")


class Sound(Convention):
    """Keeps every fact."""

    card = ConventionCard(name="sound", title="Sound", load="a:Sound", api=1)
    metrics = declared_metrics(NAMES)

    def score(self, prediction: Any, truth: Any, spacing: Any, classes: int) -> Any:
        return class_metrics(prediction, truth, classes, spacing, NAMES)


class Undeclared(Sound):
    metrics = NAMES  # type: ignore[assignment]


class Forgetful(Sound):
    def score(self, prediction: Any, truth: Any, spacing: Any, classes: int) -> Any:
        return class_metrics(prediction, truth, classes, spacing, NAMES[:2])


class UpsideDown(Sound):
    metrics = {**declared_metrics(NAMES), "hd95_mm": Metric(higher=True, unit="mm")}


class InPercent(Sound):
    def score(self, prediction: Any, truth: Any, spacing: Any, classes: int) -> Any:
        table = class_metrics(prediction, truth, classes, spacing, NAMES)
        return {index: {**values, "dice": 100 * values["dice"]} for index, values in table.items()}


class Fragile(Sound):
    def score(self, prediction: Any, truth: Any, spacing: Any, classes: int) -> Any:
        if not truth.any():
            raise ZeroDivisionError("no reference")
        return super().score(prediction, truth, spacing, classes)


class InVoxelsAfterAll(Sound):
    def score(self, prediction: Any, truth: Any, spacing: Any, classes: int) -> Any:
        table = class_metrics(prediction, truth, classes, spacing, NAMES)
        return {index: {**values, "hd95_mm": values["hd95_voxel"]} for index, values in table.items()}


class Summed(Sound):
    def aggregate(self, values: Any) -> float:
        return float(np.nansum(np.asarray(values, dtype=float)))


class Careless(Sound):
    def score(self, prediction: Any, truth: Any, spacing: Any, classes: int) -> Any:
        table = super().score(prediction, truth, spacing, classes)
        prediction[:] = 0
        return table


FAULTS: dict[str, tuple[type[Sound], str]] = {
    "metrics_are_declared": (Undeclared, "every metric must say whether more or less of it is better"),
    "score_returns_what_is_declared": (Forgetful, "class 1 lacks hd95_voxel"),
    "directions_are_right": (
        UpsideDown,
        "hd95_mm declares that more is better, but a perfect prediction in 2D scores 0",
    ),
    "values_lie_in_their_range": (InPercent, "dice is 100 for a perfect prediction in 2D; declared: 0 to 1"),
    "empty_masks_are_scored": (Fragile, r"score\(\) raised ZeroDivisionError for an empty reference in 2D"),
    "units_are_right": (InVoxelsAfterAll, "hd95_mm is in mm, but"),
    "mean_and_cases_agree": (Summed, "dice: the mean of three times 0.2 is 0.6"),
    "scoring_changes_nothing": (Careless, r"score\(\) changes its arrays"),
}


def test_every_check_of_conventions_has_a_convention_that_breaks_it() -> None:
    assert set(FAULTS) == set(CONVENTION_CHECKS)


@pytest.mark.parametrize("fact", CONVENTION_CHECKS)
def test_the_check_finds_its_fault_and_passes_a_sound_convention(fact: str) -> None:
    CONVENTION_CHECKS[fact](ConventionSubject(Sound, Sound.card))
    broken, words = FAULTS[fact]
    with pytest.raises(AssertionError, match=words):
        CONVENTION_CHECKS[fact](ConventionSubject(broken, broken.card))


@pytest.mark.slow
@pytest.mark.parametrize("name", [item.name for item in registry().cards("conventions")])
def test_the_built_in_conventions_keep_every_fact(name: str) -> None:
    assert {check.fact: check.reason() for check in checks_of(name, "convention")} == dict.fromkeys(
        [check.fact for check in checks_of(name, "convention")]
    )


# ---- splits --------------------------------------------------------------------------------------------------------

CARD = SplitCard(name="ours", title="Ours", load="a:Ours", dataset="tus", api=1)


class Halves(PublishedSplits):
    """Half of the patients for the test."""

    def splits(self, cases: Any) -> Any:
        groups = sorted({ref.group for ref in cases})
        sides = groups[::2], groups[1::4], groups[3::4]
        test, labeled, unlabeled = (tuple(ref for ref in cases if ref.group in side) for side in sides)
        return {"ours": Split(labeled=labeled, unlabeled=unlabeled, validation=(), test=test, validation_from="none")}


def changed(**roles: Any) -> type[Halves]:
    """The splits with other roles, made from those of `Halves`."""

    class Changed(Halves):
        def splits(self, cases: Any) -> Any:
            (split,) = super().splits(cases).values()
            return {"ours": replace(split, **{role: make(split) for role, make in roles.items()})}

    return Changed


class Unsteady(Halves):
    calls = 0

    def splits(self, cases: Any) -> Any:
        type(self).calls += 1
        return {f"ours-{self.calls}": next(iter(super().splits(cases).values()))}


class Nothing(Halves):
    def splits(self, cases: Any) -> Any:
        return {}


BROKEN_SPLITS: dict[str, tuple[type[Halves], str]] = {
    "splits_have_names": (Nothing, "must return name -> Split"),
    "cases_are_known_and_in_one_role": (changed(test=lambda s: (*s.test, s.labeled[0])), "twice"),
    "no_group_is_on_both_sides": (
        changed(test=lambda s: (*s.test, s.labeled[0]), labeled=lambda s: s.labeled[1:]), "groups are in both training and test",
    ),
    "labeled_and_test_cases_have_labels": (
        changed(labeled=lambda s: (replace(s.labeled[0], has_label=False), *s.labeled[1:])), "has no label",
    ),
    "splits_are_the_same_again": (Unsteady, "other splits the second time"),
}  # fmt: skip


@pytest.mark.parametrize("fact", BROKEN_SPLITS)
def test_each_check_of_splits_finds_its_fault(fact: str) -> None:
    SPLIT_CHECKS[fact](SplitSubject(Halves, CARD, registry()))
    broken, words = BROKEN_SPLITS[fact]
    with pytest.raises(AssertionError, match=words):
        SPLIT_CHECKS[fact](SplitSubject(broken, CARD, registry()))
    assert {*BROKEN_SPLITS, "data_set_exists"} == set(SPLIT_CHECKS)


# ---- recipes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fact", "fields", "words"),
    [
        ("values_are_fields", {"values": {"iteration": 3}}, "no field of a recipe is called 'iteration'"),
        ("recipe_is_complete", {"name": "unheard-of"}, "no recipe is called 'unheard-of'"),
    ],
)
def test_each_check_of_recipes_finds_its_fault(fact: str, fields: dict[str, Any], words: str) -> None:
    facts = {"name": "smoke", "values": {"iterations": 3}, "source": "ours", "api": 1}
    RECIPE_CHECKS[fact](RecipeSubject((RecipeCard(**facts),), registry()))
    with pytest.raises(AssertionError, match=words):
        RECIPE_CHECKS[fact](RecipeSubject((RecipeCard(**{**facts, **fields}),), registry()))


def test_the_built_in_recipes_keep_every_fact() -> None:
    for name in dict.fromkeys(item.name for item in registry().cards("recipes")):
        cards = tuple(item.card for item in registry().cards("recipes") if item.name == name)
        for check in RECIPE_CHECKS.values():
            check(RecipeSubject(cards, registry()))


# ---- rows of the table ---------------------------------------------------------------------------------------------


def test_one_fault_is_one_row() -> None:
    verdicts = [Verdict(str(n), f"fact-{n}", 0, "error", "must", "CaseError: a.png is damaged", 0.0) for n in range(3)]
    verdicts += [
        Verdict("x", "other", 0, "broken", "must", "another fault", 0.0),
        Verdict("y", "fine", 0, "holds", "what must hold", "", 0.0),
    ]
    rows = shown(verdicts)
    assert [(one.fact, text) for one, text in rows] == [
        ("fact-0", "CaseError: a.png is damaged (and 2 more fail for this reason)"),
        ("other", "another fault"),
        ("fine", "what must hold"),
    ]
    assert math.isclose(sum(one.seconds for one, _ in rows), 0.0)
