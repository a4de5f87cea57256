"""Engine `ray` on a cluster of two nodes on this machine: a lost node, and the same digits from every engine."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support import fake_slurm
from support.local_files import BESIDE, METHOD
from support.matrix_support import BASE, Bench
from support.own_folders import picture_folders

from semibench.matrix.on_ray import RayOptions

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="the extra `ray` is not installed")

SLOW = ("--set", "sleep=0.2", "--set", "iterations=60")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    more = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    return Bench(tmp_path, forked=False, **fake_slurm.install(tmp_path / "slurm"), **more)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, bench: Bench) -> Iterator[Any]:
    for name, value in bench.environment.items():
        monkeypatch.setenv(name, value)
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield made
    made.shutdown()


def test_a_cluster_is_started_unless_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where another process on this machine has one, which Ray would join and which may end at any time."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert RayOptions().place == "local"
    assert RayOptions(address="auto").place == "auto"
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert (RayOptions().place, RayOptions(address="other:1").place) == ("head:6379", "other:1")


@pytest.mark.slow
def test_cells_of_a_lost_node_are_run_again(bench: Bench, cluster: Any) -> None:
    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    process = bench.start(
        "matrix",
        *BASE,
        "--seeds",
        "0-1",
        *SLOW,
        "--engine",
        "ray",
        "--engine-set",
        f"address={cluster.address}",
        "--json",
    )
    deadline = time.monotonic() + 240
    while len(list(bench.runs.glob("*/checkpoints/last.pt"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    cluster.remove_node(second, allow_graceful=False)
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    records = json.loads(out)
    assert {record["outcome"] for record in records} == {"done"}
    logs = [(bench.runs / ".matrix" / record["key"] / "log.txt").read_text() for record in records]
    assert sorted(log.count("train (60)") for log in logs) == [1, 2]  # the lost one began again, from its checkpoint


@pytest.mark.slow
def test_all_engines_give_the_same_digits(bench: Bench) -> None:
    """One cell of a package's method, and one of a method in a file on a folder of one's own, named by relative paths."""
    picture_folders(bench.folder / "mydata", [f"p{number:02d}" for number in range(12)])
    (bench.folder / "sharpened.py").write_text(METHOD, encoding="utf-8")
    (bench.folder / "confidence.py").write_text(BESIDE, encoding="utf-8")
    tiny = {"iterations": 4, "evaluate_every": 4}
    own = {"datasets": "./mydata", "methods": "./sharpened.py:Sharpened", "recipes": "smoke", "phantom": "auto"}
    cells = bench.file("cells.yaml", [{"set": {"iterations": 4}}, {"set": tiny, **own}])
    found = {}
    for engine in ("local", "slurm", "ray"):
        runs = bench.folder / f"runs_{engine}"
        records = bench.matrix(cells, "--engine", engine, "--runs", str(runs), "--jobs", "2", "--no-pictures")
        assert {record["outcome"] for record in records} == {"done"}
        found[engine] = {record["key"]: digits(runs / record["key"]) for record in records}
    assert found["local"] == found["slurm"] == found["ray"]
    assert len(set(map(str, found["local"].values()))) == 2  # two cells differ


def digits(folder: Path) -> list[float]:
    """All scores and all figures of the training but the clock's."""
    scores = pd.read_parquet(folder / "scores.parquet")
    steps = pd.read_parquet(folder / "steps.parquet").sort_values(["step", "name"])
    losses = steps[steps["name"].str.startswith(("loss/", "lr/", "weight/"))]
    return [*scores["value"].fillna(-1.0), *losses["value"].fillna(-1.0)]


def test_an_impossible_request_is_refused_at_once(bench: Bench) -> None:
    told = bench.call("matrix", *BASE, "--engine", "ray", "--threads", "512", code=2).stderr
    assert "no node has that" in told and "--threads" in told
