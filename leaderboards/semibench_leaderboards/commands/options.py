"""Options shared by the commands of the leaderboards."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from semibench.cli.generated import Fields
from semibench_leaderboards.ranking.requests import RUNS, SCORE, TRACK_FIELDS, RunFilter

OUTPUT = "Output"
"""Panel of the help."""


def option(panel: str, text: str, *names: str, default: bool = False, **more: Any) -> Any:
    """An option in a panel of the help text. default: whether the help shows its default."""
    return typer.Option(*names, help=text, rich_help_panel=panel, show_default=default, **more)


class Unit(StrEnum):
    """What the tests treat as independent."""

    case = "case"
    group = "group"


Runs = Annotated[Path, option(RUNS, "Folder that holds the run folders.", "--runs", default=True)]
TrackFilter = Annotated[RunFilter, Fields(RunFilter, only=TRACK_FIELDS)]
UnitName = Annotated[
    Unit, option(SCORE, "What the tests treat as independent: cases, or groups (patients).", "--unit", default=True)
]
Sync = Annotated[
    bool,
    option(OUTPUT, "Write the rows of these tracks to MLflow, as parent runs with tables and plots.", "--sync"),
]
TrackingUri = Annotated[
    str | None, option(OUTPUT, "MLflow store (default: MLFLOW_TRACKING_URI, else ./mlflow.db).", "--tracking-uri")
]
