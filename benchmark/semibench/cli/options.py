"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from semibench.cli.app import DEBUG


def _debug(ctx: typer.Context, wanted: bool) -> bool:
    if wanted:
        ctx.meta[DEBUG] = True
    return wanted


Debug = Annotated[bool, typer.Option("--debug", callback=_debug, is_eager=True, help="Show tracebacks of errors.")]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on standard output; all else goes to standard error.")
]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        "--data-root",
        help="Folder with one folder per data set (else SEMIBENCH_DATA, semibench.toml).",
        show_default=False,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="Any recipe field, option or weight; repeatable.", show_default=False
    ),
]
PhantomChoice = Annotated[
    bool | None,
    typer.Option(
        "--phantom/--no-phantom",
        help="Force or forbid the procedural stand-in for the data set (default: only where no files are found).",
        show_default=False,
    ),
]


def phantom_word(choice: bool | None) -> Literal["auto", "always", "never"]:
    """`--phantom/--no-phantom` as a request has it: always, never or auto."""
    return "auto" if choice is None else ("always" if choice else "never")
