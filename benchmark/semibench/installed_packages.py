"""Read which packages are installed and which entry points they declare. A package whose own files are damaged hides no other.

Imports the standard library only.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ENTRY_POINTS = vars(importlib.metadata.Distribution)["entry_points"].fget


def hide_damaged_packages() -> None:
    """Let a package whose entry points can't be read have none, in this process.

    Python's own look-up stops at the first such package, and pydantic and torch ask it while they are imported: without this, one
    damaged package, a plug-in or not, ends every command. `bench doctor` names it.
    """
    _hide(importlib.metadata)


@functools.cache
def hide_damaged_packages_from_mlflow() -> None:
    """Do the same for the package importlib_metadata, through which MLflow looks; call it before mlflow is imported."""
    if damaged_packages() and importlib.util.find_spec("importlib_metadata") is not None:
        _hide(importlib.import_module("importlib_metadata"))


def _hide(module: Any) -> None:
    """Replace the property by one that answers with no entry points where the original one raises."""
    original = vars(module.Distribution)["entry_points"].fget

    def readable(found: Any) -> Any:
        try:
            return original(found)
        except Exception:
            return module.EntryPoints()

    module.Distribution.entry_points = property(readable)


def _read_entry_points(found: importlib.metadata.Distribution) -> importlib.metadata.EntryPoints:
    """Return the entry points as Python reads them; raises where they are damaged."""
    points: importlib.metadata.EntryPoints = _ENTRY_POINTS(found)
    return points


@dataclass(frozen=True)
class Package:
    """An installed distribution. fault: why its metadata can't be read; None for a healthy one."""

    name: str
    version: str
    entry_points: tuple[importlib.metadata.EntryPoint, ...] = ()
    fault: str | None = None


def packages() -> tuple[Package, ...]:
    """Return every installed distribution with its entry points, read once per process and search path."""
    return _read(tuple(sys.path))


def damaged_packages() -> list[Package]:
    """Return the distributions whose metadata can't be read."""
    return [package for package in packages() if package.fault is not None]


@functools.cache
def _read(search_path: tuple[str, ...]) -> tuple[Package, ...]:
    return tuple(_package(found) for found in importlib.metadata.distributions(path=list(search_path)))


def _package(found: importlib.metadata.Distribution) -> Package:
    name, version = _identity(found)
    try:
        return Package(name, version, tuple(_read_entry_points(found)))
    except (
        Exception
    ) as error:  # a line that isn't `name = value`, other letters than UTF-8, a file that can't be opened
        reason = " ".join(str(error).split())
        fault = (
            f"the file entry_points.txt of this package can't be read: expected lines like `name = module:object`, found "
            f"{_odd_line(found) or f'{type(error).__name__}: {reason}'}; install the package again, or remove it"
        )
        return Package(name, version, fault=fault)


def _identity(found: importlib.metadata.Distribution) -> tuple[str, str]:
    """Return name and version; where METADATA is missing or damaged, as the folder's name has them."""
    folder = Path(str(getattr(found, "_path", "unknown"))).stem
    name: str | None
    version: str | None
    try:
        metadata = found.metadata
        name, version = metadata["Name"], metadata["Version"]
    except Exception:
        name = version = None
    return str(name or folder.partition("-")[0] or "unknown").lower().replace("_", "-"), str(version or "unknown")


def _odd_line(found: importlib.metadata.Distribution) -> str:
    """Return the first line that is neither a section nor `name = value`, quoted; "" if none is found."""
    try:
        lines: Iterable[str] = (found.read_text("entry_points.txt") or "").splitlines()
    except Exception:
        return ""
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text and not text.startswith(("#", ";", "[")) and "=" not in text:
            return f"line {number}: {text[:80]!r}"
    return ""
