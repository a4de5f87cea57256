"""`bench check`: a table, JSON and JUnit of what holds; exit code 1 where something doesn't; known failures are shown."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import types
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from support.command_line import bench
from typer.testing import Result

from semibench import ProtocolCard, Split, hookimpl
from semibench.conformance import PROTOCOL_CHECKS, REGISTRATION_CHECKS, parametrize_checks
from semibench.conformance.battery import CHECKS, checks_of
from semibench.conformance.learning import LEARNING_CHECKS
from semibench.conformance.verdicts import verdict
from semibench.discovery import registry as registry_module
from semibench.discovery.registry import Registry, Source, installed
from semibench.protocols.single import SelfDomain

torch.set_num_threads(1)


class Stubborn(SelfDomain):
    """Always the same draw."""

    def draw(self, catalog: Any, options: Any, draw: int | None, fold: int | None) -> Split:
        return super().draw(catalog, options, 0, fold)


class Declared(Stubborn):
    """The same, and says so."""

    known_failures: ClassVar[dict[str, str]] = {"draws_differ": "there is one draw in the paper"}


class Recovered(SelfDomain):
    """Declares a failure that is gone."""

    known_failures: ClassVar[dict[str, str]] = {"draws_differ": "there was one draw in the paper"}


class Crashing(SelfDomain):
    def draw(self, catalog: Any, options: Any, draw: int | None, fold: int | None) -> Split:
        raise ZeroDivisionError("no groups")


@hookimpl
def semibench_protocols() -> list[ProtocolCard]:
    classes = (Stubborn, Declared, Recovered, Crashing)
    return [
        ProtocolCard(
            name=cls.__name__.lower(), title=cls.__name__, load=f"{__name__}:{cls.__name__}", summary="of a test", api=1
        )
        for cls in classes
    ]


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The installed plug-ins and those of this file."""
    mine = types.SimpleNamespace(semibench_protocols=semibench_protocols)
    found = Registry([*installed(), Source("tests", "1.0", "tests", "semibench.protocols.cards", lambda: mine)])
    monkeypatch.setattr(registry_module, "registry", lambda: found)
    monkeypatch.setattr(importlib.import_module("semibench.conformance.battery"), "registry", lambda: found)
    return found


@pytest.fixture
def check(plugins: Registry) -> Callable[..., Result]:
    def call(*words: str) -> Result:
        return bench("check", *words, width=None)

    return call


def test_a_healthy_plugin_gives_a_table_and_no_error(check: Callable[..., Result]) -> None:
    done = check("self")
    total = len(PROTOCOL_CHECKS) + len(REGISTRATION_CHECKS)
    assert done.exit_code == 0, done.output
    assert f"protocol self: {total} of {total} facts hold, 0 known failures, 0 broken" in done.stdout
    assert all(fact in done.stdout for fact in PROTOCOL_CHECKS)


def test_what_does_not_hold_is_said_and_ends_with_1(check: Callable[..., Result]) -> None:
    done = check("stubborn", "--json")
    assert done.exit_code == 1
    record = json.loads(done.stdout)
    broken = {one["fact"]: one for one in record["results"] if one["state"] != "holds"}
    assert set(broken) == {"draws_differ"} and record["failed"] == 1
    assert "draws 0, 1 and 2 are the same split" in broken["draws_differ"]["reason"]
    assert broken["draws_differ"]["must"].startswith("Different draw numbers")


def test_a_declared_failure_is_shown_with_its_reason_and_is_no_error(check: Callable[..., Result]) -> None:
    done = check("declared")
    assert done.exit_code == 0
    assert "there is one draw in the paper" in done.stdout and "1 known failures, 0 broken" in done.stdout


def test_a_declared_failure_that_holds_is_an_error(check: Callable[..., Result]) -> None:
    done = check("recovered", "--only", "draws_differ")
    assert done.exit_code == 1
    assert "remove the declaration" in " ".join(done.stdout.split())


def test_a_crash_in_the_plugin_is_a_verdict(check: Callable[..., Result]) -> None:
    done = check("crashing", "--json")
    states = {one["fact"]: one for one in json.loads(done.stdout)["results"]}
    assert done.exit_code == 1
    assert states["split_is_usable"]["state"] == "error"
    assert states["split_is_usable"]["reason"] == "ZeroDivisionError: no groups"


def test_junit_has_every_check(check: Callable[..., Result], tmp_path: Path) -> None:
    for name, tag, exit_code in (("stubborn", "failure", 1), ("declared", "skipped", 0), ("crashing", "error", 1)):
        file = tmp_path / f"{name}.xml"
        assert check(name, "--junit", str(file)).exit_code == exit_code
        root = ET.parse(file).getroot()
        cases = root.findall("testcase")
        assert len(cases) == int(root.attrib["tests"]) == len(PROTOCOL_CHECKS) + len(REGISTRATION_CHECKS)
        found = [case for case in cases if case.find(tag) is not None]
        counted = {"failure": "failures", "skipped": "skipped", "error": "errors"}[tag]
        assert len(found) == int(root.attrib[counted]) > 0


def test_only_runs_what_is_named_and_knows_the_names(check: Callable[..., Result]) -> None:
    done = check("mean-teacher", "--only", "losses_are_declared", "--json")
    assert [(one["fact"], one["dims"]) for one in json.loads(done.stdout)["results"]] == [
        ("losses_are_declared", 2),
        ("losses_are_declared", 3),
    ]
    wrong = check("self", "--only", "draw_differ")
    assert wrong.exit_code == 2 and "Did you mean 'draws_differ'" in wrong.stderr


def test_unknown_names_and_kinds_are_usage_errors(check: Callable[..., Result]) -> None:
    assert check("no-such-thing").exit_code == 2
    assert "Did you mean 'unet'" in check("unett").stderr
    assert check("unet", "--kind", "method").exit_code == 2


def test_pytest_shows_known_failures_as_expected(plugins: Registry) -> None:
    mark: Any = parametrize_checks("declared")
    expected = [parameter for parameter in mark.mark.args[1] if parameter.marks]
    assert [parameter.id for parameter in expected] == ["protocol-declared-draws_differ"]
    assert expected[0].marks[0].kwargs == {"reason": "there is one draw in the paper", "strict": True}


@pytest.mark.slow
def test_the_pytest_plugin_knows_all_kinds(tmp_path: Path) -> None:
    asked = {"backbone": "vnet", "dataset": "tus", "protocol": "self"}
    flags = [word for kind, name in asked.items() for word in (f"--semibench-{kind}", name)]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "semibench.conformance.plugin",
        *flags,
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    wanted = sum(len(CHECKS[kind]) + len(REGISTRATION_CHECKS) for kind in asked)
    assert f"{wanted} passed" in done.stdout
    collected = subprocess.run(
        [*command[:-6], "--collect-only", *[f"--semibench-{kind}=all" for kind in CHECKS]],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    for kind in set(CHECKS) - {"split"}:  # no split is built in
        assert f"{kind}-" in collected.stdout, collected.stdout[-2000:]


def test_every_kind_is_parametrized_and_has_a_table(check: Callable[..., Result]) -> None:
    names = {
        "method": "supervised",
        "backbone": "vnet",
        "dataset": "tus",
        "protocol": "self",
        "generator": "latent-diffusion",
        "convention": "semibench-1",
        "recipe": "quick",
    }
    assert set(names) == set(CHECKS) - {"split"}, "the splits of built-in data sets are parts of these"
    for kind, name in names.items():
        mark: Any = parametrize_checks(name)
        facts = {parameter.values[0].fact for parameter in mark.mark.args[1]}
        assert facts >= set(CHECKS[kind]) - set(LEARNING_CHECKS)
        assert kind == "recipe" or facts >= set(REGISTRATION_CHECKS), "a recipe has no class to import"
        done = check(name, "--only", "names_exist" if kind == "recipe" else "card_says_enough")
        assert done.exit_code == 0 and f"{kind} {name}: 1 of 1 facts hold" in done.stdout


def test_a_verdict_of_one_check(plugins: Registry) -> None:
    found = verdict(next(check for check in checks_of("self") if check.fact == "draws_differ"))
    assert (found.id, found.state, found.reason) == ("protocol-self-draws_differ", "holds", "")


def test_slow_adds_whether_it_learns() -> None:
    quick, slow = (checks_of("mean-teacher", slow=slow) for slow in (False, True))
    assert [str(check) for check in slow if str(check) not in {str(one) for one in quick}] == [
        f"method-mean-teacher-2d-{fact}" for fact in LEARNING_CHECKS
    ]
