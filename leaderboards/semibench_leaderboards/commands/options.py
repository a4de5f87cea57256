"""Options shared by the commands of the leaderboards."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

WHICH, SCORE, OUTPUT = "Which runs", "Which score", "Output"


def option(panel: str, text: str, *names: str, default: bool = False, **more: Any) -> Any:
    """An option in a panel of the help text. default: whether the help shows its default."""
    return typer.Option(*names, help=text, rich_help_panel=panel, show_default=default, **more)


class Checkpoint(StrEnum):
    """Which weights were scored."""

    last = "last"
    best = "best"


class Unit(StrEnum):
    """What the tests treat as independent."""

    case = "case"
    group = "group"


Runs = Annotated[Path, option(WHICH, "Folder that holds the run folders.", "--runs", default=True)]
Protocol = Annotated[str | None, option(WHICH, "Protocol of the track.", "--protocol", "-p")]
DatasetName = Annotated[str | None, option(WHICH, "Data set of the track.", "--dataset", "-d")]
RecipeName = Annotated[str | None, option(WHICH, "Recipe of the track.", "--recipe", "-r")]
TrackDigest = Annotated[str | None, option(WHICH, "Beginning of the track's digest.", "--track", metavar="DIGEST")]
Phantom = Annotated[bool | None, option(WHICH, "Only phantom data, or only real data.", "--phantom/--real")]
ConventionName = Annotated[
    str | None, option(SCORE, "How predictions are scored (default: semibench-1).", "--convention", "-c")
]
Metric = Annotated[str | None, option(SCORE, "Metric to rank by (default: the convention's main one).", "--metric")]
CheckpointName = Annotated[
    Checkpoint, option(SCORE, "Weights: the last, or the best on validation.", "--checkpoint", default=True)
]
Predictor = Annotated[
    str | None,
    option(SCORE, "Which network of a method; all: a row for each (default: the method's own choice).", "--predictor"),
]
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
