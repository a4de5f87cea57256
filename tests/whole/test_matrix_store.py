"""24 cells over 8 processes while workers are killed at random: every cell is done exactly once, or reported."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from support.matrix_support import Bench

from semibench.files import read_json

CELLS = 24
GROUP = {
    "seeds": f"0-{CELLS - 1}",
    "set": {"sleep": 2.0, "iterations": 1, "phantom.cases": 12},
    "conventions": "semibench-1",
}
OPTIONS = ("--jobs", "8", "--no-predictions", "--no-pictures")


def workers(driver: int) -> list[psutil.Process]:
    """The processes of cells: children of the driver's fork server."""
    try:
        servers = psutil.Process(driver).children()
        return [worker for server in servers for worker in server.children()]
    except psutil.NoSuchProcess:
        return []


def kill_one(driver: int, dice: random.Random) -> bool:
    found = workers(driver)
    if not found:
        return False
    try:
        dice.choice(found).kill()
    except psutil.NoSuchProcess:
        return False
    return True


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_many_cells_and_a_killer(tmp_path: Path) -> None:
    bench, dice, kills = Bench(tmp_path, tracked=True), random.Random(0), 0
    words = (bench.file("cells.yaml", [GROUP]), *OPTIONS)
    process = bench.start("matrix", *words, "--json", log=tmp_path)
    rest = time.monotonic() + 3.0
    while process.poll() is None:
        time.sleep(0.2)
        if time.monotonic() > rest:
            kills += kill_one(process.pid, dice)
            rest = time.monotonic() + dice.uniform(1.0, 4.0)
    err = (tmp_path / "err").read_text()
    records = json.loads((tmp_path / "out").read_text())
    endings = Counter(record["outcome"] for record in records)
    assert len(records) == CELLS and kills > 1
    assert set(endings) == {"done", "interrupted"}, err
    assert 1 <= endings["interrupted"] <= kills  # a worker may be killed just after it had finished
    assert process.returncode == 1
    for record in records:
        folder = tmp_path / record["folder"]
        done = read_json(folder / "status.json").get("state") == "done" and (folder / "result.json").is_file()
        assert done == (record["outcome"] == "done")
        if record["outcome"] == "interrupted":
            assert "SIGKILL" in record["outcome_reason"]

    again = bench.matrix(*words)
    assert Counter(record["outcome"] for record in again) == {"done": CELLS}
    before = {record["key"]: record["outcome"] for record in records}
    assert all(
        (record["seconds"] is None) == (before[record["key"]] == "done") for record in again
    )  # none is run twice
    for record in again:
        log = (bench.runs / ".matrix" / record["key"] / "log.txt").read_text()
        assert log.count("score last") == 1 or before[record["key"]] == "interrupted"  # killed while it scored

    from semibench.tracking import open_store

    client = open_store(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiments = [one.experiment_id for one in client.search_experiments()]
    runs = client.search_runs(
        experiments, "tags.`semibench.key` != ''", max_results=1000
    )  # not the rows they belong to
    assert Counter(run.info.status for run in runs) == {"FINISHED": CELLS}
    assert len({run.data.tags["semibench.key"] for run in runs}) == CELLS
