"""Estimates of time: what would fill the memory or take minutes isn't tried, and says so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from semibench.run import timing
from semibench.run.prepare import prepare
from semibench.run.request import Request
from semibench.run.timing import TooLargeError, bounded
from semibench.runfolder.plans import Estimate

GREEDY = """
import torch
from semibench.run.timing import TooLargeError, bounded

kept = []


class Greedy(torch.nn.Module):
    def forward(self, images):
        kept.append(torch.ones(2**24))  # 64 MiB
        return images


model = Greedy()
try:
    with bounded(60.0, 0.2 * 2**30):
        for _ in range(8):
            model(torch.zeros(1))
except TooLargeError as error:
    print(len(kept), error)
"""


@pytest.mark.slow
def test_memory_is_bounded() -> None:
    """In a process of its own: what other tests have freed would serve the allocations, and nothing would grow."""
    done = subprocess.run([sys.executable, "-c", GREEDY], capture_output=True, text=True, timeout=120, check=True)
    count, _, message = done.stdout.partition(" ")
    assert "needs more than 0.2 GiB" in message
    assert 3 <= int(count) < 8


def test_time_is_bounded_and_only_inside() -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(TooLargeError, match="take more than 0 s"), bounded(0.0, 2.0**40):
        model(torch.zeros(1, 2))
    model(torch.zeros(1, 2))
    with bounded(60.0, 2.0**40):
        model(torch.zeros(1, 2))


def test_a_plan_says_why_it_has_no_estimate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMIBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(timing, "MEASUREMENT_LIMIT", 0.0)
    request = Request(
        protocol="self",
        dataset="tus",
        method="supervised",
        recipe="smoke",
        phantom="always",
        runs=tmp_path / "runs",
        device="cpu",
    )
    assert prepare(request).estimate == Estimate(source="two iterations on noise take more than 0 s here")
    monkeypatch.setattr(timing, "MEASUREMENT_LIMIT", 60.0)
    known = prepare(request).estimate
    assert known.training_seconds is not None and known.training_seconds > 0
