"""Rooms, the packages and loose modules directly below an import package, import each other in one direction."""

from __future__ import annotations

import ast
import functools
import graphlib
from collections.abc import Mapping
from pathlib import Path

import pytest
from support.places import ROOT

PACKAGES = {
    "semibench": ROOT / "benchmark",
    "semibench_plugins": ROOT / "plugins",
    "semibench_leaderboards": ROOT / "leaderboards",
}


def modules(package: str, folder: Path) -> dict[str, Path]:
    """Module -> file, of everything in the package that lies in the folder."""
    named = {}
    for path in (folder / package).rglob("*.py"):
        parts = path.relative_to(folder).with_suffix("").parts
        named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return named


@functools.cache
def imported(path: Path) -> set[str]:
    """Dotted names that a file imports anywhere, in functions and for types, too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def rooms(package: str, folder: Path) -> Mapping[str, set[str]]:
    """Room -> the other rooms that it imports. The package's own `__init__` only re-exports names and is no room."""
    known, arrows = modules(package, folder), dict[str, set[str]]()
    for module, path in known.items():
        if module != package:
            here = module.split(".")[1]
            there = {name.split(".")[1] for name in imported(path) & known.keys() - {package}}
            arrows.setdefault(here, set()).update(there - {here})
    return arrows


def circle(arrows: Mapping[str, set[str]]) -> list[str]:
    """Rooms that import each other, in order; empty if there are none."""
    try:
        graphlib.TopologicalSorter(arrows).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_rooms_import_each_other(package: str) -> None:
    arrows = rooms(package, PACKAGES[package])
    assert len(arrows) > 5 and circle(arrows) == []


def test_the_harness_imports_neither_plug_ins_nor_leaderboards() -> None:
    others = ("semibench_plugins", "semibench_leaderboards")
    for module, path in modules("semibench", PACKAGES["semibench"]).items():
        assert [name for name in imported(path) if name.startswith(others)] == [], module


def test_few_modules_stand_outside_of_the_rooms() -> None:
    loose = {path.stem for path in (ROOT / "benchmark" / "semibench").glob("*.py")} - {"__init__"}
    assert len(loose) <= 8, f"a room is the place for one of {sorted(loose)} (docs/architecture.md)"


def test_a_circle_is_found_wherever_the_import_stands(tmp_path: Path) -> None:
    files = {"__init__.py": "", "low/__init__.py": "", "low/a.py": "def f():\n    from house.high import b\n",
             "high/__init__.py": "", "high/b.py": "import house.low.a\n", "loose.py": "from house import high\n"}  # fmt: skip
    for name, text in files.items():
        (tmp_path / "house" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "house" / name).write_text(text, encoding="utf-8")
    arrows = rooms("house", tmp_path)
    assert arrows == {"low": {"high"}, "high": {"low"}, "loose": {"high"}}
    assert set(circle(arrows)) == {"low", "high"}
    assert circle({**arrows, "low": set()}) == []
