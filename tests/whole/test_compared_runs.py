"""`bench run` without a method: the run beside its references, each in a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest
from support.command_line import bench, bench_forked, in_one_line
from support.forked import Forked

SMALL = ("run", "-p", "self", "-d", "tus", "-r", "smoke", "--phantom", "--set", "phantom.cases=60",
         "--set", "phantom.scale=0.2", "--device", "cpu", "--no-track")  # fmt: skip


def test_a_first_run_ends_with_a_table_of_it_and_its_references(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEMIBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    done = bench_forked(*SMALL)
    assert done.returncode == 0, done.stderr
    assert "beside it: labels alone (--no-compare leaves them out)" in done.stderr
    assert "labels alone: Dice" in done.stderr and "overlays.png" in done.stderr
    said = in_one_line(done.stdout)
    assert "minus labels alone" in said and "bench leaderboard --dataset tus" in said
    assert len(list(tmp_path.glob("runs/*/result.json"))) == 2

    again = bench(*SMALL, "--compare", "--json")
    mgcc, labels = json.loads(again.stdout)
    dice = dict(re.findall(r"^(labels alone|mgcc) +(\d\.\d{4}) ±.*runs/", done.stdout, re.MULTILINE))
    for title, record in (("mgcc", mgcc), ("labels alone", labels)):
        scores = record["scores"]
        found = [
            s for s in scores if (s["checkpoint"], s["convention"], s["metric"]) == ("last", "semibench-1", "dice")
        ]
        assert f"{found[0]['mean']:.4f}" == dice[title]

    alone = bench(*SMALL, "--no-compare", "--seed", "1")
    assert "minus labels alone" not in alone.stdout
    assert len(list(tmp_path.glob("runs/*/result.json"))) == 3


def test_stopping_the_command_stops_its_references_in_order(tmp_path: Path) -> None:
    environment = os.environ | {"SEMIBENCH_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    endless = [*SMALL, "--set", "iterations=100000", "--set", "evaluate_every=0"]
    process = Forked(endless, tmp_path, environment)
    until = time.monotonic() + 240
    while len(list(tmp_path.glob("runs/*/checkpoints/last.pt"))) < 2 and time.monotonic() < until:
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1 and "the same command resumes" in errors and "Traceback" not in errors
    states = {json.loads(file.read_text())["state"] for file in tmp_path.glob("runs/*/status.json")}
    assert states == {"interrupted"}
