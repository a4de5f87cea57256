"""Commands of other packages: what goes wrong in one is one line that names the package, and other commands stay as they are."""

from __future__ import annotations

import json
import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.command_line import bench, bench_process

from semibench import CommandCard, EngineCard, SuiteCard, hookimpl
from semibench.discovery.registry import Source, also_registered

COMMANDS = """
import typer
print("noise at import")

class Scan: ...

def raising(): raise KeyError("bank")
def reading(): open("/nothing/is/here")
def leaving(): raise typer.Exit(4)
def refusing(count: int = 1): raise typer.BadParameter("count must be even")
def unknown_type(scan: Scan): ...
def no_annotation_it_knows(scan: "Nowhere"): ...
number = 3
empty = typer.Typer()
group = typer.Typer()

@group.command()
def deep(): raise ValueError("too deep")

@group.command()
def fine(): typer.echo("fine")

def cells(name, *, recipe=None, phantom=False): raise LookupError("no such table")
def wrong_cells(name, *, recipe=None, phantom=False): return [name]

from semibench import Engine

class Broken(Engine):
    @classmethod
    def unavailable(cls): raise OSError("no scheduler")
    def start(self, jobs): ...
    def poll(self): return []
    def stop(self): ...
"""
NAMES = (
    "raising", "reading", "leaving", "refusing", "unknown_type", "no_annotation_it_knows", "number", "empty", "group", "absent",
)  # fmt: skip


def module(**hooks: Any) -> types.ModuleType:
    made = types.ModuleType("third_cards")
    for name, function in hooks.items():
        setattr(made, name, hookimpl(function))
    return made


@pytest.fixture
def third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package with many commands that fail, an engine and two suites that do."""
    (tmp_path / "third_party_commands.py").write_text(COMMANDS)
    monkeypatch.syspath_prepend(str(tmp_path))
    load = "third_party_commands:{}".format
    cards = module(
        semibench_commands=lambda: [
            CommandCard(name=name.replace("_", "-"), load=load(name), summary="[/red] \x1b[31mred") for name in NAMES
        ],
        semibench_engines=lambda: [EngineCard(name="broken", title="Broken", load=load("Broken"))],
        semibench_suites=lambda: [
            SuiteCard(name="bad-table", title="x", load=load("cells")),
            SuiteCard(name="no-table", title="x", load=load("wrong_cells")),
        ],
    )
    with also_registered(Source("third-party", "1.2", "cards", "third_cards", lambda: cards)):
        yield
    sys.modules.pop("third_party_commands", None)


@pytest.mark.usefixtures("third_party")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("raising",), "raising() raised KeyError: 'bank'"),
        (("third-party:raising",), "raising() raised KeyError: 'bank'"),
        (("reading",), "reading() raised FileNotFoundError"),
        (("group", "deep"), "group() raised ValueError: too deep"),
        (("number",), "number() raised"),
        (("empty",), "empty() raised"),
        (("no-annotation-it-knows",), "no_annotation_it_knows() raised"),
        (("absent",), "the module has no 'absent'"),
        (("matrix", "bad-table", "--plan"), "cells() raised LookupError: no such table"),
        (("matrix", "no-table", "--plan"), "wrong_cells() must return a list of Cell, found str: 'no-table'"),
        (
            ("matrix", "-p", "self", "-d", "tus", "-m", "supervised", "--engine", "broken", "--no-track"),
            "unavailable() raised OSError: no scheduler",
        ),
    ],
)  # fmt: skip
def test_a_failing_part_is_one_line_that_names_its_package(
    words: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = bench(*words)
    assert answer.exit_code == 1 and said in answer.stderr and "'third-party:" in answer.stderr
    assert "third_party_commands" in answer.stderr or "class Broken" in answer.stderr
    assert (
        "Traceback" not in answer.output and len([line for line in answer.stderr.splitlines() if "error:" in line]) == 1
    )


@pytest.mark.slow
@pytest.mark.usefixtures("third_party")
def test_a_command_ends_as_it_wants_to() -> None:
    assert bench("leaving").exit_code == 4
    refused = bench("refusing")
    assert refused.exit_code == 2 and "count must be even" in refused.stderr and "raised" not in refused.stderr
    assert bench("group", "fine").stdout == "fine\n"
    assert bench("unknown-type").exit_code == 2


@pytest.mark.usefixtures("third_party")
def test_debug_shows_where_a_command_failed() -> None:
    assert 'raise KeyError("bank")' in bench("--debug", "raising").stderr


@pytest.mark.usefixtures("third_party")
def test_broken_commands_harm_no_other_and_their_cards_no_terminal() -> None:
    listed = bench("--help")
    assert listed.exit_code == 0 and "\x1b[31m" not in listed.stdout and r"[/red] \x1b[31mred" in listed.stdout
    answer = bench("list", "protocols", "--json")
    assert answer.exit_code == 0 and len(json.loads(answer.stdout)) > 5
    assert bench("raisin").exit_code == 2


def test_two_packages_with_one_command_need_full_names(third_party: None) -> None:
    other = module(semibench_commands=lambda: [CommandCard(name="raising", load="elsewhere:raising")])
    with also_registered(Source("fourth-party", "1.0", "cards", "fourth", lambda: other)):
        answer = bench("raising")
        assert (
            answer.exit_code == 2 and "third-party:raising" in answer.stderr and "fourth-party:raising" in answer.stderr
        )
        assert "fourth-party:raising" in bench("--help").stdout
        assert "KeyError" in bench("third-party:raising").stderr


@pytest.mark.parametrize("changed", [{"name": "\x1b[31mred"}, {"name": "two words"}, {"load": "nowhere"}])
def test_a_card_that_names_nothing_is_reported(changed: dict[str, str]) -> None:
    values = {"name": "shout", "load": "module:shout", **changed}
    cards = module(semibench_commands=lambda: [CommandCard(**values)])
    with also_registered(Source("third-party", "1.0", "cards", "third_cards", lambda: cards)):
        assert bench("--help").exit_code == 0
        answer = bench("doctor", "--json")
    (owner,) = [item for item in json.loads(answer.stdout)["plugins"] if item["distribution"] == "third-party"]
    assert "semibench_commands" in json.dumps(owner)


def test_what_a_command_prints_at_import_stays_out_of_results(tmp_path: Path) -> None:
    """In a process of its own, since standard output belongs to it there."""
    (tmp_path / "noisy_commands.py").write_text(
        "import os\nprint('noise')\nos.write(1, b'more noise')\n\ndef speak():\n    print('{\"said\": 1}')\n"
    )
    (tmp_path / "noisy_cards.py").write_text(
        "from semibench import CommandCard, hookimpl\nprint('cards print')\n\n@hookimpl\ndef semibench_commands():\n"
        "    print('hooks print')\n    return [CommandCard(name='speak', load='noisy_commands:speak')]\n"
    )
    info = tmp_path / "noisy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: noisy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[semibench]\nnoisy = noisy_cards\n")
    paths = {"PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])}
    answer = bench_process("speak", folder=tmp_path, environment=paths)
    assert json.loads(answer.stdout) == {"said": 1} and "noise" in answer.stderr, answer
