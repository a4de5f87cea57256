"""What a user asks to see: which runs, and which score of them. Commands generate their options from these records. Light."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel

from semibench.run.request import Option

RUNS, SCORE = "Which runs", "Which score"
"""Panels of the commands' help."""


class RunFilter(BaseModel, frozen=True, extra="forbid"):
    """Selects runs: those that match every field that isn't None. Names may be short or full."""

    protocol: Annotated[str | None, Option("Protocol of the track.", ("--protocol", "-p"), RUNS)] = None
    dataset: Annotated[str | None, Option("Data set of the track.", ("--dataset", "-d"), RUNS)] = None
    recipe: Annotated[str | None, Option("Recipe of the track.", ("--recipe", "-r"), RUNS)] = None
    method: Annotated[str | None, Option("Method of the entry.", ("--method", "-m"), RUNS)] = None
    backbone: Annotated[str | None, Option("Backbone of the entry.", ("--backbone", "-b"), RUNS)] = None
    track: Annotated[str | None, Option("Beginning of the track's digest.", panel=RUNS, metavar="DIGEST")] = None
    row: Annotated[str | None, Option("Beginning of the row's digest.", panel=RUNS, metavar="DIGEST")] = None
    phantom: Annotated[bool | None, Option("Only phantom data, or only real data.", ("--phantom/--real",), RUNS)] = None

    @property
    def is_empty(self) -> bool:
        """Whether it selects all runs."""
        return all(value is None for _, value in self)


TRACK_FIELDS = ("protocol", "dataset", "recipe", "track", "phantom")
"""The fields of a filter that select whole tracks."""


class ScoreRequest(BaseModel, frozen=True, extra="forbid"):
    """Which score a reader asks for. Each board replaces a field that is None with what its runs have."""

    convention: Annotated[
        str | None, Option("How predictions are scored (default: semibench-1).", ("--convention", "-c"), SCORE)
    ] = None
    """None: semibench-1 where the runs were scored with it, else the convention that most of them have."""
    metric: Annotated[str | None, Option("Metric to rank by (default: the convention's main one).", panel=SCORE)] = None
    """None: the main metric of the convention."""
    checkpoint: Annotated[
        Literal["last", "best"], Option("Weights: the last, or the best on validation.", panel=SCORE)
    ] = "last"
    predictor: Annotated[
        str | None,
        Option("Which network of a method; all: a row for each (default: the method's own choice).", panel=SCORE),
    ] = None
    """None: each method's default one. "all": every predictor as a row of its own."""
