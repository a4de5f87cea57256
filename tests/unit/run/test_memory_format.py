"""The memory format of a run: the recipe's, one that is asked for, or the faster one by a trial; recorded, kept on resume."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from support import training_toys as toys

from semibench.contracts.errors import UsageError
from semibench.reporting import Reporter
from semibench.run import memory_format
from semibench.run.execute import execute
from semibench.run.plan import Plan
from semibench.run.prepare import prepare
from semibench.run.request import Request
from semibench.runfolder.reading import RunFolder
from semibench.training.loop import _Training
from semibench_leaderboards.evidence.rerun import request_of

CPU = torch.device("cpu")


def planned(folder: Path, **more: Any) -> Plan:
    settings = ("phantom.cases=30", "phantom.scale=0.25", "iterations=5", "checkpoint_every=2", "evaluate_every=0")
    request = Request(
        protocol="self", dataset="tus", method="supervised", recipe="smoke", runs=folder, phantom="always", track=False,
        settings=(*settings, *more.pop("settings", ())), pictures=False, keep_predictions=False, device="cpu", **more,
    )  # fmt: skip
    return prepare(request, estimate=False)


def digits(folder: Path) -> list[float]:
    return [
        *pd.read_parquet(folder / "scores.parquet")["value"].fillna(-1),
        *pd.read_parquet(folder / "steps.parquet").sort_values(["step", "name"])["value"],
    ]


def recorded(folder: Path) -> Any:
    return json.loads((folder / "provenance.json").read_text())["machine"]["memory_format"]


@pytest.fixture
def channels_last_wins(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """Every trial finds channels last faster. What it gets: the formats that were tried, in their order."""
    tried: list[bool] = []

    def seconds_of(method: Any, data: Any, recipe: Any, device: Any) -> float:
        tried.append(recipe.channels_last)
        return 1.0 if recipe.channels_last else 2.0

    monkeypatch.setattr(memory_format, "seconds_of", seconds_of)
    yield tried


def test_the_recipes_format_stays_unless_the_other_is_clearly_faster() -> None:
    def chosen(contiguous: float, channels_last: float, usual: bool) -> str:
        return memory_format.faster({"contiguous": contiguous, "channels_last": channels_last}, usual)

    assert chosen(1.0, 0.9, False) == chosen(1.0, 0.9, True) == "channels_last"
    assert chosen(0.9, 1.0, False) == chosen(0.9, 1.0, True) == "contiguous"
    assert (chosen(1.0, 0.99, False), chosen(0.99, 1.0, True)) == ("contiguous", "channels_last")
    assert (chosen(math.inf, math.inf, False), chosen(math.inf, math.inf, True)) == ("contiguous", "channels_last")


def test_a_trial_times_a_few_iterations_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The third timed iteration is the fastest by the clock of the test."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ticks = iter([-1.0, 0.0, 9.0, 10.0, 14.0, 20.0, 23.0, 30.0, 32.0])  # before and after each iteration: 9, 4, 3, 2
    monkeypatch.setattr(memory_format.time, "process_time", lambda: next(ticks))
    method = toys.build(toys.Supervised)
    found = memory_format.seconds_of(method, toys.ToyData(), toys.recipe(), CPU)
    assert found == 2.0 and next(ticks, None) is None
    assert not list(tmp_path.glob("tmp*"))


def test_nothing_is_timed_where_nothing_is_trained() -> None:
    class Idle(toys.Supervised):
        def optimisers(self) -> Mapping[str, Any]:
            return {}

    method = toys.build(Idle).requires_grad_(False)
    assert memory_format.seconds_of(method, toys.ToyData(), toys.recipe(), CPU) == math.inf


@pytest.mark.slow
def test_a_trial_decides_once_and_is_recorded(
    tmp_path: Path, channels_last_wins: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The digits are those of the format that was found; a run that was stopped goes on in it, whatever a second trial would find,
    and ends with the same digits; so does its repetition elsewhere."""
    usual, field = planned(tmp_path / "usual"), planned(tmp_path / "field", settings=("channels_last=true",))
    of_field = execute(field)
    assert channels_last_wins == [], "no trial where none is asked for"
    plan = planned(tmp_path / "auto", memory_format="auto")
    assert any("the digits depend on the machine" in text for text in plan.warnings)
    whole = execute(plan)
    assert channels_last_wins == [False, True] * memory_format.ROUNDS
    assert plan.key == usual.key != field.key, "the key doesn't hold what a trial finds"
    assert (recorded(of_field.folder), recorded(whole.folder)) == (None, "channels_last")
    assert digits(whole.folder) == digits(of_field.folder)

    iterate = _Training.iterate

    def stop(self: Any, plan: Any, step: int, iteration: int) -> None:
        if iteration == 3:
            raise KeyboardInterrupt
        iterate(self, plan, step, iteration)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(_Training, "iterate", stop)
        execute(planned(tmp_path / "stopped", memory_format="auto"))
    channels_last_wins.clear()
    again = planned(tmp_path / "stopped", memory_format="contiguous")
    assert again.state == "resumable" and again.warnings[-1].startswith(
        "the run goes on in the memory format channels_last"
    )
    resumed = execute(again)
    assert channels_last_wins == [] and recorded(resumed.folder) == "channels_last"
    assert digits(resumed.folder) == digits(whole.folder)
    assert request_of(resumed.folder, tmp_path / "elsewhere").memory_format == "channels_last"
    assert RunFolder(resumed.folder).provenance.machine.label == f"{usual.record.machine.label} channels_last"


def test_a_run_that_began_in_the_recipes_format_goes_on_in_it(
    tmp_path: Path, channels_last_wins: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(tmp_path)
    plan.state = "resumable"
    request = plan.resolved.request.model_copy(update={"memory_format": "auto"})
    monkeypatch.setattr(plan, "resolved", plan.resolved.__class__(**{**vars(plan.resolved), "request": request}))
    recipe = memory_format.recipe_to_train(plan, toys.ToyData(), Reporter())
    assert recipe is plan.resolved.options.recipe and channels_last_wins == []


def test_what_a_plan_says(tmp_path: Path) -> None:
    def said(given: str, *settings: str) -> list[str]:
        return [text for text in planned(tmp_path, memory_format=given, settings=settings).warnings if "format" in text]

    assert said("recipe") == said("contiguous") == said("channels_last", "channels_last=true") == []
    assert "isn't what the recipe says" in said("channels_last")[0]
    assert planned(tmp_path, memory_format="channels_last").record.machine.memory_format == "channels_last"
    with pytest.raises(UsageError, match="can't try a recipe with compile=true"):
        planned(tmp_path, memory_format="auto", settings=("compile=true",))


def test_graphs_need_cuda(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"compile=cuda-graphs needs a CUDA device, and this run is on cpu"):
        planned(tmp_path, settings=("compile=cuda-graphs",))
    with pytest.raises(UsageError, match="compile"):
        planned(tmp_path, settings=("compile=sometimes",))
