"""Values for the options of a convention in its name: another convention, known by that name everywhere, or one clear line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.command_line import bench, in_one_line

from semibench import ConventionCard, UsageError, hookimpl
from semibench.conformance import CONVENTION_CHECKS, ConventionSubject
from semibench.discovery import on_demand
from semibench.discovery.adapted.convention_options import in_parts, plain_name
from semibench.discovery.registry import Registry, Source, installed, registry
from semibench.evaluation.run_scores import conventions_for
from semibench_plugins.conventions.semibench_2 import Semibench2


def test_a_name_is_taken_apart_and_paths_are_left_alone() -> None:
    assert in_parts("semibench-2@tolerance=1") == ("semibench-2", "tolerance=1")
    assert in_parts("./a@b/own.py:Own@tolerance=1,other=x") == ("./a@b/own.py:Own", "tolerance=1,other=x")
    assert in_parts("semibench-2") is None and in_parts("./a@b=c/own.py:Own") is None
    assert plain_name("semibench-2@tolerance=1") == "semibench-2" == plain_name("semibench-2")


@pytest.mark.parametrize("words", ["tolerance=1", "tolerance=1.0", "tolerance=1e0"])
def test_one_value_is_one_convention_however_it_is_written(words: str) -> None:
    plugins = registry()
    item = plugins.get("conventions", f"semibench-2@{words}")
    assert plugins.label(item) == item.name == "semibench-2@tolerance=1"
    cls = item.resolve()
    assert issubclass(cls, Semibench2) and cls.options.tolerance == 1 and cls.card == item.card
    assert plugins.get("conventions", plugins.label(item)).resolve() is cls
    assert plugins.get("conventions", item.full_name).resolve() is cls
    assert Semibench2.options.tolerance == 2 and "nsd_1mm" not in Semibench2.metrics


def test_a_default_value_makes_no_other_convention() -> None:
    item = registry().get("conventions", "semibench-2@tolerance=2")
    assert item.name == "semibench-2" and item.resolve() is Semibench2


def test_runs_are_scored_under_it_when_asked() -> None:
    asked, _ = conventions_for(
        registry(), ("semibench-2@tolerance=0.50", "semibench-2"), dims=2, case_dims=2, dataset="tus"
    )
    assert list(asked) == ["semibench-2@tolerance=0.5", "semibench-2"]
    assert {"nsd_0.5mm", "nsd_0.5voxel"} <= set(asked["semibench-2@tolerance=0.5"].metrics)


@pytest.mark.parametrize("fact", CONVENTION_CHECKS)
def test_it_keeps_the_contract(fact: str) -> None:
    item = registry().get("conventions", "semibench-2@tolerance=1.5")
    check = CONVENTION_CHECKS[fact]
    check(ConventionSubject(item.resolve(), item.card))  # raises AssertionError where it doesn't


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("semibench-2@tol=1", "no option of convention 'semibench-2' is called 'tol'. Did you mean 'tolerance'?"),
        ("semibench-2@tolerance=0", "option tolerance: Input should be greater than 0, found '0'"),
        ("semibench-2@tolerance=nan", "option tolerance: Input should be a finite number"),
        ("semibench-2@tolerance=", "option tolerance: Input should be a valid number"),
        ("semibench-2@tolerance=1,tolerance=2", "expected the option 'tolerance' once, found it twice"),
        ("semibench-2@tolerance=1,5", "expected OPTION=VALUE, with commas between several, found '5'"),
        ("semibench-1@tolerance=1", "convention 'semibench-1' has no options"),
        ("semibench-9@tolerance=1", "no convention is called 'semibench-9'"),
    ],
)
def test_what_cannot_be_is_one_clear_line(name: str, words: str) -> None:
    with pytest.raises(UsageError, match=r".") as caught:
        registry().get("conventions", name)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_show_lists_the_options_and_the_metrics_follow() -> None:
    assert "tolerance float 2 (0, 1000]" in in_one_line(bench("show", "convention", "semibench-2").output)
    assert "nsd_1.5mm more is better" in in_one_line(bench("show", "convention", "semibench-2@tolerance=1.5").output)


class Others:
    @hookimpl
    def semibench_conventions(self) -> list[Any]:
        return [ConventionCard(name="semibench-2", title="Theirs", load=Semibench2.card.load, api=1)]


def test_of_two_packages_with_one_name_the_other_one_is_named_in_full() -> None:
    plugins = Registry([*installed(), Source("some-lab", "1", "conventions", __name__, Others)])
    own = plugins.get("conventions", "semibench-2@tolerance=1")
    theirs = plugins.get("conventions", "some-lab:semibench-2@tolerance=1")
    assert plugins.label(own) == "semibench-2@tolerance=1"
    assert plugins.label(theirs) == "some-lab:semibench-2@tolerance=1"


def test_a_convention_in_a_file_may_have_options_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "far.py").write_text(
        "from pydantic import BaseModel\nfrom semibench import Convention, Metric\n\n\n"
        "class Far(Convention):\n    class Options(BaseModel):\n        least: int = 3\n\n    options = Options()\n"
        "    metrics = {'dice': Metric(higher=True, high=9)}\n\n"
        "    def score(self, prediction, truth, spacing, classes):\n"
        "        return {k: {'dice': float(self.options.least)} for k in range(1, classes)}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(on_demand, "_found", {})
    plugins = registry()
    item = plugins.get("conventions", "./far.py:Far@least=5")
    assert plugins.label(item) == "local:far@least=5"
    assert item.resolve()().score(None, None, None, 2) == {1: {"dice": 5.0}}
    assert plugins.get("conventions", "local:far@least=5").resolve() is item.resolve()
