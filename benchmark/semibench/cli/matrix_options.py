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

Controls = Annotated[
    bool,
    typer.Option(
        "--controls", help="Also run the control of each method: the same, with the labeled images as the unlabeled ones.",
        rich_help_panel=CONTROL, show_default=False,
    ),
]  # fmt: skip


class Control(BaseModel, frozen=True):
    """Which of the planned cells to run."""

    plan: Annotated[
        bool,
        Option("Print the cells with their state and estimated time; run nothing.", ("--plan", "--dry-run"), CONTROL),
    ] = False
    force: Annotated[bool, Option("Run finished cells again too.", panel=CONTROL)] = False
    retry: Annotated[bool, Option("Run cells again that failed or ran out of time or memory.", panel=CONTROL)] = False


class EngineChoice(BaseModel, frozen=True):
    """The engine that runs the cells, with its options."""

    engine: Annotated[str, Option("local, slurm, ray ...: `bench list engines`.", ("--engine", "-e"), ENGINE)] = "local"
    engine_set: Annotated[
        tuple[str, ...], Option("An option of the engine; repeatable.", panel=ENGINE, metavar="NAME=VALUE")
    ] = ()
    jobs: Annotated[
        int | None,
        Field(ge=1),
        Option("Largest number of cells at once (default: as many as fit).", ("--jobs", "-j"), ENGINE),
    ] = None
