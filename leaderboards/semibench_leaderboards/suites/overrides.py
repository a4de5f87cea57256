"""Changes to a suite from the command line. Light: the options of `bench suite` are generated from them."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator

from semibench.matrix.cells import numbers
from semibench.run.options import Option
from semibench.run.request import Cell

Numbers = Annotated[tuple[int, ...] | None, BeforeValidator(lambda value: None if value is None else numbers(value))]


def _axis(text: str, example: str) -> Option:
    return Option(text, metavar=example, commas=True)


class Overrides(BaseModel, frozen=True, extra="forbid"):
    """Changes to all cells of a suite.

    recipe: instead of the suite's; the suite's settings of the recipe are then left out. phantom: the procedural stand-in, with the
    replicates that the suite defines for it. seeds, draws, folds: instead of the suite's, as numbers or "0-2". methods, datasets:
    only these. settings: laid over all others.
    """

    recipe: Annotated[
        str | None, Option("Replaces the suite's recipe and its recipe settings.", ("--recipe", "-r"))
    ] = None
    phantom: Annotated[
        bool, Option("Use procedural stand-ins, with the replicates that the suite defines for them.", ("--phantom",))
    ] = False
    seeds: Annotated[Numbers, _axis("Replaces the suite's seeds.", "0-2")] = None
    draws: Annotated[Numbers, _axis("Replaces the suite's draws.", "0-2")] = None
    folds: Annotated[Numbers, _axis("Replaces the suite's folds.", "0-4")] = None
    methods: Annotated[tuple[str, ...], Option("Only these rows; repeatable.", ("--method", "-m"))] = ()
    datasets: Annotated[tuple[str, ...], Option("Only these data sets; repeatable.", ("--dataset", "-d"))] = ()
    settings: Annotated[tuple[str, ...], Option.of(Cell.model_fields["settings"])] = ()
