"""Options of `bench tune` that are not fields of a request."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from semibench.run.options import Option
from semibench.run.tuned import STUDIES

SEARCH, EFFORT = "What is searched, and how", "How long, and by how many"


class Search(BaseModel, frozen=True):
    """What is searched, and how values are proposed."""

    sampler: Annotated[
        Literal["tpe", "cmaes", "gp", "random", "grid"], Option("How values are proposed.", panel=SEARCH)
    ] = "tpe"
    pruner: Annotated[
        Literal["median", "hyperband", "none"], Option("How hopeless trials are given up.", panel=SEARCH)
    ] = "median"
    only: Annotated[
        tuple[str, ...], Option("Search this term or option only; repeatable.", panel=SEARCH, metavar="NAME")
    ] = ()
    ranges: Annotated[
        tuple[str, ...], Option("Range of a term; repeatable.", ("--range",), SEARCH, metavar="TERM=LO:HI")
    ] = ()


class Effort(BaseModel, frozen=True):
    """How many trials are run, for how long and by how many processes."""

    trials: Annotated[
        int, Field(ge=1), Option("Trials of the whole study, pruned ones included.", ("--trials", "-n"), EFFORT)
    ] = 30
    timeout: Annotated[float | None, Field(ge=0), Option("Seconds after which no new trial begins.", panel=EFFORT)] = (
        None
    )
    jobs: Annotated[int, Field(ge=1), Option("Processes on this machine.", ("--jobs", "-j"), EFFORT)] = 1


class Naming(BaseModel, frozen=True):
    """Which study it is, and where it is kept."""

    study: Annotated[str | None, Option("Name of the study (default: protocol-dataset-method).", panel=EFFORT)] = None
    join: Annotated[
        str | None, Option("Continue or join a study by name; it needs no other option about the study.", panel=EFFORT)
    ] = None
    studies: Annotated[Path, Option("Folder of the studies.", panel=EFFORT)] = STUDIES
    storage: Annotated[
        str | None,
        Option("Data base URL for the trials (default: a journal file in the study's folder).", panel=EFFORT),
    ] = None
