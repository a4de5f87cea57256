"""Options shared by the commands of the leaderboards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from semibench.cli.generated import option_of
from semibench.run.request import Execution
from semibench_leaderboards.panels import OUTPUT, WHICH


def option(panel: str, text: str, *names: str, default: bool = False, **more: Any) -> Any:
    """An option in a panel of the help text. default: whether the help shows its default."""
    return typer.Option(*names, help=text, rich_help_panel=panel, show_default=default, **more)


Runs = Annotated[Path, option(WHICH, "Folder that holds the run folders.", "--runs", default=True)]
Sync = Annotated[
    bool,
    option(OUTPUT, "Write the rows of these tracks to MLflow, as parent runs with tables and plots.", "--sync"),
]
TrackingUri = Annotated[str | None, option_of(Execution, "tracking_uri", panel=OUTPUT)]
