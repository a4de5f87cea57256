"""Digests of source code that are remembered, so that a module needn't be imported to know whether it changed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from semibench.source_digest import remembered_digest, source_digest


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with a module that imports another one."""
    folder = tmp_path / "code" / "clinic_tools"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "parts.py").write_text("WIDTH = 3\n")
    (folder / "method.py").write_text("from clinic_tools.parts import WIDTH\n\nTWICE = 2 * WIDTH\n")
    monkeypatch.syspath_prepend(str(folder.parent))
    return folder


def forget() -> None:
    """As in a new process."""
    source_digest.cache_clear()
    for name in [name for name in sys.modules if name.startswith("clinic_tools")]:
        del sys.modules[name]


def later(file: Path, text: str) -> None:
    """Rewrites a file with a later time."""
    before = file.stat().st_mtime_ns
    file.write_text(text, encoding="utf-8")
    os.utime(file, ns=(before + 10**9, before + 10**9))


def test_a_remembered_digest_is_that_of_the_source(package: Path, tmp_path: Path) -> None:
    store = tmp_path / "digests.json"
    first = remembered_digest("clinic_tools.method", store)
    assert first == source_digest("clinic_tools.method")
    forget()
    assert remembered_digest("clinic_tools.method", store) == first
    assert "clinic_tools.method" not in sys.modules, "the module was imported although its digest is known"
    forget()


@pytest.mark.parametrize("name", ["method", "parts"])
def test_a_changed_file_is_seen(name: str, package: Path, tmp_path: Path) -> None:
    store, file = tmp_path / "digests.json", package / f"{name}.py"
    first = remembered_digest("clinic_tools.method", store)
    forget()
    later(file, file.read_text() + "MORE = 1\n")
    assert remembered_digest("clinic_tools.method", store) != first
    forget()
    later(file, file.read_text().replace("MORE = 1\n", "# a comment changes no result\n"))
    assert remembered_digest("clinic_tools.method", store) == first
    forget()


def test_a_checkout_at_another_place_is_another_one(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "digests.json"
    first = remembered_digest("clinic_tools.method", store)
    other = tmp_path / "other" / "clinic_tools"
    other.mkdir(parents=True)
    for file in package.glob("*.py"):
        (other / file.name).write_text(file.read_text())
    (other / "parts.py").write_text("WIDTH = 4\n")
    forget()
    monkeypatch.syspath_prepend(str(other.parent))
    assert remembered_digest("clinic_tools.method", store) != first
    forget()


@pytest.mark.parametrize("content", ["", "[]", '{"clinic_tools.method": 3}', "no JSON"])
def test_a_damaged_store_costs_time_only(content: str, package: Path, tmp_path: Path) -> None:
    store = tmp_path / "digests.json"
    store.write_text(content)
    assert remembered_digest("clinic_tools.method", store) == source_digest("clinic_tools.method")
    forget()


def test_a_store_that_cannot_be_written_costs_time_only(package: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert remembered_digest("clinic_tools.method", blocked / "digests.json") == source_digest("clinic_tools.method")
    forget()
