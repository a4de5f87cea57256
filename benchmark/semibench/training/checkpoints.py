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
from pydantic import BaseModel, Field, ValidationError

from semibench.contracts.errors import IdentityError, SemibenchError, one_line
from semibench.contracts.method import Method
from semibench.documents import shown
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


class DamagedCheckpoint(IdentityError):
    """A file is no checkpoint, or lacks something."""


class _BestRecord(BaseModel, strict=True):
    value: float
    iteration: int = Field(ge=0)


class _Weights(BaseModel, strict=True, arbitrary_types_allowed=True):
    """What `best.pt` holds besides layout and key."""

    method: dict[str, Any]
    best: _BestRecord | None


class _Position(_Weights, strict=True, arbitrary_types_allowed=True):
    """What `last.pt` holds besides layout and key."""

    stage: int = Field(ge=0)
    step: int = Field(ge=0)
    iteration: int = Field(ge=0)
    frozen: list[str]
    optimisers: dict[str, dict[str, Any]]
    scale: dict[str, Any]
    seconds: float = Field(ge=0, allow_inf_nan=False)
    busy: float = Field(ge=0, allow_inf_nan=False)
    peak_memory: float = Field(allow_inf_nan=False)


def read(path: Path, key: str | None, *, position: bool = False) -> dict[str, Any]:
    """Load a checkpoint to the CPU.

    Args:
        path: the checkpoint.
        key: the run that it must belong to; None: any run.
        position: it must also hold where the training was.

    Raises:
        DamagedCheckpoint: if it is no checkpoint.
        IdentityError: if it belongs to another run or layout.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever unpickling raises; it executes nothing
        raise DamagedCheckpoint(
            f"{path} is not a checkpoint ({type(error).__name__}); start the training again with --restart"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise IdentityError(
            f"{path}: expected a checkpoint of layout {FORMAT}, found {shown(found)}; start the training again with --restart"
        )
    if key is not None and content.get("key") != key:
        raise IdentityError(
            f"{path} belongs to run {str(content.get('key'))[:12]}, not to {key[:12]}; "
            "use the folder of this run, or start the training again with --restart"
        )
    try:
        (_Position if position else _Weights).model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DamagedCheckpoint(
            f"{path} is not a whole checkpoint ({where}: {first['msg'].lower()}); start the training again with --restart"
        ) from error
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
    except (RuntimeError, TypeError, AttributeError) as error:
        raise IdentityError(
            f"{path} does not fit the present {type(method).__name__} (changed code or options?): {one_line(error)}"
        ) from error


def restore_optimiser(optimiser: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Load the state of an optimiser. Raise ValueError, KeyError or TypeError for the state of another one."""
    optimiser.load_state_dict(dict(state))
    for parameter, values in optimiser.state.items():
        for name, value in values.items():
            if isinstance(value, torch.Tensor) and value.ndim and value.shape != parameter.shape:
                raise ValueError(f"{name} has the shape {tuple(value.shape)}, its weight {tuple(parameter.shape)}")


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
            if not path.exists():
                continue
            try:
                content = read(path, self.key, position=True) if intact(path) else None
            except DamagedCheckpoint:
                content = None
            if content is None:
                damaged.append(path)
                continue
            if damaged:
                warn(f"{damaged[0]} is damaged; continuing from {path.name}, some iterations are trained again")
            return content
        if damaged:
            names = ", ".join(path.name for path in damaged)
            raise SemibenchError(
                f"{self.folder}: {names} damaged, no checkpoint to resume from; start the training again with --restart"
            )
        return None
