"""Rows in MLflow: what a reader of the store finds, and that a sync may be repeated, interrupted, and run by several at once."""

from __future__ import annotations

import json
import math
import multiprocessing
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.command_line import bench
from support.leaderboard_toys import spec_of, three_seeds, write_run
from support.store_support import put_store
from support.stuck_servers import stuck_server

from semibench.contracts.cards import ListenerCard
from semibench.discovery.hookspecs import hookimpl
from semibench.discovery.registry import Registry, Source
from semibench.reporting import Reporter
from semibench.tracking import mirror, open_store
from semibench.tracking.listening import announce
from semibench_leaderboards.mlflow_rows import sync as module
from semibench_leaderboards.mlflow_rows.listening import update
from semibench_leaderboards.mlflow_rows.sync import SyncReport, sync
from semibench_leaderboards.ranking.boards import boards
from semibench_leaderboards.ranking.ranks import rank
from semibench_leaderboards.reading.records import read_runs
from semibench_leaderboards.reading.run_filter import RunFilter

BASE = np.linspace(0.3, 0.7, 12)


@pytest.fixture
def store(tmp_path: Path) -> str:
    return put_store(tmp_path)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Three rows of a track, one of them with too few runs and a failed one; and a row of another track."""
    place = tmp_path / "runs"
    three_seeds(place, "best", [BASE + 0.2, BASE + 0.21, BASE + 0.19])
    three_seeds(place, "last", [BASE] * 3)
    write_run(place, BASE + 0.1, spec_of("few"))
    write_run(place, state="failed", error="DivergedError: sup is nan", spec=spec_of("few", seed=1))
    write_run(place, BASE, spec_of("other", recipe="smoke", phantom=True))
    return place


def everything(uri: str) -> dict[str, dict[str, Any]]:
    """Experiment name -> {run name: what MLflow's client shows of it}, ids replaced by names."""
    client = open_store(uri)
    shown: dict[str, dict[str, Any]] = {}
    for experiment in client.search_experiments():
        found = list(client.search_runs([experiment.experiment_id], max_results=1000))
        names = {run.info.run_id: run.info.run_name for run in found}
        for run in found:
            tags = {name: text for name, text in run.data.tags.items() if name != "semibench.folder"}
            if "mlflow.parentRunId" in tags:
                tags["mlflow.parentRunId"] = names[tags["mlflow.parentRunId"]]
            metrics = {name: "nan" if math.isnan(value) else value for name, value in run.data.metrics.items()}
            files = sorted(item.path for item in client.list_artifacts(run.info.run_id))
            info = (run.info.status, run.info.start_time, run.info.end_time, run.info.user_id, run.info.lifecycle_stage)
            place = run.info.artifact_uri.replace(run.info.run_id, "ID").split("mlartifacts")[-1]
            shown.setdefault(experiment.name, {})[run.info.run_name] = {
                "tags": tags, "metrics": metrics, "params": dict(run.data.params), "info": info, "files": files, "at": place,
                "histories": {
                    name: [metric.step for metric in client.get_metric_history(run.info.run_id, name)] for name in list(metrics)[:2]
                },
            }  # fmt: skip
    return shown


def parents(uri: str, track: str = "quick") -> Mapping[str, Any]:
    """The rows of the experiment whose name has this word."""
    (found,) = [runs for name, runs in everything(uri).items() if track in name]
    return {name: run for name, run in found.items() if run["tags"].get("semibench.kind") == "row"}


@pytest.mark.slow
def test_rows_are_parent_runs_with_the_figures_of_the_board(runs: Path, store: str) -> None:
    report = sync(runs, store)
    assert (report.tracks, report.rows, report.runs, report.mirrored, report.warnings) == (2, 4, 9, 9, [])
    (board,) = boards(read_runs(runs, RunFilter(recipe="quick")))
    ranking = rank(board)
    found = parents(store)
    assert set(found) == {"best", "last", "few"}
    for row in board.rows:
        metrics, statistics = found[row.name]["metrics"], row.statistics
        assert [metrics[name] for name in ("dice", "dice.low", "dice.high")] == [
            statistics.mean,
            statistics.low,
            statistics.high,
        ]
        assert (metrics.get("dice.std"), metrics["runs"]) == (statistics.std, row.n)
        assert metrics["runs.failed"] == row.states.failed
        assert metrics.get("rank") == ranking.position(row.name)
        assert metrics["last.semibench-1.dice"] == pytest.approx(row.statistics.mean)
        assert found[row.name]["tags"]["semibench.row"] == row.key[:12]
    assert [found[name]["tags"]["rank"] for name in ("best", "last")] == ["1", "2"]
    assert found["few"]["tags"]["rank"].startswith("not ranked: 1 of at least 3")
    assert "**0.6000" not in found["best"]["tags"]["mlflow.note.content"]
    assert "0.7000" in found["best"]["tags"]["mlflow.note.content"]
    names = [set(found[name]["metrics"]) for name in ("best", "last")]
    assert names[0] == names[1]  # the same columns for every ranked row


@pytest.mark.slow
def test_runs_are_nested_and_the_board_has_table_and_plots(runs: Path, store: str) -> None:
    sync(runs, store)
    (track,) = [found for name, found in everything(store).items() if "quick" in name]
    nested = [run["tags"]["mlflow.parentRunId"] for run in track.values() if "semibench.key" in run["tags"]]
    assert sorted(nested) == ["best"] * 3 + ["few"] * 2 + ["last"] * 3
    (board,) = [run for run in track.values() if run["tags"].get("semibench.kind") == "board"]
    assert {"leaderboard.md", "leaderboard.csv", "leaderboard.json", "intervals.svg", "critical-difference.svg"} == set(
        board["files"]
    )
    client = open_store(store)
    (experiment,) = [e for e in client.search_experiments() if "quick" in e.name]
    note = experiment.tags["mlflow.note.content"]
    assert f"#/experiments/{experiment.experiment_id}/runs?viewStateShareKey=semibench" in note
    assert "| 1 | best | 0.7000 ± 0.0100 |" in note
    view = json.loads(experiment.tags["mlflow.sharedViewState.semibench"])
    assert view["orderByKey"] == "metrics.`rank`" and "metrics.`dice`" in view["selectedColumns"]
    ranked = client.search_runs([experiment.experiment_id], view["searchFilter"], order_by=["metrics.rank ASC"])
    assert [run.info.run_name for run in ranked][:2] == ["best", "last"]
    phantom = [e for e in client.search_experiments() if "smoke" in e.name]
    assert "PHANTOM DATA" in phantom[0].tags["mlflow.note.content"]


@pytest.mark.slow
def test_again_changes_nothing_and_a_new_run_changes_its_track_only(runs: Path, store: str) -> None:
    sync(runs, store)
    before = everything(store)
    assert sync(runs, store) == SyncReport(unchanged=2)
    assert sync(runs, store, force=True).tracks == 2
    assert everything(store) == before
    for seed in (1, 2):
        write_run(runs, BASE + 0.3, spec_of("few", seed=seed), ended="2026-01-03T00:00:00+00:00")
    report = sync(runs, store)
    assert (report.tracks, report.unchanged, report.mirrored) == (1, 1, 2)
    found = parents(store)
    assert found["few"]["metrics"]["runs"] == 3 and found["few"]["metrics"]["runs.failed"] == 0
    assert found["few"]["metrics"]["dice"] == pytest.approx(0.5 + (0.1 + 0.3 + 0.3) / 3)
    assert {found[name]["tags"]["rank"] for name in found} == {"1", "2", "3"}


@pytest.mark.slow
def test_a_figure_that_is_gone_becomes_nan(runs: Path, store: str) -> None:
    sync(runs, store)
    folder = next(record.folder for record in read_runs(runs, RunFilter(method="last")))
    shutil.rmtree(folder)
    sync(runs, store)
    last = parents(store)["last"]
    assert last["metrics"]["rank"] == "nan" and last["metrics"]["runs"] == 2
    assert last["tags"]["rank"].startswith("not ranked")


class CountingClient:
    """A client of MLflow that counts the calls which change the store."""

    def __init__(self, client: Any) -> None:
        self.client, self.calls = client, Counter[str]()

    def __getattr__(self, name: str) -> Any:
        def call(*words: Any, **named: Any) -> Any:
            self.calls[name] += 1
            return getattr(self.client, name)(*words, **named)

        return call


@pytest.mark.slow
def test_calls_of_mlflow_are_few(runs: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sync(runs, store, tracks=[])
    for record in read_runs(runs):
        mirror(record.folder, store)
    client = CountingClient(open_store(store))
    monkeypatch.setattr(module, "open_store", lambda address: client)
    sync(runs, store)
    first = client.calls
    assert first["search_experiments"] == first["search_runs"] == 1 and first["get_run"] == 0
    assert first["create_run"] == 6  # four rows and two boards
    assert first["log_batch"] == 4 + 9  # each row once, each nested run once; a board has neither params nor metrics
    client.calls = Counter()
    sync(runs, store)
    assert client.calls == {"search_experiments": 1, "search_runs": 1}
    sync(runs, store, force=True)
    assert not client.calls["log_batch"] and not client.calls["create_run"]


@pytest.mark.slow
def test_what_was_deleted_or_doubled_in_the_store_is_put_right(runs: Path, store: str) -> None:
    sync(runs, store)
    whole = everything(store)
    client = open_store(store)
    experiment = next(e for e in client.search_experiments() if "quick" in e.name)
    rows = {
        run.info.run_name: run
        for run in client.search_runs([experiment.experiment_id], "tags.`semibench.kind` = 'row'")
    }
    client.delete_run(rows["best"].info.run_id)
    tags = {name: text for name, text in rows["last"].data.tags.items() if name.startswith("semibench.")}
    client.create_run(experiment.experiment_id, tags=tags, run_name="last, from another machine")
    assert sync(runs, store).tracks == 1
    assert everything(store) == whole


@pytest.mark.slow
def test_killed_half_way_it_is_done_again(runs: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*words: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_upload", die)
    with pytest.raises(KeyboardInterrupt):
        sync(runs, store)
    monkeypatch.undo()
    assert sync(runs, store).tracks == 2
    assert sync(runs, store).unchanged == 2


@pytest.mark.slow
def test_several_at_once_make_each_row_once(runs: Path, store: str) -> None:
    for record in read_runs(runs):
        mirror(record.folder, store)
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=sync, args=(runs, store)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert len(parents(store)) == 3
    assert sync(runs, store).unchanged == 2


@pytest.mark.slow
def test_a_track_that_contradicts_itself_is_a_warning_and_the_others_are_written(runs: Path, store: str) -> None:
    write_run(
        runs, BASE, spec_of("other", recipe="smoke", phantom=True), stored_mean=0.9, ended="2026-02-01T00:00:00+00:00"
    )
    report = sync(runs, store)
    assert report.tracks == 1 and "result.json says 0.900000" in report.warnings[0]


@pytest.mark.slow
def test_the_command(runs: Path, store: str) -> None:
    place = ("--runs", str(runs), "--tracking-uri", store)
    result = bench("leaderboard", "--sync", "--recipe", "quick", *place)
    assert result.exit_code == 0, result.output
    assert "1 tracks written (3 rows of 8 runs), 0 unchanged, 8 runs mirrored first" in result.stdout
    result = bench("leaderboard", "--sync", *place)
    assert "1 tracks written (1 rows of 1 runs), 1 unchanged" in result.stdout
    assert bench("leaderboard", "--sync", "--recipe", "papre", *place).exit_code == 2


# ---- after a run ---------------------------------------------------------------------------------------------------


class Told(Reporter):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)


@pytest.mark.slow
def test_the_listener_writes_the_track_of_the_run(runs: Path, store: str) -> None:
    folder = next(record.folder for record in read_runs(runs, RunFilter(method="best")))
    update([folder], tracking_uri=store, reporter=Told())
    assert set(parents(store)) == {"best", "few", "last"}
    assert not [name for name in everything(store) if "smoke" in name]


def listen(folders: list[Path], *, tracking_uri: str | None, reporter: Reporter) -> None:
    reporter.warn(f"heard of {folders[0].name}")


def fail(folders: list[Path], *, tracking_uri: str | None, reporter: Reporter) -> None:
    raise RuntimeError("no disk")


def leave(folders: list[Path], *, tracking_uri: str | None, reporter: Reporter) -> None:
    raise SystemExit(3)


def test_a_listener_that_fails_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    cards = [ListenerCard(name=name, load=f"{__name__}:{name}", summary="s") for name in ("fail", "leave", "listen")]
    hooks: Callable[[], list[ListenerCard]] = hookimpl(lambda: cards)
    plugin = type("Plugin", (), {"semibench_listeners": staticmethod(hooks)})
    plugins = Registry([Source("tests", "1", "tests", "semibench.protocols.cards", lambda: plugin)])
    told = Told()
    assert announce([Path("runs/abc")], None, told, plugins) == 1
    failed, left, heard = told.warnings
    assert f"listener 'tests:fail' (tests 1, {__name__}:fail): fail() raised RuntimeError: no disk" in failed
    assert "the runs are complete" in failed and "leave() raised SystemExit: 3" in left and heard == "heard of abc"


def test_a_store_that_goes_away_in_a_sync_is_one_line(runs: Path) -> None:
    """It answers the probe and the first question, and is gone then."""
    with stuck_server(answers=2, answer='{"experiments": []}', leaves=True) as address:
        answer = bench("leaderboard", "--sync", "--runs", str(runs), "--tracking-uri", address)
    assert answer.exit_code == 1 and isinstance(answer.exception, SystemExit)
    assert f"the MLflow store {address} failed" in answer.stderr and "once it works again" in answer.stderr


@pytest.mark.slow
def test_references_of_other_tracks_reach_the_rows(tmp_path: Path, store: str) -> None:
    """The board follows a run with all labels, though that is another track; a row of that track is not nested here."""
    runs, base = tmp_path / "more", np.linspace(0.3, 0.7, 12)
    three_seeds(runs, "cps", [base + 0.10, base + 0.11, base + 0.12])
    three_seeds(runs, "cps", [base + 0.08, base + 0.09, base + 0.10], spec={"control": True})
    three_seeds(runs, "supervised", [base] * 3)
    sync(runs, store)
    before = parents(store)
    assert set(before) == {"cps", "cps (control)", "supervised"}
    metrics = before["cps"]["metrics"]
    assert metrics["unlabeled_worth"] == pytest.approx(0.02) and metrics["over_labels_alone"] == pytest.approx(0.11)
    assert metrics["unlabeled_worth.low"] <= 0.0201 <= metrics["unlabeled_worth.high"] + 0.001
    assert "gap_closed" not in metrics and "rank" not in before["supervised"]["metrics"]
    assert before["supervised"]["tags"]["reference"] == "labels alone"
    assert before["cps (control)"]["tags"]["rank"].startswith("not ranked: a control")
    three_seeds(runs, "supervised", [base + 0.3] * 3, spec={"labeled": 1.0})
    lender = next(r.track for r in read_runs(runs) if r.spec.track.protocol.options["labeled"] == 1.0)
    report = sync(runs, store, tracks=[lender])
    assert report.tracks == 2 and report.warnings == [], "its own track, and the board that shows it"
    found = [runs for runs in everything(store).values() if "cps" in runs]
    assert len(found) == 1 and {name for name in found[0] if "all labels" in name} == set()
    assert found[0]["cps"]["metrics"]["gap_closed"] == pytest.approx(0.11 / 0.3)
    assert sync(runs, store).tracks == 0, "nothing is left to write"
