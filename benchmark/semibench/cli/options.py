"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semibench.cli.console import reserve_stdout
from semibench.cli.generated import option_of
from semibench.run.request import Cell

DEBUG = "semibench.debug"
"""Key in typer's context: whether to show tracebacks."""


def _debug(ctx: typer.Context, show: bool) -> bool:
    if show:
        ctx.meta[DEBUG] = True
    return show


def _json(show: bool) -> bool:
    if show:
        reserve_stdout()
    return show


Debug = Annotated[bool, typer.Option("--debug", callback=_debug, is_eager=True, help="Show tracebacks of errors.")]
Json = Annotated[
    bool,
    typer.Option(
        "--json",
        callback=_json,
        is_eager=True,
        help="Print one JSON document on standard output; everything else goes to standard error.",
    ),
]
DataRoot = Annotated[Path | None, option_of(Cell, "data_root")]
Settings = Annotated[list[str] | None, option_of(Cell, "settings")]
PhantomChoice = Annotated[bool | None, option_of(Cell, "phantom")]
