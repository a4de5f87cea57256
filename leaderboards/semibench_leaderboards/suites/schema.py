"""The fields of a suite file. docs/suites.md explains them with examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field, field_validator, model_validator

Word = str | int
Names = str | tuple[str, ...]
Settings = tuple[str, ...]


class Strict(BaseModel, frozen=True, extra="forbid"):
    """Refuses unknown keys."""


class Where(Strict, frozen=True):
    """Chooses published values: every field that is given must fit, a list is "one of"."""

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

    def fits(self, value: object) -> bool:
        """Whether a published value has all of it."""
        for name, wanted in self:
            if wanted is None:
                continue
            found = getattr(value, name)
            if str(found) not in {str(item) for item in (wanted if isinstance(wanted, tuple) else (wanted,))}:
                return False
        return True


class Source(Strict, frozen=True):
    """Where the number for a published metric comes from in a run.

    metric: of a convention; convention: another than the suite's. figure: instead, a number of result.json outside the
    scores, e.g. "model.parameters", times scale."""

    metric: str | None = None
    convention: str | None = None
    figure: str | None = None
    scale: float = 1.0

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"metric": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one(self) -> Source:
        if (self.metric is None) == (self.figure is None):
            raise ValueError("name either a metric or a figure")
        return self


class Score(Strict, frozen=True):
    """How finished runs are read. predictor: None takes the method's default one."""

    convention: str = "semibench-1"
    checkpoint: Literal["last", "best"] = "last"
    predictor: str | None = None


class Selection(Strict, frozen=True):
    """On what a paper chose the weights it scored. "test" can't be reproduced by design: the harness never does."""

    by: Literal["test", "validation", "last", "unknown"]
    note: str = ""


class Published(Strict, frozen=True):
    """The table a suite reproduces."""

    paper: str
    table: str

    @field_validator("table", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        return str(value)


class Replicates(Strict, frozen=True):
    """What is averaged over: draws, folds, seeds, and `each`: lists of settings, one per replicate, where the replicates are
    published splits of their own name."""

    draws: tuple[int, ...] | None = Field(None, min_length=1)
    folds: tuple[int, ...] | None = Field(None, min_length=1)
    seeds: tuple[int, ...] | None = Field(None, min_length=1)
    each: tuple[Settings, ...] | None = Field(None, min_length=1)


class Phantom(Replicates, frozen=True):
    """What to do instead on a phantom, which has no published splits. set: in place of the grid's `set`; the fields of
    `Replicates` in place of the grid's; parts: in place of the grid's."""

    set: Settings = ()
    parts: Mapping[str, Settings] | None = None


class Competitor(Strict, frozen=True):
    """Who fills a row. method: default: the name it stands under. row: which values are its row (default: those of the
    method with its name). metrics: in place of the suite's for its rows. lacking: why no run is defined for it though the
    method is there."""

    method: str | None = None
    backbone: str | None = None
    preset: str | None = None
    recipe: str | None = None
    dims: Literal[2, 3] | None = None
    set: Settings = ()
    metrics: Mapping[str, Source] = {}
    row: Where | None = None
    lacking: str = ""
    note: str = ""

    @model_validator(mode="before")
    @classmethod
    def _empty(cls, value: Any) -> Any:
        return {} if value is None else value


class Grid(Replicates, frozen=True):
    """Runs that share protocol, data and settings: one per method (and data set, backbone, protocol where these are lists)
    and replicate.

    presets: competitor -> preset, before its own and the grid's `preset`. parts: name of a column -> settings; every
    replicate is run once per part, which fills the values of that group, and all parts together fill the group "mean".
    score: in place of the suite's. fills: the values this grid is for.
    """

    name: str
    protocol: Names
    dataset: Names
    backbone: Names | None = None
    methods: tuple[str, ...] | Literal["all"] = "all"
    without: tuple[str, ...] = ()
    preset: str | None = None
    presets: Mapping[str, str] = {}
    recipe: str | None = None
    dims: Literal[2, 3] | None = None
    set: Settings = ()
    parts: Mapping[str, Settings] = {}
    score: Score | None = None
    fills: Where | None = None
    phantom: Phantom = Phantom()
    note: str = ""


class Barred(Strict, frozen=True):
    """Values that no run of the harness can fill, and why."""

    where: Where
    reason: str = Field(min_length=10)


class Suite(Strict, frozen=True):
    """A suite file. published, selection, metrics and not_reproducible are for tables of papers; a matrix of one's own
    needs `name` and `grids` (and `methods` where these have options)."""

    name: str
    title: str = ""
    about: str = ""
    published: Published | None = None
    selection: Selection | None = None
    score: Score = Score()
    metrics: Mapping[str, Source] = {}
    recipe: str = "quick"
    dims: Literal[2, 3] | None = None
    backbone: str | None = None
    set: Settings = ()
    draws: tuple[int, ...] = Field((0,), min_length=1)
    folds: tuple[int, ...] | None = Field(None, min_length=1)
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    methods: Mapping[str, Competitor] = {}
    grids: tuple[Grid, ...] = Field(min_length=1)
    not_reproducible: tuple[Barred, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Suite:
        seen = [grid.name for grid in self.grids]
        twice = sorted({name for name in seen if seen.count(name) > 1})
        if twice:
            raise ValueError(f"two grids are called {', '.join(twice)}")
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
        """How the runs of a grid are read."""
        return next((found.score for found in self.grids if found.name == grid and found.score), self.score)

    def competitors(self, grid: Grid) -> dict[str, Competitor]:
        """The methods of a grid by the name they stand under."""
        chosen = tuple(self.methods) if grid.methods == "all" else grid.methods
        return {name: self.methods.get(name, Competitor()) for name in chosen if name not in grid.without}
