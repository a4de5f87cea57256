"""Versions of the contracts, and deprecations: what is refused, what runs, what warns, and that nothing outlives its end."""

from __future__ import annotations

import types
import warnings
from collections.abc import Mapping
from typing import ClassVar

import pytest
from support.conformance_toys import Good

import semibench
from semibench import API, OLDEST_API, MethodCard, PluginError, blocks, conformance, hookimpl
from semibench.conformance import checks_of
from semibench.contracts import cards, deprecation
from semibench.contracts.deprecation import DEPRECATIONS, Deprecation, deprecated, overdue
from semibench.discovery.registry import KINDS, Registry, Source


def of_api(*versions: int) -> Registry:
    """One method for each of these versions of the contracts."""
    made = [
        MethodCard(name=f"of-{api}", title="t", load=f"{__name__}:Good", summary="s", dims=(2,), api=api)
        for api in versions
    ]
    mine = types.SimpleNamespace(semibench_methods=hookimpl(lambda: made))
    return Registry([Source("tests", "1.0", "tests", "semibench.protocols.cards", lambda: mine)])


def test_the_range_of_versions_is_whole() -> None:
    assert 1 <= OLDEST_API <= API


@pytest.mark.parametrize("kind", KINDS)
def test_every_card_has_an_api_version(kind: str) -> None:
    assert KINDS[kind].card.model_fields["api"].default == API


def test_older_plugins_run_and_newer_and_too_old_ones_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a later Semibench (contracts 4, from 3 on) sees them."""
    monkeypatch.setattr(cards, "API", 4)
    monkeypatch.setattr(cards, "OLDEST_API", 3)
    found = of_api(2, 3, 4, 5)
    assert [item.name for item in found.cards("methods")] == ["of-3", "of-4"]
    assert [problem.outcome for problem in found.problems] == ["api", "api"]
    assert found.get("methods", "of-3").resolve() is Good
    with pytest.raises(PluginError, match="version 5, this Semibench has 4: update Semibench, or install an older"):
        checks_of("of-5", plugins=found)
    with pytest.raises(
        PluginError, match="version 2, this Semibench has 4, and takes plug-ins from 3 on: update tests"
    ):
        checks_of("of-2", plugins=found)


ENTRY = Deprecation("MethodCard.sides", "0.1", "0.3", "MethodCard.dims")


def test_a_deprecation_warns_with_its_end_and_points_at_its_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deprecation, "DEPRECATIONS", {"old()": Deprecation("old()", "0.1", "0.3", "new()")})

    def old() -> None:
        deprecated("old()")

    with pytest.warns(DeprecationWarning) as warned:
        old()
    assert str(warned[0].message) == "old() is deprecated since Semibench 0.1 and ends with Semibench 0.3: use new()"
    assert warned[0].filename == __file__
    with pytest.raises(KeyError):
        deprecated("never announced")


class Renamed(MethodCard, frozen=True):
    renamed: ClassVar[Mapping[str, str]] = {"sides": "dims"}


def test_an_old_field_of_a_card_works_and_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deprecation, "DEPRECATIONS", {"Renamed.sides": ENTRY})
    values = {"name": "x", "title": "X", "load": "a:B"}
    with pytest.warns(DeprecationWarning, match=r"ends with Semibench 0\.3: use MethodCard\.dims"):
        assert Renamed(**values, sides=(3,)).dims == (3,)  # type: ignore[call-arg]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Renamed(**values, dims=(3,)).dims == (3,)  # type: ignore[arg-type]


def test_an_old_public_name_works_and_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Deprecation("semibench.Learner", "0.1", "0.3", "semibench.Method")
    monkeypatch.setattr(deprecation, "DEPRECATIONS", {entry.name: entry})
    monkeypatch.setitem(semibench._RENAMED, "Learner", "Method")
    with pytest.warns(DeprecationWarning, match=r"use semibench\.Method"):
        assert semibench.Learner is semibench.Method


def test_nothing_outlives_its_end() -> None:
    due = overdue(semibench.__version__)
    assert not due, f"Semibench is {semibench.__version__}: remove the code of {[entry.name for entry in due]}"
    assert [entry.name for entry in overdue("0.3", DEPRECATIONS)] == list(DEPRECATIONS)
    assert overdue("0.2.9", DEPRECATIONS) == [] and overdue("1.0", {"x": ENTRY}) == [ENTRY]


def test_ends_come_two_minor_versions_after_their_announcement() -> None:
    for entry in DEPRECATIONS.values():
        (major, minor), (end_major, end_minor) = (
            [int(part) for part in version.split(".")] for version in (entry.since, entry.ends)
        )
        assert end_major > major or end_minor - minor >= 2, entry


def test_every_old_form_in_the_code_is_announced() -> None:
    renamed = {f"{kind.card.__name__}.{name}" for kind in KINDS.values() for name in kind.card.renamed}
    for package in (semibench, blocks, conformance):
        renamed |= {f"{package.__name__}.{name}" for name in package._RENAMED}
    assert renamed <= set(DEPRECATIONS)
