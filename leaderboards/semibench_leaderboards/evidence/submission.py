"""What `bench score` is asked to score. Light: the command generates its options from it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from semibench.run.request import Cell, Option


class Submission(Cell, frozen=True, extra="forbid"):
    """Predictions made elsewhere. The fields of the cell, except method and backbone, say which track and split they are for."""

    name: Annotated[str, Option("Name of the entry.", ("--name", "-n"))] = ""
    """Chosen by the author of the predictions."""
    seed: Annotated[int, Field(ge=0), Option("Number of the run, where an entry has several.")] = 0
    ranked: Annotated[
        bool, Option("Show it on the board of the recipe's own runs (default: on a board of its own).", ("--ranked",))
    ] = False
    about: Annotated[str, Option("Source of the predictions, e.g. a paper or a repository.")] = ""
    """Free text that is stored with the run."""


FIELDS = (
    "protocol", "dataset", "name", "recipe", "draw", "fold", "seed", "settings", "data_root", "phantom", "conventions",
    "ranked", "about",
)  # fmt: skip
"""The fields that `bench score` asks for."""
