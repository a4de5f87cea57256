"""The fields of a suite file. docs/suites.md explains them with examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field, field_validator, model_validator

from semibench.contracts.identity import Score
from semibench.matrix.cells import Controls

Word = str | int
Names = str | tuple[str, ...]
Settings = tuple[str, ...]


class Strict(BaseModel, frozen=True, extra="forbid"):
    """A record that refuses unknown keys."""


class ValueFilter(Strict, frozen=True):
    """Selects published values. Every field that is given must match; a list means "one of"."""

    dataset: Word | tuple[Word, ...] | None = None
    setting: Word | tuple[Word, ...] | None = None
    block: Word | tuple[Word, ...] | None = None
    labeled: Word | tuple[Word, ...] | None = None
    unlabeled: Word | tuple[Word, ...] | None = None
    method: Word | tuple[Word, ...] | None = None
    group: Word | tuple[Word, ...] | None = None
    metric: Word | tuple[Word, ...] | None = None
    role: Word | tuple[Word, ...] | None = None
    unit: Word | tuple[Word, ...] | None = None
    task: Word | tuple[Word, ...] | None = None

    def matches(self, value: object) -> bool:
        """Whether a published value matches every field."""
        for name, accepted in self:
            if accepted is None:
                continue
            words = accepted if isinstance(accepted, tuple) else (accepted,)
            if str(getattr(value, name)) not in {str(word) for word in words}:
                return False
        return True


class MetricSource(Strict, frozen=True):
    """Where the number for a published metric comes from in a run: either a metric or a figure."""

    metric: str | None = None
    """Metric of a convention."""
    convention: str | None = None
    """Convention, where it is not the suite's."""
    figure: str | None = None
    """A number of result.json outside the scores, e.g. "model.parameters"."""
    scale: float = 1.0
    """Factor that the number is multiplied by."""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"metric": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one(self) -> MetricSource:
        if (self.metric is None) == (self.figure is None):
            raise ValueError("name either a metric or a figure")
        return self


class Selection(Strict, frozen=True):
    """The data on which a paper chose the weights that it scored.

    "test" can't be reproduced by design, because the harness never selects on test.
    """

    by: Literal["test", "validation", "last", "unknown"]
    note: str = ""


class Published(Strict, frozen=True):
    """The published table that a suite reproduces."""

    paper: str
    table: str

    @field_validator("table", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        return str(value)


class Replicates(Strict, frozen=True):
    """What is averaged over."""

    draws: tuple[int, ...] | None = Field(None, min_length=1)
    folds: tuple[int, ...] | None = Field(None, min_length=1)
    seeds: tuple[int, ...] | None = Field(None, min_length=1)
    each: tuple[Settings, ...] | None = Field(None, min_length=1)
    """Settings of each replicate, where the replicates are published splits with names of their own."""


class PhantomOverride(Replicates, frozen=True):
    """What to run on a phantom instead, which has no published splits. Its fields replace those of the grid, except that settings
    of the grid's recipe, loss terms, method and backbone stay."""

    set: Settings = ()
    parts: Mapping[str, Settings] | None = None


class Competitor(Strict, frozen=True):
    """The entry that fills a row of the table."""

    method: str | None = None
    """Default: the competitor's name."""
    backbone: str | None = None
    preset: str | None = None
    recipe: str | None = None
    dims: Literal[2, 3] | None = None
    set: Settings = ()
    metrics: Mapping[str, MetricSource] = {}
    """Replaces the suite's metrics for this competitor's rows."""
    row: ValueFilter | None = None
    """Which published values are its row (default: those of the method with the competitor's name)."""
    lacking: str = ""
    """Why no run is defined for it although the method exists."""
    note: str = ""

    @model_validator(mode="before")
    @classmethod
    def _empty(cls, value: Any) -> Any:
        return {} if value is None else value


class Grid(Replicates, frozen=True):
    """Runs that share protocol, data and settings: one for each competitor and replicate, and for each data set, backbone and
    protocol where these are lists."""

    name: str
    protocol: Names
    dataset: Names
    backbone: Names | None = None
    methods: tuple[str, ...] | Literal["all"] = "all"
    without: tuple[str, ...] = ()
    preset: str | None = None
    presets: Mapping[str, str] = {}
    """Competitor -> preset; takes precedence over the competitor's own preset and the grid's."""
    recipe: str | None = None
    dims: Literal[2, 3] | None = None
    set: Settings = ()
    control: Controls | None = None
    """Replaces the suite's."""
    parts: Mapping[str, Settings] = {}
    """Name of a column -> settings. Every replicate is run once for each part and fills the values of that group; all parts
    together fill the group "mean"."""
    score: Score | None = None
    """Replaces the suite's score."""
    fills: ValueFilter | None = None
    """The published values that this grid is for."""
    phantom: PhantomOverride = PhantomOverride()
    note: str = ""


class Unreproducible(Strict, frozen=True):
    """Published values that no run of the harness can fill, and why."""

    where: ValueFilter
    reason: str = Field(min_length=10)


class Suite(Strict, frozen=True):
    """A suite file. `published`, `selection`, `metrics` and `not_reproducible` are for tables of papers; any other list of runs
    needs only `name` and `grids`, and `methods` where these have options."""

    name: str
    title: str = ""
    about: str = ""
    published: Published | None = None
    selection: Selection | None = None
    score: Score = Score()
    metrics: Mapping[str, MetricSource] = {}
    recipe: str = "quick"
    dims: Literal[2, 3] | None = None
    backbone: str | None = None
    set: Settings = ()
    draws: tuple[int, ...] = Field((0,), min_length=1)
    folds: tuple[int, ...] | None = Field(None, min_length=1)
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    control: Controls = False
    """True: the methods' controls; "both": the methods and their controls. A control fills no published value."""
    methods: Mapping[str, Competitor] = {}
    grids: tuple[Grid, ...] = Field(min_length=1)
    not_reproducible: tuple[Unreproducible, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Suite:
        names = [grid.name for grid in self.grids]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"two grids are called {', '.join(repeated)}")
        for grid in self.grids:
            listed = () if grid.methods == "all" else grid.methods
            if self.methods:
                unknown = sorted({*listed, *grid.without} - set(self.methods))
                if unknown:
                    raise ValueError(
                        f"grid {grid.name!r} names {', '.join(unknown)}, which `methods` doesn't list: "
                        f"{', '.join(self.methods)}"
                    )
            elif grid.methods == "all":
                raise ValueError(f"grid {grid.name!r} takes all methods, but `methods` lists none")
        if self.published is not None and not self.metrics:
            raise ValueError("a table of a paper needs `metrics`: published metric -> metric of the harness")
        return self

    def score_of(self, grid: str) -> Score:
        """The score that the runs of a grid are read with."""
        return next((item.score for item in self.grids if item.name == grid and item.score), self.score)

    def competitors(self, grid: Grid) -> dict[str, Competitor]:
        """Name -> competitor of a grid."""
        names = tuple(self.methods) if grid.methods == "all" else grid.methods
        return {name: self.methods.get(name, Competitor()) for name in names if name not in grid.without}
