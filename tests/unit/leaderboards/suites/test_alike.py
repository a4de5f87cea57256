"""The rows of one table are trained alike: a difference between two rows is one of methods, unless a row says why not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from semibench.discovery.registry import registry
from semibench.run.names import find_names
from semibench.run.resolve import Options, resolve_options
from semibench_leaderboards.suites import Overrides, expand, load, names
from semibench_leaderboards.suites.expansion import SuiteCell, is_about_training
from semibench_leaderboards.suites.schema import Suite

FAMILIES = {
    "mgcc": "bce_dice",
    "bcp": "dice_ce of regions",
    "fixmatch": "dice_ce",
    "semsim": "dice_ce",
    "semsim-minus": "dice_ce",
    "csc-pa": "cross_entropy",
    "saml": "dice",
    "diff-cl": "dice of the foreground + weighted cross_entropy",
    "cld": "dice_ce_linear",
    "dhc": "dice_ce_linear",
    "simis": "dice_ce_linear",
    "skcdf": "dice_ce_linear",
}
"""The supervised loss of methods that have no option for it."""
SAME = {"dice_ce of regions": "dice_ce"}
"""Losses that are alike in 2D: BCP's ACDC code mixes images and has SSL4MIS's loss."""
THREE_DECODERS = {"paper": "dice_ce_linear", "code": "cross_entropy - dice of the foreground"}


def loss_family(row: Options, method: str) -> str:
    if method in ("a-and-d", "dtlp-net"):
        return THREE_DECODERS[row.method_options.loss]
    family = FAMILIES.get(method) or str(row.method_options.loss)
    return SAME.get(family, family) if row.recipe.dims == 2 else family


def settings_of(cell: SuiteCell) -> dict[str, Any]:
    plugins = registry()
    chosen = find_names(cell.cell, plugins)
    row = resolve_options(cell.cell, chosen, plugins)
    recipe = row.recipe
    return {
        "loss": loss_family(row, chosen.method.name),
        "views": str(recipe.weak.model_dump(mode="json")),
        "patch": recipe.patch,
        "batch": (recipe.labeled_batch, recipe.unlabeled_batch),
        "rate": (
            recipe.optimiser, recipe.lr, recipe.momentum, recipe.weight_decay, recipe.schedule, recipe.power,
            getattr(row.method_options, "nesterov", False),
        ),
        "budget": recipe.iterations,
    }  # fmt: skip


def differences(suite: Suite, cells: Iterable[SuiteCell]) -> list[str]:
    """Where rows without a note differ: within a grid in everything, between the grids of a data set in all but the budget,
    which follows the number of images, the patch and the batch."""
    found: list[str] = []
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for cell in cells:
        row = (cell.dataset, cell.grid, cell.row)
        if cell.runnable and row not in rows and not suite.methods[cell.row].note:
            rows[row] = settings_of(cell)
    for name in ("loss", "views", "patch", "batch", "rate", "budget"):
        for place in {row[: 2 if name == "budget" else 1] for row in rows}:
            values = {row[1:]: values[name] for row, values in rows.items() if row[: len(place)] == place}
            if len(set(map(str, values.values()))) > 1:
                found.append(f"{suite.name} {' '.join(place)}: rows differ in {name}: {values}")
    return found


@pytest.mark.parametrize("name", names())
def test_rows_of_one_table_are_trained_alike(name: str) -> None:
    suite = load(name)
    assert not differences(suite, expand(suite))


def test_a_row_that_differs_without_a_note_is_found() -> None:
    suite = load("mgcc-i")
    plain = suite.methods["u-net"].model_copy(update={"preset": None, "note": ""})
    other = suite.model_copy(update={"methods": {**suite.methods, "u-net": plain}})
    found = differences(other, expand(other, Overrides(methods=("u-net", "cps"), datasets=("busi",))))
    assert any("differ in loss" in line and "'dice_ce'" in line for line in found)
    assert any("differ in batch" in line for line in found)


def test_every_note_of_a_row_says_something() -> None:
    for name in names():
        for row, competitor in load(name).methods.items():
            assert not competitor.note or len(competitor.note) > 20, f"{name} {row}"


@pytest.mark.parametrize(
    ("setting", "kept"),
    [
        ("recipe.iterations=48000", True),
        ("iterations=48000", True),
        ("weak.flip=0", True),
        ("term.cross=0.5", True),
        ("method.loss=dice_ce", True),
        ("backbone.variant=34m", True),
        ("source=acdc-1", False),
        ("labeled=0.5", False),
        ("dataset.lesions_only=true", False),
        ("protocol.test=0.3", False),
    ],
)
def test_settings_of_the_training_hold_on_phantoms(setting: str, kept: bool) -> None:
    assert is_about_training(setting) is kept


@pytest.mark.parametrize("name", names())
def test_a_phantom_has_the_training_of_its_grid(name: str) -> None:
    suite = load(name)
    cells = expand(suite, Overrides(phantom=True))
    for grid in suite.grids:
        for cell in (cell for cell in cells if cell.grid == grid.name):
            own = {text.partition("=")[0] for text in suite.methods[cell.row].set}
            wanted = {text for text in grid.set if is_about_training(text) and text.partition("=")[0] not in own}
            assert wanted <= set(cell.settings)


def test_phantom_runs_of_semsim_i_have_the_budget_of_their_block() -> None:
    cells = expand(load("semsim-i"), Overrides(phantom=True, methods=("cps", "semsim"), seeds=(0,)))
    budgets = {(cell.grid, cell.row): settings_of(cell)["budget"] for cell in cells}
    assert budgets == {
        ("patients-1", "cps"): 48000, ("patients-1", "semsim"): 48000, ("patients-3", "cps"): 46500,
        ("patients-3", "semsim"): 46500, ("patients-7", "cps"): 44100, ("patients-7", "semsim"): 44100,
    }  # fmt: skip
