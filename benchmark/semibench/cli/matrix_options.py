"""The options of `bench matrix`, in the groups its help shows them in."""

from __future__ import annotations

from typing import Annotated, Any

import typer

WHAT, HOW, WHERE = "Which cells (instead of a file)", "What is done with them", "Where and with what"


def _option(panel: str, text: str, *names: str, default: bool = False, **more: Any) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=panel, show_default=default, **more)


File = Annotated[
    str | None, typer.Argument(metavar="[FILE|SUITE]", help="A YAML file of cells, or a suite: `bench list suites`.")
]
Protocols = Annotated[str | None, _option(WHAT, "Names with commas.", "--protocols", "-p")]
Datasets = Annotated[str | None, _option(WHAT, "Names with commas.", "--datasets", "-d")]
Methods = Annotated[str | None, _option(WHAT, "Names with commas (default: the protocol's).", "--methods", "-m")]
Backbones = Annotated[str | None, _option(WHAT, "Names with commas (default: the methods').", "--backbones", "-b")]
Recipes = Annotated[str | None, _option(WHAT, "Names with commas (default: quick).", "--recipes", "-r")]
Draws = Annotated[str | None, _option(WHAT, "Random splits.", "--draws", metavar="0-2")]
Folds = Annotated[str | None, _option(WHAT, "Folds of each split.", "--folds", metavar="0-4")]
Seeds = Annotated[str | None, _option(WHAT, "Training seeds.", "--seeds", metavar="0-2")]
Plan = Annotated[
    bool, _option(HOW, "Print the cells with state and estimated time; run nothing.", "--plan", "--dry-run")
]
Force = Annotated[bool, _option(HOW, "Also run again what is done.", "--force")]
Retry = Annotated[bool, _option(HOW, "Also run again what failed, ran out of time or of memory.", "--retry")]
Timeout = Annotated[float | None, _option(HOW, "Seconds after which a cell is stopped.", "--timeout", min=0.0)]
Memory = Annotated[float | None, _option(HOW, "MB of memory above which a cell is killed.", "--memory", min=1.0)]
EngineName = Annotated[
    str, _option(WHERE, "local, slurm, ray ...: `bench list engines`.", "--engine", "-e", default=True)
]
EngineSet = Annotated[
    list[str] | None, _option(WHERE, "An option of the engine; repeatable.", "--engine-set", metavar="NAME=VALUE")
]
Jobs = Annotated[int | None, _option(WHERE, "Most cells at once (default: as many as fit).", "--jobs", "-j", min=1)]
Threads = Annotated[
    int, _option(WHERE, "CPU threads per cell; the digits may depend on it.", "--threads", default=True, min=1)
]
Gpus = Annotated[
    float | None,
    _option(WHERE, "GPUs per cell; 0.5: two share one (default: 1 where there are any).", "--gpus", min=0.0),
]
