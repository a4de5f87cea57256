"""Runs that a store missed, as small files beside the run folders; the next command mirrors them."""

from __future__ import annotations

import contextlib
from pathlib import Path

from semibench.contracts.identity import SHORT, sha256
from semibench.files import read_cached_json, write_json

FOLDER = ".unmirrored"
"""Folder beside the run folders, with one file for each run and store."""

CLAIM = f"{FOLDER}.lock"
"""File beside the run folders that is locked by the process that catches up."""

MOST = 50
"""How many runs one command catches up on."""


def _file(folder: Path, address: str) -> Path:
    return folder.parent / FOLDER / f"{folder.name}-{sha256(address)[:SHORT]}.json"


def remember(folder: Path, address: str) -> None:
    """Record that a store misses a run in its final state. An address is recorded as a digest: it may hold a password."""
    with contextlib.suppress(OSError):  # a folder of runs that can't be written: nothing is recorded
        write_json(_file(folder, address), {"folder": folder.name, "store": sha256(address)})


def forget(folder: Path, address: str) -> None:
    """Record that the store has the run."""
    file = _file(folder, address)
    with contextlib.suppress(OSError):
        file.unlink(missing_ok=True)
        file.parent.rmdir()


def unmirrored(runs: Path, address: str) -> list[Path]:
    """Return the run folders that a store misses, at most MOST. A record of a folder that is gone is removed."""
    found = []
    for file in sorted((runs / FOLDER).glob("*.json")):
        record = read_cached_json(file)
        name = record.get("folder")
        if record.get("store") != sha256(address) or not isinstance(name, str):
            continue
        folder = runs / name
        if folder.is_dir():
            found.append(folder)
        else:
            forget(folder, address)
    return found[:MOST]
