"""Checkpoints: atomic, loadable without pickle (`weights_only=True`), tied to the key of their run.

A folder holds `last.pt` (method, optimisers, loss scale, position in the run), `previous.pt` (the one before, used if the
last is damaged), `best.pt` (the last stage's best weights on validation) and `best-<stage>.pt` of earlier stages, from which
a stage with `start="best"` starts.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from semibench.contracts.errors import IdentityError, SemibenchError
from semibench.contracts.method import Method
from semibench.files import synchronise, write_atomically, write_with_torch

FORMAT = 1
"""Version of the layout; other versions are refused."""


def intact(path: Path) -> bool:
    """Return whether a file written by torch.save is complete and all its checksums match."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False


@dataclass(frozen=True)
class Best:
    """The best validation of a stage."""

    value: float
    """Mean foreground Dice."""
    iteration: int
    """Iterations of the run that were done."""


def read(path: Path, key: str | None) -> dict[str, Any]:
    """Load a checkpoint to the CPU. Raise IdentityError if it belongs to another run or layout."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise IdentityError(f"{path}: expected a checkpoint of layout {FORMAT}, found {found}; train the run again")
    if key is not None and content["key"] != key:
        raise IdentityError(
            f"{path} belongs to run {content['key'][:12]}, not to {key[:12]}; "
            "use the folder of this run, or start without --resume"
        )
    return content


def load_method(path: Path, method: Method, key: str | None = None) -> Best | None:
    """Load the weights of `last.pt` or `best.pt` into a method built in the same way, e.g. for scoring.

    Args:
        path: the checkpoint.
        method: receives the weights.
        key: the run that the checkpoint must belong to; None: any run.

    Returns:
        The validation that selected the weights, if any.

    Raises:
        IdentityError: for another run or other parameter names.
        SemibenchError: for a missing or damaged file.
    """
    if not path.is_file():
        raise SemibenchError(f"{path}: this checkpoint does not exist; train the run first")
    if not intact(path):
        raise SemibenchError(
            f"{path}: the file is damaged; resume the run, which continues from the previous checkpoint"
        )
    content = read(path, key)
    restore_state(method, content["method"], path)
    best = content.get("best")
    return Best(best["value"], best["iteration"]) if best else None


def restore_state(method: Method, state: Mapping[str, Any], path: Path) -> None:
    """Load weights and buffers; raise IdentityError if names or shapes differ."""
    try:
        method.load_state_dict(state)
    except RuntimeError as error:
        raise IdentityError(
            f"{path} does not fit the present {type(method).__name__} (changed code or options?): {error}"
        ) from error


class Checkpoints:
    """The checkpoints of one run. Its key is stored in each file and compared on reading."""

    def __init__(self, folder: Path, key: str) -> None:
        self.folder, self.key = folder, key
        self.last = folder / "last.pt"
        self.previous = folder / "previous.pt"
        self.best = folder / "best.pt"

    def best_of(self, stage: str, final: bool) -> Path:
        """Return the path of a stage's best weights: `best.pt` for the last stage of the run."""
        return self.best if final else self.folder / f"best-{stage}.pt"

    def clear(self) -> None:
        """Remove the files of an earlier training."""
        for path in (self.last, self.previous, *self.folder.glob("best*.pt")):
            path.unlink(missing_ok=True)

    def save(self, content: Mapping[str, Any]) -> None:
        """Write `last.pt`; the old one becomes `previous.pt`. One of the two is complete at every moment."""

        def write(temporary: Path) -> None:
            write_with_torch(temporary, {"format": FORMAT, "key": self.key, **content})
            synchronise(temporary)  # before the file that it replaces is put aside
            if self.last.is_file():
                self.last.replace(self.previous)

        write_atomically(self.last, write)

    def save_best(self, method: Method, best: Best, stage: str, final: bool) -> None:
        """Write the best weights of a stage so far."""
        content = {
            "format": FORMAT,
            "key": self.key,
            "stage": stage,
            "method": dict(method.state_dict()),
            "best": {"value": best.value, "iteration": best.iteration},
        }
        write_atomically(self.best_of(stage, final), lambda temporary: write_with_torch(temporary, content))

    def load(self, warn: Callable[[str], None]) -> dict[str, Any] | None:
        """Load the newest complete checkpoint; return None if there is no checkpoint.

        Raises:
            IdentityError: if it belongs to another run.
            SemibenchError: if all checkpoints are damaged.
        """
        damaged = []
        for path in (self.last, self.previous):
            if not path.is_file():
                continue
            if not intact(path):
                damaged.append(path)
                continue
            content = read(path, self.key)
            if damaged:
                warn(f"{damaged[0]} is damaged; continuing from {path.name}, some iterations are trained again")
            return content
        if damaged:
            names = ", ".join(path.name for path in damaged)
            raise SemibenchError(
                f"{self.folder}: {names} damaged, no checkpoint to resume from; start without --resume"
            )
        return None
