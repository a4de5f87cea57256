"""Which score a reader asks for. Light: the options of the commands are generated from it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel

from semibench.run.options import Option
from semibench_leaderboards.panels import SCORE

Checkpoint = Literal["last", "best"]
Unit = Literal["case", "group"]
"""What the tests treat as independent: each case, or each group (patient) by the mean of its cases."""


class ScoreRequest(BaseModel, frozen=True, extra="forbid"):
    """Which score a reader asks for, and the unit of its tests. Each board replaces a field that is None with what its runs have.

    convention: None is semibench-1 where the runs were scored so, else the convention that most of them have. metric: None is the
    main metric of the convention. predictor: None is each method's default one; "all" makes every predictor a row of its own.
    unit: what the tests between rows treat as independent; it doesn't change a board.
    """

    convention: Annotated[
        str | None,
        Option("How predictions are scored (default: semibench-1).", ("--convention", "-c"), SCORE),
    ] = None
    metric: Annotated[str | None, Option("Metric to rank by (default: the convention's main one).", panel=SCORE)] = None
    checkpoint: Annotated[Checkpoint, Option("Weights: the last, or the best on validation.", panel=SCORE)] = "last"
    predictor: Annotated[
        str | None,
        Option("Which network of a method; all: a row for each (default: the method's own choice).", panel=SCORE),
    ] = None
    unit: Annotated[Unit, Option("What the tests treat as independent: cases, or groups (patients).", panel=SCORE)] = (
        "case"
    )
