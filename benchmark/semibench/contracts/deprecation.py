"""What still works under an old name, since when, until when, and what to use instead. Light: standard library only.

An old form is entered in `DEPRECATIONS`; the code that still takes it calls `deprecated(name)`. A test fails as soon as
Semibench's version reaches `ends` of an entry, so that nothing outlives its announcement.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Deprecation:
    """name: the old form as its users write it. since, ends: versions "MAJOR.MINOR"; from `ends` on it is gone.
    instead: what to write."""

    name: str
    since: str
    ends: str
    instead: str

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
    """Warns (DeprecationWarning) that `name` ends and what to use. stacklevel: as in `warnings.warn`, counted from the
    caller of this function; 2 is whoever called that one. Raises KeyError for a form that isn't in `DEPRECATIONS`."""
    warnings.warn(str(DEPRECATIONS[name]), DeprecationWarning, stacklevel=stacklevel + 1)


def overdue(version: str, entries: Mapping[str, Deprecation] = DEPRECATIONS) -> list[Deprecation]:
    """Entries whose `ends` this version has reached: their code is to be removed now."""
    return [entry for entry in entries.values() if _number(entry.ends) <= _number(version)]


def _number(version: str) -> tuple[int, int]:
    major, minor = version.split(".")[:2]
    return int(major), int(minor)
