"""Options of `bench matrix` that are not fields of a request."""

from __future__ import annotations

from typing import Annotated

import typer
from pydantic import BaseModel, Field

from semibench.matrix.limits import CONTROL, ENGINE
from semibench.run.options import Option

File = Annotated[
    str | None, typer.Argument(metavar="[FILE|SUITE]", help="A YAML file of cells, or a suite: `bench list suites`.")
]


class Control(BaseModel, frozen=True):
    """Which of the planned cells are run."""

    plan: Annotated[
        bool,
        Option("Print the cells with state and estimated time; run nothing.", ("--plan", "--dry-run"), CONTROL),
    ] = False
    force: Annotated[bool, Option("Also run again what is done.", panel=CONTROL)] = False
    retry: Annotated[bool, Option("Also run again what failed, ran out of time or of memory.", panel=CONTROL)] = False


class EngineChoice(BaseModel, frozen=True):
    """Which engine runs the cells, with its options."""

    engine: Annotated[str, Option("local, slurm, ray ...: `bench list engines`.", ("--engine", "-e"), ENGINE)] = "local"
    engine_set: Annotated[
        tuple[str, ...], Option("An option of the engine; repeatable.", panel=ENGINE, metavar="NAME=VALUE")
    ] = ()
    jobs: Annotated[
        int | None,
        Field(ge=1),
        Option("Most cells at once (default: as many as fit).", ("--jobs", "-j"), ENGINE),
    ] = None
