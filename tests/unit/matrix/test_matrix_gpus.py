"""GPUs per cell: who gets which, on this machine and on a cluster (none has to be there: engines only count and name them)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.matrix_support import BASE, Bench

from semibench import Job
from semibench.matrix import local
from semibench.matrix.local import Local, LocalOptions
from semibench.matrix.supervision import Handle


class Waiting:
    """A process that runs until it is told to have ended."""

    pid = 2**22 + 1  # no process has it

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment, self.code = dict(environment), None

    def exit_code(self) -> int | None:
        return self.code


class Noted(Local):
    """The local engine with processes that only say what they were given."""

    def __init__(self, folder: Path) -> None:
        super().__init__(LocalOptions(jobs=8), folder)
        self.began: dict[str, Any] = {}

    def _launch(self, job: Job, device: Mapping[str, str]) -> Handle:
        self.began[job.name] = Waiting(device)
        return self.began[job.name]

    @property
    def given(self) -> dict[str, str | None]:
        return {name: one.environment.get("CUDA_VISIBLE_DEVICES") for name, one in self.began.items()}


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Noted:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    monkeypatch.setattr(local, "visible_gpus", lambda: 2)
    return Noted(tmp_path)


def jobs(folder: Path, count: int, gpus: float) -> list[Job]:
    return [Job(str(number), folder / str(number), "a", gpus=gpus) for number in range(count)]


def test_each_cell_gets_a_gpu_of_its_own_and_the_next_one_waits(engine: Noted, tmp_path: Path) -> None:
    engine.start(jobs(tmp_path, 3, 1.0))
    engine.poll()
    assert engine.given == {"0": "3", "1": "5"}
    engine.began["1"].code = 1
    (outcome,) = engine.poll()
    assert (outcome.name, outcome.ending) == ("1", "failed")
    assert engine.given == {"0": "3", "1": "5", "2": "5"}, "the one that became free"


def test_two_halves_share_one(engine: Noted, tmp_path: Path) -> None:
    engine.start(jobs(tmp_path, 5, 0.5))
    engine.poll()
    assert sorted(filter(None, engine.given.values())) == ["3", "3", "5", "5"] and len(engine.given) == 4


def test_cells_that_want_none_are_given_none(engine: Noted, tmp_path: Path) -> None:
    engine.start(jobs(tmp_path, 3, 0.0))
    engine.poll()
    assert engine.given == {"0": None, "1": None, "2": None}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[Bench, Any]]:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    bench = Bench(tmp_path, forked=False, RAY_USAGE_STATS_ENABLED="0", RAY_AUTH_MODE="disabled")
    for name, value in bench.environment.items():
        monkeypatch.setenv(name, value)
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": 2, "include_dashboard": False})
    yield bench, made
    made.shutdown()


@pytest.mark.slow
def test_ray_gives_each_cell_its_gpus_and_refuses_more_than_a_node_has(cluster: tuple[Bench, Any]) -> None:
    bench, made = cluster
    words = (
        *BASE,
        "--seeds",
        "0-1",
        "--set",
        "sleep=1.0",
        "--engine",
        "ray",
        "--engine-set",
        f"address={made.address}",
    )
    records = bench.matrix(*words, "--gpus", "1")
    assert {record["outcome"] for record in records} == {"done"}
    logs = [(bench.runs / ".matrix" / record["key"] / "log.txt").read_text() for record in records]
    seen = [line.rpartition(" ")[2] for log in logs for line in log.splitlines() if "sees the GPUs" in line]
    assert sorted(seen) == ["0", "1"], "each another one: both run at the same time"
    told = bench.call("matrix", *words, "--force", "--gpus", "3", code=2).stderr
    assert "no node has that" in told and "--gpus" in told
