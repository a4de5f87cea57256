"""The documentation runs as written: the snippets of methods through the battery, the tutorial line by line."""

from __future__ import annotations

import json
import re
import shlex
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from support.forked import Forked
from support.places import DOCS
from support.plugin_places import Place

from semibench import Backbone, Method
from semibench.conformance import METHOD_CHECKS, MethodSubject
from semibench.discovery.registry import registry

FENCE = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
torch.set_num_threads(1)


def blocks(page: str) -> list[tuple[str, str, str]]:
    """(language, title, text) of every fenced block of a page, in order."""
    return FENCE.findall((DOCS / page).read_text(encoding="utf-8"))


def snippets() -> list[Any]:
    """The methods of the recipes page."""
    found = []
    for language, _, text in blocks("recipes_for_methods.md"):
        assert language == "python"
        space: dict[str, Any] = {"__name__": "recipes_for_methods"}
        exec(compile(text, "recipes_for_methods.md", "exec"), space)
        own = [
            value for value in space.values() if isinstance(value, type) and value.__module__ == "recipes_for_methods"
        ]
        found += [value for value in own if issubclass(value, Method)]
    return found


SNIPPETS = snippets()


def backbone(dims: int) -> type[Backbone]:
    found: type[Backbone] = next(b for b in registry().cards("backbones") if dims in b.card.default_for).resolve()
    return found


CASES = {cls.__name__: MethodSubject(cls, backbone(3 if cls.__name__ == "NeighbouringSlices" else 2),
                                  dims=3 if cls.__name__ == "NeighbouringSlices" else 2) for cls in SNIPPETS}  # fmt: skip


def test_the_page_has_what_the_issue_asks_for() -> None:
    assert set(CASES) == {
        "TwoNetworks", "WithTeacher", "MemoryBank", "WithCritic", "NoisyFeatures", "ExtraDecoders", "WeakToStrong",
        "NeighbouringSlices",
    }  # fmt: skip


@pytest.mark.no_cover
@pytest.mark.parametrize("fact", METHOD_CHECKS)
@pytest.mark.parametrize("name", CASES)
def test_recipes_for_methods(name: str, fact: str) -> None:
    check = METHOD_CHECKS[fact]
    check(CASES[name])  # raises AssertionError where the method on the page breaks the contract


def test_the_method_for_volumes_refuses_images() -> None:
    case = CASES["NeighbouringSlices"].variant(dims=2)
    assert "3D" in (case.method.unsupported(case.task, case.parsed_options()) or "")


def tutorial() -> list[tuple[str, str]]:
    """("run", command line) and ("write path", text) in the order of the page."""
    steps: list[tuple[str, str]] = []
    for language, title, text in blocks("plugins.md"):
        if language == "bash":
            steps += [("run", line) for line in text.splitlines() if line.strip()]
        elif language == "python":
            steps.append((f"write {title}", text))
    return steps


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_tutorial_line_by_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(tmp_path / "environment")
    folder = place.path / "bin"
    # the lines run as printed, on a phantom of fewer and smaller images and without pictures; in the middle also without MLflow,
    # which takes longer than such a training
    smaller = "--set phantom.cases=60 --set phantom.scale=0.25 --no-pictures"
    shim(folder / "bench", f'[ "$1" != run ] || set -- "$@" {smaller}\nexec "{place.python}" -m semibench.cli "$@"')
    shim(folder / "pytest", f'exec "{place.python}" -m pytest -p no:cacheprovider "$@"')
    # no network here: what `pip install -e .` would fetch is there already
    shim(folder / "pip", f'shift; exec "{place.python}" -m pip install -q --no-deps --no-build-isolation "$@"')
    start = work = tmp_path / "work"
    work.mkdir()
    steps = tutorial()
    assert len([step for step in steps if step[0] == "run"]) >= 10
    installed = False  # before that, `bench` needs nothing of the environment and may be forked
    for what, text in steps:
        if what == "run":
            words = shlex.split(text)
            if words[0] == "cd":
                work = work / words[1]
                continue
            installed = installed or words[0] == "pip"
            if words[0] == "bench" and not installed:
                words += shlex.split(smaller) if words[1] == "run" else []
                words += ["--no-track"] if (start / "mlflow.db").is_file() and words[1] == "run" else []
                process: Any = Forked(words[1:], work, place.environment(tmp_path))
            else:
                process = subprocess.Popen(
                    ["bash", "-c", text],
                    cwd=work,
                    env=place.environment(tmp_path),
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            with process:
                out, err = process.communicate()
            assert process.returncode == 0, f"$ {text}\n{out[-3000:]}\n{err[-3000:]}"
        else:
            (work / what.removeprefix("write ")).write_text(text, encoding="utf-8")
    assert (start / "mlflow.db").is_file()
    board = place.bench("leaderboard", "--protocol", "self", "--dataset", "tus", "--format", "json", cwd=start).stdout
    ranks = {row["method"]: row["rank"] for row in json.loads(board)["rows"] if row["rank"] is not None}
    assert set(ranks) == {"local:my-method", "mean-teacher"} and set(ranks.values()) <= {1, 2}, "both rows are ranked"
    assert len([path for path in (start / "runs").iterdir() if (path / "result.json").is_file()]) == 7
    packaged = [json.loads(path.read_text(encoding="utf-8")) for path in (work / "runs").glob("*/spec.json")]
    assert [spec["entry"]["method"]["name"] for spec in packaged] == ["semibench-my-method:my-method"]


def shim(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/bash\n{line}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_the_pages_are_in_the_navigation() -> None:
    nav = (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")
    for page in (
        "plugins.md",
        "recipes_for_methods.md",
        "how_a_run_works.md",
        "compatibility.md",
        "plugin_errors.md",
        "cite.md",
    ):
        assert page in nav, page
        assert (DOCS / page).stat().st_size > 0
