"""plan.json: the plan of a run, as shown before it started."""

from __future__ import annotations

from typing import Any, Literal

from semibench.runfolder.format import FolderRecord, Record
from semibench.runfolder.state import State


class BatchSize(Record):
    """Number of samples in an iteration."""

    labeled: int
    unlabeled: int


class PoolSize(Record):
    """Size of one pool of the split. domains: number of cases by domain."""

    cases: int
    groups: int
    domains: dict[str, int]


class PlannedSynthesis(Record):
    """The synthetic cases to be added to the unlabeled ones."""

    generator: str
    count: int
    options: dict[str, Any] = {}


class Estimate(Record):
    """Estimated times in seconds, None if unknown. source: where the figures come from, or why there are none."""

    source: str = ""
    seconds_per_iteration: float | None = None
    training_seconds: float | None = None
    generator_seconds: float | None = None


class ChangedSetting(Record):
    """A setting of a run that differs from the default."""

    value: Any = None
    default: Any = None


class PlanRecord(FolderRecord):
    """plan.json. data: real files or the phantom. split: "drawn" or the name of a published one. settings: all of them, by part,
    as `--set PART.NAME=VALUE` names them. changed: those that differ from the default. strong_views: whether the method uses
    any. cases: sizes by pool. label_budget: number of labeled and validation cases. control: whether the
    unlabeled pool is the labeled one.
    """

    FILE = "plan.json"

    key: str
    state: State
    reasons: tuple[str, ...] = ()
    folder: str
    protocol: str
    dataset: str
    data: Literal["phantom", "real"]
    split: str = ""
    method: str
    preset: str | None = None
    backbone: str
    backbone_options: dict[str, Any] = {}
    recipe: str
    dims: int
    classes: tuple[str, ...]
    iterations: int
    batch: BatchSize
    patch: tuple[int, ...]
    precision: str
    settings: dict[str, dict[str, Any]] = {}
    changed: dict[str, ChangedSetting] = {}
    strong_views: bool = False
    device: str
    draw: int | None = None
    fold: int | None = None
    seed: int
    control: bool = False
    cases: dict[str, PoolSize]
    validation_from: str
    label_budget: int
    synthetic: PlannedSynthesis | None = None
    excluded: dict[str, str] = {}
    warnings: tuple[str, ...] = ()
    estimate: Estimate = Estimate()

    @property
    def axes(self) -> str:
        """The replicate as text: "draw 0 · seed 1"."""
        axes = {"draw": self.draw, "fold": self.fold, "seed": self.seed}
        return " · ".join(f"{axis} {value}" for axis, value in axes.items() if value is not None)
