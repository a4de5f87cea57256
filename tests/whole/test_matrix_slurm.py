"""Engine `slurm` through submitit on a scheduler of scripts: arrays, preemption, a lost node, cancelling."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from support import fake_slurm
from support.matrix_support import BASE, Bench

from semibench.files import read_json

SLOW = ("--set", "sleep=0.2", "--set", "iterations=60")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    variables = fake_slurm.install(tmp_path / "slurm")
    monkeypatch.setenv(fake_slurm.STATES_VARIABLE, variables[fake_slurm.STATES_VARIABLE])
    return Bench(tmp_path, **variables)


def task_that_trains(bench: Bench, seconds: float = 240.0) -> int:
    """Number of a task whose cell has a checkpoint; the first two tasks are looked at."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for run in bench.runs.glob("*/checkpoints/last.pt"):
            seed = read_json(run.parent.parent / "spec.json")["replicate"]["seed"]
            if seed in (0, 1):
                return int(seed)
        time.sleep(0.1)
    raise AssertionError("no cell reached a checkpoint")


@pytest.mark.slow
def test_a_preempted_task_is_queued_again_and_a_lost_node_is_reported(bench: Bench) -> None:
    process = bench.start(
        "matrix", *BASE, "--seeds", "0-2", *SLOW, "--engine", "slurm", "--jobs", "2", "--json",
        "--engine-set", "more={wait-all-nodes: 0}", "--engine-set", "ask_every=1",
    )  # fmt: skip
    preempted = task_that_trains(bench)
    fake_slurm.send("100", preempted, signal.SIGUSR2)
    lost = 1 - preempted
    while fake_slurm.read("100", lost)["state"] != "RUNNING":
        time.sleep(0.1)
    fake_slurm.write("100", lost, state="NODE_FAIL")
    fake_slurm.send("100", lost, signal.SIGKILL)
    out, err = process.communicate(timeout=400)
    assert process.returncode == 1, err
    import json

    found = {record["cell"]["seed"]: record for record in json.loads(out)}
    assert found[preempted]["outcome"] == "done" and found[2]["outcome"] == "done"
    assert fake_slurm.read("100", preempted)["starts"] == 2
    log = (bench.runs / ".matrix" / found[preempted]["key"] / "log.txt").read_text()
    assert log.count("train (60)") == 2  # stopped and taken up
    assert found[lost]["outcome"] == "interrupted" and "NODE_FAIL" in found[lost]["outcome_reason"]
    plan = bench.matrix(*BASE, "--seeds", "0-2", *SLOW, "--plan")
    assert sorted(record["state"] for record in plan) == ["done", "done", "interrupted"]


@pytest.mark.slow
def test_control_c_cancels_the_tasks(bench: Bench) -> None:
    process = bench.start(
        "matrix", *BASE, "--seeds", "0-2", *SLOW, "--engine", "slurm", "--jobs", "1", "--engine-set", "ask_every=1"
    )
    task_that_trains(bench)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    assert "3 interrupted" in out
    assert {fake_slurm.read("100", task)["state"] for task in range(3)} == {"CANCELLED"}


def test_without_a_scheduler_it_says_so(tmp_path: Path) -> None:
    told = Bench(tmp_path, PATH="/usr/bin:/bin").call("matrix", *BASE, "--engine", "slurm", code=2).stderr
    assert "`sbatch` is not on the PATH" in told
