"""Converts suites to cells and files of `bench matrix`."""

from __future__ import annotations

from collections.abc import Sequence

from semibench.matrix.cells import as_groups
from semibench.run.request import Cell
from semibench_leaderboards.suites.expansion import SuiteCell, expand
from semibench_leaderboards.suites.loading import load
from semibench_leaderboards.suites.overrides import Overrides
from semibench_leaderboards.suites.schema import Suite


def cells_of(name: str, *, recipe: str | None = None, phantom: bool = False) -> list[Cell]:
    """The runnable cells of a suite, each once.

    recipe: replaces the suite's. phantom: use stand-ins, with the replicates that the suite defines for them.
    """
    cells = expand(load(name), Overrides(recipe=recipe, phantom=phantom))
    return list(dict.fromkeys(cell.cell for cell in cells if cell.runnable))


def as_matrix_file(suite: Suite, cells: Sequence[SuiteCell]) -> str:
    """YAML for `bench matrix FILE`: a group for each row, with its seeds, draws and folds as lists.

    Cells that aren't runnable here are left out and named in `note`.
    """
    import yaml

    left_out = sorted({name for cell in cells for name in cell.missing})
    note = f"{suite.about} Not in the harness: {', '.join(left_out)}." if left_out else suite.about
    record = {
        "title": suite.title or suite.name,
        "note": note,
        "cells": as_groups(cell for cell in cells if cell.runnable),
    }
    return str(yaml.safe_dump(record, sort_keys=False, allow_unicode=True, width=130))
