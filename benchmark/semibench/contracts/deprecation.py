"""Old names that still work: since when, until when, and what replaces them. Imports the standard library only.

`DEPRECATIONS` lists every old form; the code that still accepts it calls `deprecated(name)`. A test fails as soon as
Semibench's version reaches an entry's `ends`, so that no old form outlives its announcement.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Deprecation:
    """An old form that still works."""

    name: str
    """The old form as users write it."""
    since: str
    """The version that deprecated it, "MAJOR.MINOR"."""
    ends: str
    """The first version without it, "MAJOR.MINOR"."""
    instead: str
    """What to write now."""

    def __str__(self) -> str:
        return (
            f"{self.name} is deprecated since Semibench {self.since} and ends with Semibench {self.ends}: "
            f"use {self.instead}"
        )


DEPRECATIONS: Mapping[str, Deprecation] = {
    entry.name: entry
    for entry in (
        Deprecation("battery(methods=...)", "0.1", "0.3", 'battery({"method": [...]})'),
        Deprecation("battery(backbones=...)", "0.1", "0.3", 'battery({"backbone": [...]})'),
    )
}
"""Every old form that still works, by name."""


def deprecated(name: str, *, stacklevel: int = 2) -> None:
    """Warn that an old form will end, and say what replaces it.

    Args:
        name: an entry of `DEPRECATIONS`.
        stacklevel: as in `warnings.warn`, counted from the caller of this function; 2 is that caller's caller.

    Raises:
        KeyError: if `name` is not in `DEPRECATIONS`.
    """
    warnings.warn(str(DEPRECATIONS[name]), DeprecationWarning, stacklevel=stacklevel + 1)


def overdue(version: str, entries: Mapping[str, Deprecation] = DEPRECATIONS) -> list[Deprecation]:
    """Return the entries whose code must be removed now.

    Args:
        version: the version of Semibench, "MAJOR.MINOR..."; an entry is overdue once it reaches `ends`.
        entries: the deprecations to look through.
    """
    return [entry for entry in entries.values() if _number(entry.ends) <= _number(version)]


def _number(version: str) -> tuple[int, int]:
    major, minor = version.split(".")[:2]
    return int(major), int(minor)
