"""What each cell of a matrix may use. Light: the command line imports it to make options."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from semibench.run.options import Option

CONTROL, ENGINE = "What is done with them", "Where and with what"
"""Panels of `bench matrix --help`."""


class Limits(BaseModel, frozen=True, extra="forbid"):
    """Limits of each cell. timeout: seconds; memory: MB; gpus: a number, or a share of one (None: none)."""

    timeout: Annotated[float | None, Field(ge=0), Option("Seconds after which a cell is stopped.", panel=CONTROL)] = (
        None
    )
    memory: Annotated[
        float | None, Field(ge=1), Option("MB of memory above which a cell is killed.", panel=CONTROL)
    ] = None
    threads: Annotated[int, Field(ge=1), Option("CPU threads per cell; the digits may depend on it.", panel=ENGINE)] = 1
    gpus: Annotated[
        float | None,
        Field(ge=0),
        Option("GPUs per cell; 0.5: two share one (default: 1 if there are any).", panel=ENGINE),
    ] = None
