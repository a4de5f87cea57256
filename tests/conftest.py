"""What all tests share: a private cache and store, one thread, the place of real images."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    """--learn: see tests/battery/test_learning.py."""
    parser.addoption("--learn", action="store_true", help="train all methods and record whether they learn")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives each process that runs the tests (xdist deals them out in equal pieces, in this order) its part of the slow ones
    first and then its part of the others, so that at the end there are short ones to share."""
    parts = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    slow = [item for item in items if item.get_closest_marker("slow")]
    others = [item for item in items if not item.get_closest_marker("slow")]
    items[:] = [
        item
        for part in range(parts)
        for group in (slow, others)
        for item in group[part * len(group) // parts : (part + 1) * len(group) // parts]
    ]


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
