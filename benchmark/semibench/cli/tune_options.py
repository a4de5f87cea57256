"""Options of `bench tune` that are not fields of a request."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from semibench.run.options import Option
from semibench.run.tuned import STUDIES

SEARCH, EFFORT = "What to search, and how", "How long, and with how many processes"


class Search(BaseModel, frozen=True):
    """What to search, and how to propose values."""

    sampler: Annotated[
        Literal["tpe", "cmaes", "gp", "random", "grid"], Option("How to propose values.", panel=SEARCH)
    ] = "tpe"
    pruner: Annotated[
        Literal["median", "hyperband", "none"], Option("How to stop unpromising trials.", panel=SEARCH)
    ] = "median"
    only: Annotated[
        tuple[str, ...], Option("Search this term or option only; repeatable.", panel=SEARCH, metavar="NAME")
    ] = ()
    ranges: Annotated[
        tuple[str, ...], Option("Range of a term; repeatable.", ("--range",), SEARCH, metavar="TERM=LO:HI")
    ] = ()


class Effort(BaseModel, frozen=True):
    """How many trials to run, for how long and with how many processes."""

    trials: Annotated[
        int,
        Field(ge=1),
        Option("Number of trials in the whole study, including pruned ones.", ("--trials", "-n"), EFFORT),
    ] = 30
    timeout: Annotated[float | None, Field(ge=0), Option("Seconds after which no new trial starts.", panel=EFFORT)] = (
        None
    )
    give_up: Annotated[
        str | None,
        Option(
            "Give up the trials that a machine left running when it died, and try their values again.", panel=EFFORT,
            metavar="MACHINE",
        ),
    ] = None  # fmt: skip
    jobs: Annotated[int, Field(ge=1), Option("Processes on this machine.", ("--jobs", "-j"), EFFORT)] = 1


class Naming(BaseModel, frozen=True):
    """Name and location of the study."""

    study: Annotated[str | None, Option("Name of the study (default: protocol-dataset-method).", panel=EFFORT)] = None
    join: Annotated[
        str | None, Option("Continue or join a study by name; all else about the study is known.", panel=EFFORT)
    ] = None
    studies: Annotated[Path, Option("Folder of the studies.", panel=EFFORT)] = STUDIES
    storage: Annotated[
        str | None,
        Option("Database URL for the trials (default: a journal file in the study's folder).", panel=EFFORT),
    ] = None
