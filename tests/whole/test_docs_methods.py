"""The page of all methods: each has its row in each table that concerns it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from semibench.discovery.registry import BUILT_IN, registry

ROOT = next(folder for folder in Path(__file__).parents if (folder / "mkdocs.yml").is_file())


@pytest.fixture(scope="module")
def methods_page() -> ModuleType:
    """The module that mkdocs calls."""
    spec = importlib.util.spec_from_file_location("methods_page", ROOT / "docs" / "methods_page.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_built_in_method_has_its_row(methods_page: Any) -> None:
    names = {item.name for item in registry().cards("methods") if item.distribution == BUILT_IN}
    lines = methods_page.overview(methods_page.methods()).splitlines()
    overview = [line for line in lines if line.startswith("| `")]
    assert {line.split("`")[1] for line in overview} == names and len(overview) == len(names)
    assert f"{len(names)} methods are built in" in methods_page.page()


def test_learning_is_what_the_record_says(methods_page: Any) -> None:
    record = json.loads((ROOT / "tests" / "battery" / "learning_record.json").read_text(encoding="utf-8"))
    lines = methods_page.learned(methods_page.methods()).splitlines()
    (line,) = (line for line in lines if line.startswith("| `em` |"))
    main = record["em"]["predictors"]["main"]
    assert f"{main['saved']:.3f} ({main['estimated']:.3f})" in line and f"| {record['em']['chance']:.3f} |" in line


def test_presets_of_published_rows(methods_page: Any) -> None:
    lines = methods_page.published_rows(methods_page.methods()).splitlines()
    rows = {tuple(cell.strip() for cell in line.split("|")[1:3]): line for line in lines}
    assert "`diff-cl-3`" in rows["`mc-net`", "`la`"] and "`semsim-i`" in rows["`em`", "`ssl4mis`"]
