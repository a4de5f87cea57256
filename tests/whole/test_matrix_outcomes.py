"""What becomes of cells: every outcome of the closed list, retries, interruptions, exit codes; local engine, real processes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.matrix_support import BASE, Bench, endings

from semibench.contracts.engine import Job
from semibench.files import read_json, write_json
from semibench.matrix import supervision
from semibench.matrix.supervision import Supervised


def store_runs(bench: Bench) -> list[dict[str, str]]:
    """Tags of all runs in the folder's MLflow store."""
    from semibench.tracking import open_store

    client = open_store(f"sqlite:///{bench.folder / 'mlflow.db'}")
    experiments = [one.experiment_id for one in client.search_experiments()]
    runs = client.search_runs(
        experiments, "tags.`semibench.key` != ''", max_results=1000
    )  # not the rows they belong to
    return [run.data.tags | {"status": run.info.status} for run in runs]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def tracked(tmp_path: Path) -> Bench:
    return Bench(tmp_path, tracked=True)


@pytest.mark.slow
def test_every_outcome_and_its_retry(tracked: Bench) -> None:
    bench = tracked
    kinds = ["none", "fail", "crash", "die", "memory", "torch-memory", "grow", "refuse"]
    marker = bench.folder / "over"
    groups = [{"set": {"how": kind, "marker": str(marker)}} for kind in kinds]
    file = bench.file("cells.yaml", groups)
    limits = ("--memory", "2500", "--timeout", "300", "--jobs", "2")

    first = bench.matrix(file, *limits, code=1)
    assert endings(first) == {
        "none": "done", "fail": "failed", "crash": "failed", "die": "failed", "memory": "out-of-memory",
        "torch-memory": "out-of-memory", "grow": "out-of-memory", "refuse": "skipped",
    }  # fmt: skip
    reasons = {record["cell"]["settings"][0]: record["outcome_reason"] for record in first}
    assert "on purpose" in reasons["how=fail"]
    assert "SIGSEGV" in reasons["how=crash"]
    assert "exit code 7" in reasons["how=die"]
    assert "the limit is 2500 MB" in reasons["how=grow"]
    assert "it doesn't want to" in reasons["how=refuse"]
    done = next(record for record in first if record["cell"]["settings"][0] == "how=none")
    scores = bench.folder / done["folder"] / "scores.parquet"
    stamp = scores.stat().st_mtime_ns

    plan = bench.matrix(file, "--plan")
    states = {record["cell"]["settings"][0]: record["state"] for record in plan}
    assert states["how=none"] == "done" and states["how=refuse"] == "skipped"
    assert {states[f"how={kind}"] for kind in ("fail", "crash", "die", "memory", "grow")} == {"failed"}

    again = bench.matrix(file, *limits, code=1)  # nothing is run: what failed waits for --retry
    assert all(record["seconds"] is None for record in again)
    marker.touch()
    other = bench.matrix(file, *limits, "--set", "how=none", "--plan")
    assert [record["state"] for record in other] == [
        "done"
    ]  # the setting takes the place of the file's: one run in all
    retried = bench.matrix(file, "--retry", *limits, code=1)
    assert endings(retried) == dict.fromkeys(kinds, "done") | {"refuse": "skipped"}
    assert scores.stat().st_mtime_ns == stamp  # what was done was not run again

    tags = store_runs(bench)
    keys = [tag["semibench.key"] for tag in tags if tag.get("semibench.state") != "stale"]
    assert len(keys) == len(set(keys))
    assert sum(tag["status"] == "FINISHED" for tag in tags) == len(kinds) - 1


@pytest.mark.slow
def test_a_time_out_stops_one_cell_and_a_longer_one_goes_on_from_its_checkpoint(bench: Bench) -> None:
    marker = bench.folder / "over"
    cells = (*BASE, "--set", "sleep=0.5", "--set", "iterations=80", "--set", f"marker={marker}", "--seeds", "7")
    first = bench.matrix(*cells, "--timeout", "25", code=1)  # a slow machine needs most of it to begin
    assert [record["outcome"] for record in first] == ["timeout"]
    assert "25 s" in first[0]["outcome_reason"]
    assert [record["state"] for record in bench.matrix(*cells, "--plan")] == ["failed"]
    began = read_json(bench.runs / first[0]["key"] / "status.json")
    assert began["state"] == "interrupted"
    marker.touch()
    second = bench.matrix(*cells, "--retry")
    assert [record["outcome"] for record in second] == ["done"]


@pytest.mark.slow
def test_control_c_saves_and_a_second_call_goes_on(bench: Bench) -> None:
    words = ("matrix", *BASE, "--seeds", "0-3", "--set", "sleep=0.2", "--set", "iterations=40", "--jobs", "2")
    process = bench.start(*words)
    deadline = time.monotonic() + 200
    while not any(bench.runs.glob("*/checkpoints/last.pt")) and time.monotonic() < deadline:
        time.sleep(0.1)
    before = {path.parent.parent.name for path in bench.runs.glob("*/checkpoints/last.pt")}
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 1, err
    assert "interrupted" in out and "not started" in out
    plan = bench.matrix(*BASE, "--seeds", "0-3", "--set", "sleep=0.2", "--set", "iterations=40", "--plan")
    assert {record["state"] for record in plan} <= {"interrupted", "missing", "done"}
    assert any(record["state"] == "interrupted" and "checkpoint" in record["reason"] for record in plan)
    records = bench.matrix(*BASE, "--seeds", "0-3", "--set", "sleep=0.2", "--set", "iterations=40", "--jobs", "4")
    assert {record["outcome"] for record in records} == {"done"}
    assert before
    for key in before:  # the first step is made once: the second attempt went on from the checkpoint
        log = (bench.runs / ".matrix" / key / "log.txt").read_text(encoding="utf-8")
        assert log.count("sees the GPUs") == 1


@pytest.mark.slow
def test_two_matrices_with_the_same_cells_both_end_well(tracked: Bench) -> None:
    bench = tracked
    words = ("matrix", *BASE, "--seeds", "0-3", "--set", "sleep=0.1", "--set", "iterations=10", "--jobs", "1")
    both = [bench.start(*words, "--json") for _ in range(2)]
    found = [process.communicate(timeout=400) for process in both]
    assert [process.returncode for process in both] == [0, 0], found
    for out, _ in found:
        assert [record["state"] if record["outcome"] is None else record["outcome"] for record in json.loads(out)] == [
            "done"
        ] * 4
    keys = [tags["semibench.key"] for tags in store_runs(bench)]
    assert len(keys) == len(set(keys)) == 4


def test_wrong_requests_run_nothing(bench: Bench) -> None:
    words = bench.call("matrix", "-p", "self", "-d", "discs", "-m", "troubel", "-r", "tiny", "--phantom", code=2).stderr
    assert "no method is called 'troubel'" in words and "'trouble'" in words
    assert "--datasets not given" in bench.call("matrix", "-p", "self", code=2).stderr
    (bench.folder / "wrong.yaml").write_text("cells:\n  - protocols: self\n    dataset: discs\n", encoding="utf-8")
    told = bench.call("matrix", "wrong.yaml", code=2).stderr
    assert "wrong.yaml:3: unknown key 'dataset'; did you mean 'datasets'?" in told
    assert "wrong.yaml:2: cells.0.datasets is missing" in told
    assert "--seeds" in bench.call("matrix", *BASE, "--seeds", "2-1", code=2).stderr
    assert "no engine is called 'moon'" in bench.call("matrix", *BASE, "--engine", "moon", code=2).stderr


class Sleeper:
    """A process that ignores SIGTERM."""

    def __init__(self, job: Job) -> None:
        code = (
            "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
        )
        self.process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.process.stdout.readline()

    @property
    def pid(self) -> int:
        return self.process.pid

    def exit_code(self) -> int | None:
        return self.process.poll()


def wait(running: Supervised, seconds: float) -> str:
    deadline = time.monotonic() + seconds
    while (outcome := running.poll()) is None and time.monotonic() < deadline:
        time.sleep(0.02)
    return outcome.ending if outcome else "running"


def test_a_process_that_ignores_the_time_out_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "GRACE", 0.3)
    running = Supervised(Job("a", tmp_path, "1", timeout=0.2), Sleeper)
    assert wait(running, 10) == "timeout"
    assert read_json(tmp_path / "outcome.json")["ending"] == "timeout"


class Ended:
    """A process that has ended."""

    pid = 2**22 + 1  # no process has it

    def __init__(self, job: Job, code: int = 0) -> None:
        self.job, self.code = job, code

    def exit_code(self) -> int | None:
        return self.code


def test_the_run_is_believed_where_another_matrix_took_the_word(tmp_path: Path) -> None:
    folder, run = tmp_path / ".matrix" / "abc", tmp_path / "abc"
    folder.mkdir(parents=True)
    run.mkdir()
    write_json(folder / "outcome.json", {"attempt": "theirs", "ending": "done", "reason": ""})
    write_json(run / "status.json", {"state": "running"})
    assert wait(Supervised(Job("a", folder, "mine"), Ended), 1) == "failed"
    write_json(run / "status.json", {"state": "done"})
    assert wait(Supervised(Job("a", folder, "other"), Ended), 1) == "done"


def test_killed_after_the_last_word_of_the_run_is_done(tmp_path: Path) -> None:
    folder, run = tmp_path / ".matrix" / "abc", tmp_path / "abc"
    folder.mkdir(parents=True)
    run.mkdir()
    for process, ending in ((Ended.pid + 1, "interrupted"), (Ended.pid, "done")):  # of an older attempt; of this one
        write_json(run / "status.json", {"state": "done", "process": process})
        assert wait(Supervised(Job("a", folder, ending), lambda job: Ended(job, -signal.SIGKILL)), 1) == ending
        assert read_json(folder / "outcome.json")["ending"] == ending


def test_killed_from_outside_is_interrupted_and_an_old_outcome_counts_for_nothing(tmp_path: Path) -> None:
    write_json(tmp_path / "outcome.json", {"attempt": "before", "ending": "done", "reason": ""})
    running = Supervised(Job("a", tmp_path, "now"), Sleeper)
    assert running.poll() is None
    running.kill()
    assert wait(running, 10) == "interrupted"
    assert "SIGKILL" in read_json(tmp_path / "outcome.json")["reason"]
