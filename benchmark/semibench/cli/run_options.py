"""The options of `bench run`, in the groups `bench run --help` shows them in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

WHO, REPLICATES, KEPT = "Who competes, and for how long", "Replicates", "Where, and what is kept"


def _option(panel: str, text: str, *names: str, default: bool = False, **more: Any) -> Any:
    """An option of a group; default: show it (None is not worth showing)."""
    return typer.Option(*names, help=text, rich_help_panel=panel, show_default=default, **more)


Protocol = Annotated[str, typer.Option("--protocol", "-p", help="How the split is drawn: `bench list protocols`.")]
DatasetName = Annotated[str, typer.Option("--dataset", "-d", help="`bench list datasets`.")]
Method = Annotated[str | None, _option(WHO, "`bench list methods` (default: the protocol's).", "--method", "-m")]
Backbone = Annotated[str | None, _option(WHO, "`bench list backbones` (default: the method's).", "--backbone", "-b")]
RecipeName = Annotated[
    str, _option(WHO, "Budget and optimiser: smoke, quick, paper, own ...", "--recipe", "-r", default=True)
]
Preset = Annotated[str | None, _option(WHO, "A method's published constants: `bench show method NAME`.", "--preset")]
Dims = Annotated[
    int | None, _option(WHO, "2: a 2D network, on slices of volumes; 3: a 3D one.", "--dims", min=2, max=3)
]
Weights = Annotated[Path | None, _option(WHO, "File of start weights for the backbone.", "--weights")]
Tuned = Annotated[
    str | None,
    _option(WHO, "Weights that a study of `bench tune` found: its name or folder.", "--tuned", metavar="STUDY"),
]
Draw = Annotated[int, _option(REPLICATES, "Which random split.", "--draw", default=True, min=0)]
Fold = Annotated[int | None, _option(REPLICATES, "Which fold of it.", "--fold", min=0)]
Seed = Annotated[int, _option(REPLICATES, "Training randomness.", "--seed", default=True, min=0)]
Seeds = Annotated[str | None, _option(REPLICATES, "Several seeds, one run after the other.", "--seeds", metavar="0-2")]
Conventions = Annotated[
    list[str] | None,
    _option(KEPT, "How to score; repeatable (default: all that apply).", "--convention", "-c", metavar="NAME"),
]
Device = Annotated[str, _option(KEPT, "auto, cpu, cuda, cuda:1, mps.", "--device", default=True)]
Threads = Annotated[
    int | None,
    _option(
        KEPT,
        "CPU threads (default: OMP_NUM_THREADS, else one for small batches, all cores for large ones).",
        "--threads",
    ),
]
Runs = Annotated[Path, _option(KEPT, "Folder of the run folders.", "--runs", default=True)]
Resume = Annotated[bool, _option(KEPT, "Go on from the last checkpoint, or start again.", "--resume/--restart")]
Force = Annotated[bool, _option(KEPT, "Run again though it is done.", "--force")]
Predictions = Annotated[bool, _option(KEPT, "Keep predicted masks, or not.", "--predictions/--no-predictions")]
Pictures = Annotated[bool, _option(KEPT, "Draw overlays and curves, or not.", "--pictures/--no-pictures")]
TrackingUri = Annotated[
    str | None, _option(KEPT, "MLflow store (default: MLFLOW_TRACKING_URI, else ./mlflow.db).", "--tracking-uri")
]
Track = Annotated[bool, _option(KEPT, "Mirror the run in MLflow, or not.", "--track/--no-track")]
PlanOnly = Annotated[bool, _option(KEPT, "Print the plan and end.", "--plan", "--dry-run")]
