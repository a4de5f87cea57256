"""The MLflow mirror: what it writes, that it may be called again, and that several processes may start on a fresh store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from semibench.contracts.errors import IdentityError, SemibenchError, UsageError
from semibench.contracts.identity import Entry, Part, Replicate, RunSpec, Track
from semibench.runfolder.reading import flatten
from semibench.runfolder.records import ScoreSummary
from semibench.runfolder.state import this_process
from semibench.tracking import RunFolder, mirror, mirroring, open_store, store_uri
from semibench.tracking.notes import LIMIT, description
from semibench.tracking.store import artifact_root, sqlite_file
from semibench.tracking.tables import score_rows


def spec_of(seed: int = 0, phantom: bool = True) -> RunSpec:
    recipe = Part(name="quick", options={"name": "quick", "iterations": 40, "lr": 0.01, "weak": {"flip": 0.5}})
    return RunSpec(
        track=Track(
            protocol=Part(name="semibench:synthetic", options={"labeled": 4, "domains": ["a", "b"]}),
            dataset=Part(
                name="semibench:tus", options={"edition": "default", "phantom": {"seed": 0} if phantom else None}
            ),
            data="d" * 64,
            recipe=recipe,
        ),
        entry=Entry(
            method=Part(name="semibench:mgcc", options={"decay": 0.99}),
            terms={"supervised": {"weight": 1.0}},
            backbone=Part(name="semibench:mgcc-net", options={"width": 0.25}),
        ),
        replicate=Replicate(draw=0, seed=seed),
    )


def steps_file(path: Path, rows: int, scale: float = 1.0) -> None:
    """`rows` rows of two metrics in turn, as the training loop writes them."""
    table = {
        "step": [i // 2 for i in range(rows)],
        "stage": ["train"] * rows,
        "name": [("loss/supervised", "validation/dice")[i % 2] for i in range(rows)],
        "value": [scale * (1.0 - i / max(rows, 1)) for i in range(rows)],
    }
    parquet.write_table(pa.table(table), path)


def score(metric: str, mean: float | None, **more: Any) -> dict[str, Any]:
    """As a result.json has it."""
    return {
        "checkpoint": "last", "predictor": "main", "convention": "semibench-1", "metric": metric, "mean": mean,
        "std_over_cases": 0.05, "per_class": {"nodule": mean}, "n": 7, "defined": 7, "unit": "", **more,
    }  # fmt: skip


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Writes a run folder with the files the harness writes."""

    def write(name: str = "run", *, spec: RunSpec | None = None, state: str = "done", source: str = "abc") -> Path:
        folder = tmp_path / "runs" / name
        for inner in ("pictures", "checkpoints"):
            (folder / inner).mkdir(parents=True, exist_ok=True)
        error = "DivergedError: the term 'x' became nan" if state == "failed" else None
        files: dict[str, Any] = {
            "spec.json": (spec or spec_of()).model_dump(mode="json"),
            "provenance.json": {
                "plugins": {"method": {"name": "semibench:mgcc", "version": "0.1.0", "source": source}},
                "versions": {"torch": "2.13.0", "numerics": "1"},
                "machine": {"device": "cpu", "threads": 1},
                "git": {"commit": "c0ffee", "dirty": False},
            },
            "plan.json": {"method": "mgcc"},
            "split.json": {"labeled": [["tus", "1", "1", "a"]]},
            "status.json": {
                "state": state, "error": error, "started": "2026-11-21T10:00:00+00:00",
                "ended": None if state == "running" else "2026-11-21T10:01:00+00:00",
                "process": os.getpid(), "process_started": this_process()[1],
            },
        }  # fmt: skip
        if state == "done":
            files["result.json"] = {
                "scores": [score("dice", 0.75), score("hd95", None, unit="mm", defined=5)],
                "training": {"iterations": 40, "seconds": 12.5},
                "model": {"parameters": 1000},
                "inference": {"seconds_per_case": 0.1},
            }
        for file, record in files.items():
            (folder / file).write_text(json.dumps(record))
        steps_file(folder / "steps.parquet", 10 if state == "running" else 2500)
        (folder / "pictures" / "overlays-last.png").write_bytes(b"\x89PNG fake")
        (folder / "checkpoints" / "last.pt").write_bytes(b"weights")
        (folder / "checkpoints" / "best.pt").write_bytes(b"weights")
        return folder

    return write


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One store for the tests that may share it (making one takes seconds)."""
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"


def artifacts(uri: str, run_id: str) -> set[str]:
    client = open_store(uri)
    found = set()
    for item in client.list_artifacts(run_id):
        found |= {inner.path for inner in client.list_artifacts(run_id, item.path)} if item.is_dir else {item.path}
    return found


@pytest.mark.slow
def test_everything_of_a_finished_run_is_in_mlflow(make: Callable[..., Path], store: str) -> None:
    folder = make(spec=spec_of(seed=1))
    run_id = mirror(folder, store)
    client = open_store(store)
    run = client.get_run(run_id)
    tags, params = run.data.tags, run.data.params
    assert run.info.status == "FINISHED"
    assert (run.info.end_time, run.info.start_time) == (1795255260000, 1795255200000)
    expected = spec_of(seed=1)
    assert tags["semibench.key"] == expected.key
    assert tags["semibench.row"] == expected.row[:12]
    assert (tags["protocol"], tags["dataset"], tags["method"], tags["backbone"]) == (
        "synthetic",
        "tus",
        "mgcc",
        "mgcc-net",
    )
    assert (tags["recipe"], tags["draw"], tags["fold"], tags["seed"]) == ("quick", "0", "", "1")
    assert tags["semibench.data"] == "d" * 64
    assert tags["semibench.data_kind"] == "phantom"
    assert tags["plugins.method.source"] == "abc"
    assert tags["git.commit"] == "c0ffee"
    assert tags["versions.torch"] == "2.13.0"
    assert params["recipe.weak.flip"] == "0.5"
    assert params["protocol.domains"] == '["a", "b"]'
    assert params["method.decay"] == "0.99"
    assert run.data.metrics["last.main.semibench-1.dice"] == 0.75
    assert run.data.metrics["last.main.semibench-1.dice.nodule"] == 0.75
    assert run.data.metrics["training.seconds"] == 12.5
    assert "last.main.semibench-1.hd95" not in run.data.metrics  # undefined stays undefined
    history = client.get_metric_history(run_id, "loss/supervised")
    assert [point.step for point in history] == list(range(1250))
    assert history[1].value == pytest.approx(1 - 2 / 2500)
    assert "| metric | last main |" in tags["mlflow.note.content"]
    assert "| dice | 0.7500 ± 0.0500 |" in tags["mlflow.note.content"]
    assert "| hd95 [mm] | – (5 of 7) |" in tags["mlflow.note.content"]
    assert "Phantom data" in tags["mlflow.note.content"]
    names = artifacts(store, run_id)
    assert {"spec.json", "split.json", "provenance.json", "steps.parquet", "pictures/overlays-last.png"} <= names
    assert "checkpoints/last.pt" in names
    assert "checkpoints/best.pt" not in names
    experiment = client.get_experiment(run.info.experiment_id)
    assert experiment.name == f"tus (phantom) · synthetic · quick · {expected.track.digest()[:8]}"
    assert str(sqlite_file(store).parent / "mlartifacts") in experiment.artifact_location  # type: ignore[union-attr]


def test_mirroring_again_changes_nothing(make: Callable[..., Path], store: str) -> None:
    folder = make(spec=spec_of(seed=2))
    first = mirror(folder, store)
    before = open_store(store).get_run(first)
    (folder / "mlflow.json").unlink()  # found by its key then
    assert mirror(folder, store) == first
    client = open_store(store)
    after = client.get_run(first)
    assert after.data.metrics == before.data.metrics
    assert len(client.get_metric_history(first, "loss/supervised")) == 1250
    assert len(client.get_metric_history(first, "last.main.semibench-1.dice")) == 1


def test_two_mirrors_of_a_folder_at_the_same_moment_make_one_run(
    make: Callable[..., Path], store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make(spec=spec_of(seed=77))
    open_store(store)
    looking, create = threading.Barrier(2), mirroring._create

    def slow(*given: Any) -> Any:
        time.sleep(0.5)  # time enough for the other one to look for the run, which isn't there yet
        return create(*given)

    def both_begin() -> str:
        looking.wait()
        return mirror(folder, store)

    monkeypatch.setattr(mirroring, "_create", slow)
    with ThreadPoolExecutor(2) as pool:
        first, second = [one.result() for one in [pool.submit(both_begin) for _ in range(2)]]
    assert first == second


def test_a_run_that_was_killed_before_it_recorded_its_code_goes_on_as_one_run(
    make: Callable[..., Path], store: str
) -> None:
    folder = make(spec=spec_of(seed=78), state="running")
    for file in ("provenance.json", "steps.parquet"):
        (folder / file).unlink()
    killed = mirror(folder, store)
    assert mirror(make(spec=spec_of(seed=78)), store) == killed
    run = open_store(store).get_run(killed)
    assert run.info.status == "FINISHED"
    assert run.data.tags["semibench.code"] == RunFolder(folder).provenance.code != ""


def test_a_run_is_followed_from_start_to_end(make: Callable[..., Path], store: str) -> None:
    started = mirror(make(spec=spec_of(seed=3), state="running"), store)
    client = open_store(store)
    assert client.get_run(started).info.status == "RUNNING"
    assert len(client.get_metric_history(started, "loss/supervised")) == 5
    folder = make(spec=spec_of(seed=3), state="running")
    steps_file(folder / "steps.parquet", 10)
    rows = parquet.read_table(folder / "steps.parquet").to_pydict()
    longer = {name: values * 2 for name, values in rows.items()}
    longer["step"][10:] = [step + 5 for step in rows["step"]]
    parquet.write_table(pa.table(longer), folder / "steps.parquet")
    status = json.loads((folder / "status.json").read_text()) | {"state": "done"}
    (folder / "status.json").write_text(json.dumps(status))
    assert mirror(folder, store) == started
    assert client.get_run(started).info.status == "FINISHED"
    assert [point.step for point in client.get_metric_history(started, "loss/supervised")] == list(range(10))


@pytest.mark.slow
@pytest.mark.parametrize(("state", "shown"), [("failed", "FAILED"), ("interrupted", "KILLED")])
def test_failed_and_interrupted_runs_are_shown_so(
    make: Callable[..., Path], store: str, state: str, shown: str
) -> None:
    run_id = mirror(make(spec=spec_of(seed={"failed": 4, "interrupted": 5}[state]), state=state), store)
    run = open_store(store).get_run(run_id)
    assert run.info.status == shown
    assert run.data.tags["semibench.state"] == state
    if state == "failed":
        assert "became nan" in run.data.tags["semibench.error"]
        assert mirror(make(spec=spec_of(seed=4)), store) == run_id  # run again, and well
        assert "semibench.error" not in open_store(store).get_run(run_id).data.tags


@pytest.mark.slow
def test_other_code_or_other_digits_are_another_run_and_the_old_one_is_stale(
    make: Callable[..., Path], store: str
) -> None:
    spec = spec_of(seed=6)
    old = mirror(make(spec=spec), store)
    new = mirror(make(spec=spec, source="changed"), store)
    client = open_store(store)
    assert new != old
    assert client.get_run(old).data.tags["semibench.state"] == "stale"
    folder = make(spec=spec, source="changed")
    steps_file(folder / "steps.parquet", 2500, scale=1.001)  # forced again, other digits
    third = mirror(folder, store)
    assert third not in (old, new)
    assert client.get_run(new).data.tags["semibench.state"] == "stale"
    assert client.get_run(third).data.tags["semibench.state"] == "done"


@pytest.mark.slow
def test_a_deleted_run_or_experiment_is_no_obstacle(make: Callable[..., Path], tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    folder = make()
    first = mirror(folder, uri)
    client = open_store(uri)
    experiment = client.get_run(first).info.experiment_id
    client.delete_run(first)
    second = mirror(folder, uri)
    assert second != first
    client.delete_experiment(experiment)
    assert client.get_run(mirror(folder, uri)).info.experiment_id == experiment


@pytest.mark.slow
def test_real_and_phantom_data_never_share_an_experiment(make: Callable[..., Path], store: str) -> None:
    real = mirror(make(spec=spec_of(seed=7, phantom=False)), store)
    phantom = mirror(make(spec=spec_of(seed=7)), store)
    client = open_store(store)
    runs = [client.get_run(run_id) for run_id in (real, phantom)]
    assert runs[0].info.experiment_id != runs[1].info.experiment_id
    assert runs[0].data.tags["semibench.data_kind"] == "real"
    assert "phantom" not in client.get_experiment(runs[0].info.experiment_id).name


def test_checkpoints_are_chosen(make: Callable[..., Path], store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make(spec=spec_of(seed=8))
    assert not any("checkpoints" in name for name in artifacts(store, mirror(folder, store, checkpoints="none")))
    monkeypatch.setenv("SEMIBENCH_MLFLOW_CHECKPOINTS", "all")
    assert {"checkpoints/last.pt", "checkpoints/best.pt"} <= artifacts(store, mirror(folder, store))
    monkeypatch.setenv("SEMIBENCH_MLFLOW_CHECKPOINTS", "every")
    with pytest.raises(UsageError, match="last, best, all, none"):
        mirror(folder, store)


def test_store_is_the_argument_then_the_environment_then_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    assert store_uri() == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server")
    assert store_uri() == "http://server"
    assert store_uri("sqlite:///x.db") == "sqlite:///x.db"
    assert artifact_root("http://server") is None
    assert sqlite_file("sqlite:///x.db") == tmp_path / "x.db"


def test_wrong_stores_and_folders_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match=r"spec\.json"):
        RunFolder(tmp_path)
    (tmp_path / "spec.json").write_text("{}")
    with pytest.raises(IdentityError, match="not a run spec"):
        RunFolder(tmp_path)
    (tmp_path / "spec.json").write_text(spec_of().model_dump_json())
    (tmp_path / "result.json").write_text("{ cut off")
    with pytest.raises(IdentityError, match="cut off"):
        _ = RunFolder(tmp_path).result
    with pytest.raises(SemibenchError, match=r"sqlite:///path/to/mlflow\.db"):
        open_store("sqlite://")
    (tmp_path / "mlflow.db").write_text("this is no data base, but it is long enough to be taken for one" * 20)
    with pytest.raises(SemibenchError, match="run folders are complete without it"):
        open_store(f"sqlite:///{tmp_path / 'mlflow.db'}")


def test_flatten_writes_nested_values_as_dotted_names() -> None:
    record = {"a": {"b": 1, "c": [1, 2]}, "d": None, "e": {}, "f": [{"g": True}]}
    assert dict(flatten(record)) == {"a.b": "1", "a.c": "[1, 2]", "d": "", "e": "{}", "f.0.g": "True"}


def test_score_tables_have_mean_and_spread_and_count_what_is_undefined() -> None:
    records = [
        score("dice", 0.5),
        score("hd95_mm", 12.5, unit="mm", defined=6),
        score("asd_mm", None, unit="mm", defined=0),
        score("dice", 0.75, checkpoint="best"),
    ]
    columns, rows = score_rows(ScoreSummary(**record) for record in records)["semibench-1"]
    assert columns == ["metric", "last main", "best main"]
    assert rows == [
        ["dice", "0.5000 ± 0.0500", "0.7500 ± 0.0500"],
        ["hd95 [mm]", "12.50 ± 0.0500 (6 of 7)", "–"],
        ["asd [mm]", "– (0 of 7)", "–"],
    ]


def test_values_are_counted_over_cases_and_classes() -> None:
    classes = {"left": 0.4, "right": 0.6}
    records = [score("dice", 0.5, per_class=classes, defined=14), score("hd95_mm", 2.0, per_class=classes, defined=9)]
    _, rows = score_rows(ScoreSummary(**record) for record in records)["semibench-1"]
    assert [row[1] for row in rows] == ["0.5000 ± 0.0500", "2.0000 ± 0.0500 (9 of 14)"]


def test_a_long_description_is_cut_at_a_line(make: Callable[..., Path]) -> None:
    folder = make()
    result = json.loads((folder / "result.json").read_text())
    result["scores"] = [score(f"metric-{i}", 0.5) for i in range(500)]
    (folder / "result.json").write_text(json.dumps(result))
    text = description(RunFolder(folder))
    assert len(text) < LIMIT + 100
    assert "result.json" in text.splitlines()[-1]


PROCESSES = """
import os, sys, traceback
from pathlib import Path
import mlflow.store.tracking.sqlalchemy_store  # what opening a store imports, once for all
from semibench.tracking import mirror
uri, *folders = sys.argv[1:]
waiting, go = os.pipe()
processes = []
for folder in map(Path, folders):
    process = os.fork()
    if process == 0:
        os.close(go)
        os.read(waiting, 1)  # until the last process is there
        try:
            (folder / "id").write_text(mirror(folder, uri))
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    processes.append(process)
os.close(go)
print([os.waitpid(process, 0)[1] for process in processes])
"""


@pytest.mark.slow
def test_four_processes_start_on_a_fresh_store_at_the_same_moment(make: Callable[..., Path], tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'fresh' / 'mlflow.db'}"
    folders = [make(f"run{seed}", spec=spec_of(seed=seed)) for seed in range(4)]
    command = [sys.executable, "-c", PROCESSES, uri, *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert (done.returncode, done.stdout) == (0, "[0, 0, 0, 0]\n"), done.stderr[-2000:]
    client = open_store(uri)
    experiments = [item for item in client.search_experiments() if item.name != "Default"]
    assert len(experiments) == 1
    runs = client.search_runs([experiments[0].experiment_id])
    assert {run.info.run_id for run in runs} == {(folder / "id").read_text() for folder in folders}
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert all(run.data.metrics["last.main.semibench-1.dice"] == 0.75 for run in runs)
