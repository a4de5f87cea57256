"""What people see of a matrix, and the driver with an engine of the tests: outcomes, corrected states, stopping."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from semibench import Engine, EngineOptions, Job, Outcome, PluginError
from semibench.cli.console import Output
from semibench.cli.matrix_view import (
    LineDisplay,
    LiveTable,
    live_table,
    record_of,
    remaining,
    show_end,
    show_plan,
    totals,
)
from semibench.files import read_json, write_json
from semibench.matrix.driver import Progress, run_matrix
from semibench.matrix.limits import Limits
from semibench.matrix.planning import JOURNAL, Planned
from semibench.matrix.worker import work
from semibench.run.request import Cell


def planned(count: int, folder: Path, seconds: float | None = 10.0, **more: Any) -> list[Planned]:
    cells = [Cell(protocol="self", dataset="tus", method="cps", seed=seed) for seed in range(count)]
    return [
        Planned(cell, f"{seed:064x}"[::-1], "missing", seconds=seconds, folder=folder / str(seed), **more)
        for seed, cell in enumerate(cells)
    ]


def screen() -> Output:
    return Output(file=io.StringIO(), width=120, highlight=False, markup=False, emoji=False)


def text(console: Output) -> str:
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_plan_says_states_times_and_duplicates(tmp_path: Path) -> None:
    items = planned(3, tmp_path)
    items[1].state, items[1].reason = "stale", "method cps: its code has changed"
    items[2].state, items[2].seconds = "done", None
    items[0].duplicates.append(items[0].cell)
    out = screen()
    show_plan(out, items)
    shown = text(out)
    assert "self/tus/cps seed 0" in shown and "its code has changed" in shown and "1 cells are the same run" in shown
    assert "3 cells: 1 missing, 1 stale, 1 done; to run: 20 s" in shown
    items[1].seconds = None
    assert "and 1 whose time is unknown" in totals(items)


def test_the_end_lists_only_what_is_not_done(tmp_path: Path) -> None:
    items = planned(3, tmp_path)
    endings = {items[0].key: "done", items[1].key: "timeout", items[2].key: "interrupted"}
    out = screen()
    show_end(out, items, endings, {items[1].key: "passed the time-out of 3 s", items[2].key: "not started"})
    shown = text(out)
    assert "seed 0" not in shown and "passed the time-out" in shown and "not started" in shown
    assert "3 cells: 1 done, 1 timeout, 1 interrupted" in shown
    record = record_of(items[1], "timeout", "why", 3.0)
    assert record["outcome"] == "timeout" and record["command"].startswith("bench run -p self -d ")


def test_the_time_left_is_weighed_by_estimates(tmp_path: Path) -> None:
    items = {item.short: item for item in planned(4, tmp_path)}
    names = list(items)
    items[names[3]].seconds = 70.0
    progress = Progress(4, started=time.monotonic() - 30.0)
    assert remaining(progress, items) is None
    progress.outcomes = {name: Outcome(name, "done", seconds=10.0) for name in names[:3]}
    assert remaining(progress, items) == pytest.approx(70.0, abs=0.5)  # 30 of 100 weights took 30 s
    items[names[0]].seconds = None
    assert remaining(progress, items) == pytest.approx(10.0, abs=0.5)  # one of four cells is left


def test_the_live_table_shows_what_runs(tmp_path: Path) -> None:
    items = planned(20, tmp_path)
    by_name = {item.short: item for item in items}
    progress = Progress(20, stopping=True)
    progress.outcomes = {items[0].short: Outcome(items[0].short, "failed", "broke", 2.0)}
    running = {"phase": "train", "done": 3, "total": 9, "seconds_left": 65.0}
    progress.running = {item.short: running for item in items[1:16]}
    out = screen()
    out.show(live_table(progress, by_name))
    shown = text(out)
    assert "1/20 ended · 1 failed · 15 running" in shown and "Ctrl-C again kills" in shown
    assert "3/9" in shown and "1 min 05 s" in shown and "and 3 more" in shown
    live = LiveTable(screen(), items)
    live.update(progress)
    live.close()
    line = screen()
    LineDisplay(line, items).ended(items[0], progress.outcomes[items[0].short], progress)
    assert text(line).startswith("[1/20] failed self/tus/cps seed 0")


class Scripted(Engine):
    """Ends one job a poll with what the script says."""

    def __init__(self, script: Sequence[str]) -> None:
        super().__init__(EngineOptions(), Path())
        self.script, self.jobs, self.closed = list(script), list[Job](), False

    def start(self, jobs: Sequence[Job]) -> None:
        self.jobs = list(jobs)

    def poll(self) -> list[Outcome]:
        job = self.jobs.pop(0)
        return [Outcome(job.name, self.script.pop(0), "because", 0.1)]  # type: ignore[arg-type]

    def stop(self) -> None:
        self.jobs.clear()

    def close(self) -> None:
        self.closed = True


def test_the_driver_writes_tasks_and_corrects_what_a_killed_process_left(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    items = planned(3, runs)
    for item in items[1:]:
        assert item.folder is not None
        write_json(item.folder / "status.json", {"state": "running", "process": 1})
    write_json(runs / JOURNAL / items[0].short / "outcome.json", {"attempt": "old", "ending": "failed", "reason": ""})
    engine = Scripted(["done", "interrupted", "out-of-memory"])
    outcomes = run_matrix(items, engine, runs, limits=Limits(threads=3), execution={"device": "cpu"}, track=False)
    assert [outcomes[item.key].ending for item in items] == ["done", "interrupted", "out-of-memory"]
    assert engine.closed
    states = [read_json(runs / str(number) / "status.json").get("state") for number in range(3)]
    assert states == [None, "interrupted", "failed"]
    task = read_json(runs / JOURNAL / items[0].short / "cell.json")
    assert (
        task["execution"]["threads"] == 3
        and task["execution"]["device"] == "cpu"
        and Cell(**task["cell"]) == items[0].cell
    )
    assert not (runs / JOURNAL / items[0].short / "outcome.json").exists()  # the earlier attempt's word is gone


def test_an_engine_that_reports_a_foreign_cell_is_named(tmp_path: Path) -> None:
    class Foreign(Scripted):
        def poll(self) -> list[Outcome]:
            return [Outcome("nobody's", "done")]

    class Broken(Scripted):
        def start(self, jobs: Sequence[Job]) -> None:
            raise ConnectionError("no scheduler")

    items = planned(1, tmp_path / "runs")
    for engine, said in (
        (Foreign([]), r"Foreign: poll\(\) must return outcomes of its own cells"),
        (Broken([]), r"Broken: start\(\) raised ConnectionError: no scheduler"),
    ):
        with pytest.raises(PluginError, match=said):
            run_matrix(items, engine, tmp_path / "runs", track=False)
        assert engine.closed


def task(folder: Path, **cell: Any) -> Path:
    values = {
        "protocol": "self",
        "dataset": "tus",
        "method": "supervised",
        "recipe": "smoke",
        "phantom": "always",
        **cell,
    }
    settings = ("phantom.cases=80", "patch=[32, 32]", "iterations=2", "evaluate_every=0")
    made = Cell(**values, settings=settings)
    execution = {"runs": str(folder / "runs"), "threads": 1, "pictures": False, "keep_predictions": False}
    write_json(folder / "cell.json", {"attempt": "a", "cell": made.model_dump(mode="json"), "execution": execution})
    return folder


def test_a_worker_leaves_its_word_whatever_happens(tmp_path: Path) -> None:
    done = task(tmp_path / "done")
    assert work(done) == "done"
    word = read_json(done / "outcome.json")
    assert word["attempt"] == "a" and word["new"] and (Path(word["run"]) / "result.json").is_file()
    assert read_json(done / "progress.json")["phase"]
    assert work(done, "mine") == "done", "done already, whoever did it"
    assert read_json(done / "outcome.json")["attempt"] == "mine", "though the task was written by another matrix"
    assert work(task(tmp_path / "skipped", dataset="mmwhs", method="adaoutput")) == "skipped"
    failed = task(tmp_path / "failed", method="nobody")
    assert work(failed) == "failed" and "'nobody'" in read_json(failed / "outcome.json")["reason"]
