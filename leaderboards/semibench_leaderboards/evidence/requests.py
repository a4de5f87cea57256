"""What a user asks of `bench score` and `bench rerun`. Light: the options of these commands are generated from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel

from semibench.run.options import Option
from semibench.run.request import Cell
from semibench_leaderboards.panels import OUTPUT, WHICH


class Submission(BaseModel, frozen=True, extra="forbid"):
    """Predictions to score.

    cell: the task that they are for, of which only the split, the data and the conventions count. name: of the entry, chosen by its
    author. about: free text that is stored with the run. ranked: shown on the board of the recipe's own runs instead of on a board
    of its own.
    """

    cell: Cell
    name: Annotated[str, Option("Name of the entry.", ("--name", "-n"), WHICH)]
    about: Annotated[str, Option("Source of the predictions: a paper, a repository.", panel=OUTPUT)] = ""
    ranked: Annotated[
        bool,
        Option(
            "Show it on the board of the recipe's own runs (default: on a board of its own).", ("--ranked",), OUTPUT
        ),
    ] = False


class RerunExecution(BaseModel, frozen=True, extra="forbid"):
    """Where and how a run is repeated; what is None is as it was in the run.

    weights: file with the start weights of the backbone. force: repeat it even if that was done already.
    """

    data_root: Annotated[Path | None, Option(Option.of(Cell.model_fields["data_root"]).help, panel=WHICH)] = None
    weights: Annotated[Path | None, Option("File with the start weights, if the run had any.", panel=WHICH)] = None
    device: Annotated[str | None, Option("Default: the device of the run.", panel=WHICH)] = None
    threads: Annotated[int | None, Option("Default: as many as the run had.", panel=WHICH)] = None
    force: Annotated[bool, Option("Run even if the folder has the new run already.", panel=OUTPUT)] = False
