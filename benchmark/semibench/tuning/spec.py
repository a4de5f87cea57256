"""What defines a study."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from semibench.run.request import Cell, Request
from semibench.run.settings import texts
from semibench.tuning.space import Dimension

Sampler = Literal["tpe", "cmaes", "gp", "random", "grid"]
Pruner = Literal["median", "hyperband", "none"]


class StudySpec(BaseModel, frozen=True, extra="forbid"):
    """Everything that defines a study."""

    name: str
    """Name of the study."""
    request: Cell
    """The run that every trial is a variant of."""
    space: tuple[Dimension, ...]
    """The search space."""
    sampler: Sampler = "tpe"
    """Optuna's sampler."""
    pruner: Pruner = "median"
    """Optuna's pruner."""
    seed: int = 0
    """Seed of the sampler."""
    labels: int
    """Number of validation cases that each trial uses."""
    labels_from: str
    """Where these cases come from."""
    phantom: bool
    """Whether the data are phantoms."""
    method: str
    """Name of the method."""
    backbone: str
    """Name of the backbone."""
    iterations: int
    """Iterations of a trial."""
    storage: str | None = None
    """URL of a data base; None: the journal in the folder."""

    def make_request(self, values: Mapping[str, Any], runs: Path, *, device: str, threads: int | None) -> Request:
        """Return the request of a trial: the study's request with the trial's values."""
        settings = (*self.request.settings, *self.settings(values))
        cell = self.request.model_copy(update={"settings": settings})
        return cell.request(runs=runs, device=device, threads=threads, track=False)

    def settings(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        """Return values by name as texts for --set."""
        return texts({dimension.setting: values[dimension.name] for dimension in self.space})
