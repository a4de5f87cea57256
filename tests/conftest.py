"""What all tests share: a private cache and store, one thread, the place of real images."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    """--learn: see tests/battery/test_learning.py. --cpu: what a test costs, however busy the machine is."""
    parser.addoption("--learn", action="store_true", help="train all methods and record whether they learn")
    parser.addoption("--learn-seeds", type=int, default=1, metavar="N", help="with how many seeds --learn trains")
    parser.addoption(
        "--cpu",
        metavar="FILE",
        help="append a line of JSON with the seconds of CPU of each test, its processes included",
    )


def _cpu_seconds() -> float:
    """Returns the seconds of CPU that this process, its ended children and its ended forked commands have used."""
    forked = sys.modules.get("support.forked")
    return sum(os.times()[:4]) + (forked.spent if forked else 0.0)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Writes the line of --cpu."""
    file, before = item.config.getoption("--cpu"), _cpu_seconds()
    try:
        return (yield)
    finally:
        if file:
            line = json.dumps({"test": item.nodeid, "cpu_s": round(_cpu_seconds() - before, 2)})
            with Path(file).open("a", encoding="utf-8") as lines:
                lines.write(line + "\n")


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[Any]:
    """Lets each process of xdist import the tests from another place on. What one has compiled (pytest rewrites all assertions,
    which takes eight seconds of the processor for all tests), the others find compiled."""
    report: Any = yield
    if isinstance(collector, pytest.Directory) and report.result:
        number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
        parts = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
        first = len(report.result) * (number % parts) // parts
        report.result = [*report.result[first:], *report.result[:first]]
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives each process that runs the tests (xdist deals them out in equal pieces, in this order) some files with slow tests first
    and then other tests, so that at the end there are short ones to share. The slow files go round: those of the matrix, which
    stand side by side and mostly wait, would else wait for each other in one process. The order is the same in all processes."""
    items.sort(key=lambda item: str(item.path))
    parts = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    slow = [item for item in items if item.get_closest_marker("slow")]
    slow.sort(key=lambda item: ("types" not in item.keywords, "whole" not in item.path.parts))  # the longest first
    others = iter([item for item in items if not item.get_closest_marker("slow")])
    files = {path: number for number, path in enumerate(dict.fromkeys(item.path for item in slow))}
    ordered: list[pytest.Item] = []
    for part in range(parts):
        piece = [item for item in slow if files[item.path] % parts == part]
        size = (len(items) - len(ordered)) // (parts - part)
        ordered += [*piece, *itertools.islice(others, max(0, size - len(piece)))]
    items[:] = [*ordered, *others]


@pytest.fixture(scope="session", autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Tests never read or write the user's cache, data roots or store. One cache a session, shared by its workers."""
    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent
    cache = shared / "semibench-cache"
    before = {name: os.environ.get(name) for name in ("SEMIBENCH_CACHE", "SEMIBENCH_DATA", "MLFLOW_TRACKING_URI")}
    os.environ["SEMIBENCH_CACHE"] = str(cache)
    os.environ.pop("SEMIBENCH_DATA", None)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    yield cache
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
