"""Paths used by tests; the only module that derives folders from its own location."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
DOCS = ROOT / "docs"
REAL_DATA = Path(os.environ.get("SEMIBENCH_TEST_DATA", ROOT.parent / "shared" / "data"))
"""Folder with BUSBRA/, HC18/ and Task04_Hippocampus/, if it exists."""


def real_data(name: str = "") -> Path:
    """Returns a folder of real images; skips the test with a reason if the folder is missing."""
    folder = REAL_DATA / name
    if not folder.is_dir():
        pytest.skip(f"no real images at {folder}; name the folder that holds them in SEMIBENCH_TEST_DATA")
    return folder


def with_tests(*folders: Path) -> str:
    """Returns a PYTHONPATH with which child processes can import the tests' modules and modules in these folders."""
    paths = [*map(str, folders), str(TESTS), os.environ.get("PYTHONPATH", "")]
    return os.pathsep.join(path for path in paths if path)
