"""Suites for `bench matrix`: their cells in its own form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from semibench.run.settings import parse
from semibench_leaderboards.suites.expansion import Cell, Overrides, expand
from semibench_leaderboards.suites.loading import load
from semibench_leaderboards.suites.schema import Suite

if TYPE_CHECKING:
    from semibench.matrix.cells import Cell as MatrixCell


def cells_of(name: str, *, recipe: str | None = None, phantom: bool = False) -> list[MatrixCell]:
    """The cells of a suite that are possible here, each run once, as the matrix takes them. recipe: in place of the suite's;
    phantom: on stand-ins, with the replicates the suite names for them. Else the cells insist on files, since published
    splits exist on files only."""
    from semibench.matrix.cells import Cell as MatrixCell

    found = [cell for cell in expand(load(name), Overrides(recipe=recipe, phantom=phantom)) if cell.runnable]
    made = [
        MatrixCell(
            protocol=cell.protocol, dataset=cell.dataset, method=cell.method, backbone=cell.backbone, recipe=cell.recipe,
            preset=cell.preset, dims=cell.dims, draw=cell.draw, fold=cell.fold, seed=cell.seed, settings=cell.settings,
            phantom="always" if cell.phantom else "never",
        )
        for cell in found
    ]  # fmt: skip
    return list(dict.fromkeys(made))


def as_matrix_file(suite: Suite, cells: Sequence[Cell]) -> str:
    """YAML for `bench matrix FILE`: one group per row, its seeds, draws and folds as lists. What isn't possible here is left out
    and named in `note`."""
    import yaml

    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    for cell in cells:
        if not cell.runnable:
            continue
        key = (
            cell.protocol,
            cell.dataset,
            cell.method,
            cell.backbone,
            cell.recipe,
            cell.preset,
            cell.dims,
            cell.settings,
        )
        group = groups.setdefault(
            key,
            {
                "protocols": cell.protocol, "datasets": cell.dataset, "methods": cell.method, "backbones": cell.backbone,
                "recipes": cell.recipe, "preset": cell.preset, "dims": cell.dims, "draws": [], "folds": [], "seeds": [],
                "set": parse(cell.settings), "phantom": "always" if cell.phantom else "never",
            },
        )  # fmt: skip
        for name, value in (("draws", cell.draw), ("folds", cell.fold), ("seeds", cell.seed)):
            if value not in group[name]:
                group[name].append(value)
    left_out = sorted({name for cell in cells for name in cell.missing})
    note = f"{suite.about} Not in the harness: {', '.join(left_out)}." if left_out else suite.about
    made = [
        {key: value for key, value in group.items() if value not in (None, [], [None], {})} for group in groups.values()
    ]
    record = {"title": suite.title or suite.name, "note": note, "cells": made}
    return str(yaml.safe_dump(record, sort_keys=False, allow_unicode=True, width=130))
