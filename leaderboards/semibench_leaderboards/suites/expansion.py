"""Expands a suite to cells, one for each run, with the published values that it fills. Nothing is resolved or trained here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

from semibench.contracts.errors import UnknownNameError
from semibench.contracts.recipe import Recipe
from semibench.matrix.cells import without_needless_controls
from semibench.run.request import Cell, merge_settings
from semibench_leaderboards.suites.coverage import MEAN, filled
from semibench_leaderboards.suites.overrides import Overrides
from semibench_leaderboards.suites.schema import Competitor, Grid, Settings, Suite

if TYPE_CHECKING:
    from semibench.discovery.registry import Registry

TRAINING_PARTS = ("recipe", "term", "method", "backbone")
"""Parts of a run whose settings in a grid also hold on a phantom."""
KINDS = (("methods", "method"), ("backbones", "backbone"), ("datasets", "dataset"), ("protocols", "protocol"))


class SuiteCell(Cell, frozen=True, extra="forbid"):
    """One run of a suite."""

    suite: str
    grid: str
    row: str
    """Name of the competitor."""
    part: str
    """Column (domain) that the run belongs to; empty where there are none."""
    fills: tuple[str, ...] = ()
    """Ids of the published values that the run fills."""
    missing: tuple[str, ...] = ()
    """Plug-ins that aren't installed, e.g. "method 'em'"."""
    lacking: str = ""
    """Why no run is defined."""

    @property
    def runnable(self) -> bool:
        """Whether the harness has everything it needs except the data."""
        return not self.missing and not self.lacking

    @property
    def on_phantom(self) -> bool:
        """Whether it runs on the procedural stand-in. Otherwise it needs files, because published splits exist for files only."""
        return self.phantom == "always"

    @property
    def name(self) -> str:
        """ "mgcc-i/busi/mean-teacher/seed-0 ..." in the file and among the replicates."""
        axes = [f"draw{self.draw}", *([] if self.fold is None else [f"fold{self.fold}"]), f"seed{self.seed}"]
        return "/".join(filter(None, (self.suite, self.grid, self.row, self.part, "-".join(axes))))

    @property
    def cell(self) -> Cell:
        """The run alone."""
        return Cell(**{name: getattr(self, name) for name in Cell.model_fields})


def expand(suite: Suite, overrides: Overrides | None = None, plugins: Registry | None = None) -> list[SuiteCell]:
    """All cells of a suite, grid by grid and competitor by competitor.

    Cells with a method, backbone, data set or protocol that isn't installed are included; `missing` names it.
    """
    changes = overrides or Overrides()
    installed = _installed(plugins)
    cells: list[SuiteCell] = []
    for grid in suite.grids:
        for name, competitor in suite.competitors(grid).items():
            if changes.methods and not {name, competitor.method} & set(changes.methods):
                continue
            cells += _cells(suite, grid, name, competitor, changes, installed)
    return _without_needless_controls(cells, plugins)


def _without_needless_controls(cells: list[SuiteCell], plugins: Registry | None) -> list[SuiteCell]:
    """Leaves out the controls of methods that use no unlabeled images, where the suite has the methods themselves, too."""
    from semibench.discovery.registry import registry

    kept = set(without_needless_controls([cell.cell for cell in cells], plugins or registry()))
    return [cell for cell in cells if cell.cell in kept]


def check_chosen(suite: Suite, overrides: Overrides) -> None:
    """Raises UnknownNameError for a method or data set that the suite doesn't have."""
    rows = {name for grid in suite.grids for name in suite.competitors(grid)}
    methods = rows | {
        competitor.method
        for grid in suite.grids
        for competitor in suite.competitors(grid).values()
        if competitor.method
    }
    datasets = {str(name) for grid in suite.grids for name in many(grid.dataset)}
    for kind, chosen, known in (("row", overrides.methods, methods), ("data set", overrides.datasets, datasets)):
        for name in chosen:
            if name not in known:
                raise UnknownNameError(f"{kind} of suite {suite.name}", name, known)


def is_about_training(setting: str) -> bool:
    """Whether a setting is of the recipe, the loss terms, the method or the backbone. Others are about the data and the split,
    and those of the published data don't fit a phantom."""
    name = setting.partition("=")[0].strip()
    part, _, rest = name.partition(".")
    return part in TRAINING_PARTS if rest and part not in Recipe.model_fields else part in Recipe.model_fields


def many(value: str | tuple[str, ...] | None) -> tuple[Any, ...]:
    """A name, or several, as a tuple."""
    return value if isinstance(value, tuple) else (value,)


@dataclass(frozen=True)
class _Axes:
    """The axes whose product gives the cells of one competitor."""

    each: tuple[Settings, ...]
    parts: Mapping[str, Settings]
    draws: tuple[int, ...]
    folds: tuple[int | None, ...]
    seeds: tuple[int, ...]
    base: Settings = field(default=())


def _axes(suite: Suite, grid: Grid, changes: Overrides) -> _Axes:
    stand_in = grid.phantom if changes.phantom else None
    parts = grid.parts if stand_in is None or stand_in.parts is None else stand_in.parts
    if stand_in is not None:
        training = [text for text in grid.set if is_about_training(text)]
        each, base = stand_in.each or ((),), merge_settings(suite.set, training, stand_in.set)
        draws, folds, seeds = stand_in.draws, stand_in.folds, stand_in.seeds
    else:
        each, base = grid.each or ((),), merge_settings(suite.set, grid.set)
        draws, folds, seeds = grid.draws, grid.folds, grid.seeds
    return _Axes(
        each=each,
        parts=parts or {"": ()},
        draws=changes.draws or draws or suite.draws,
        folds=changes.folds or folds or suite.folds or (None,),
        seeds=changes.seeds or seeds or suite.seeds,
        base=base,
    )


def _cells(
    suite: Suite, grid: Grid, name: str, competitor: Competitor, changes: Overrides, installed: Mapping[str, set[str]]
) -> Iterable[SuiteCell]:
    axes = _axes(suite, grid, changes)
    values = filled(suite, grid, name)
    recipe = changes.recipe or competitor.recipe or grid.recipe or suite.recipe
    which = suite.control if grid.control is None else grid.control
    controls = (False, True) if which == "both" else (which,)
    for protocol, dataset, backbone in product(many(grid.protocol), many(grid.dataset), many(grid.backbone)):
        if changes.datasets and dataset not in changes.datasets:
            continue
        method, network = competitor.method or name, competitor.backbone or backbone or suite.backbone
        names = {"methods": method, "backbones": network, "datasets": dataset, "protocols": protocol}
        preset, dims = (
            grid.presets.get(name) or competitor.preset or grid.preset,
            competitor.dims or grid.dims or suite.dims,
        )
        missing = tuple(
            f"{singular} {names[kind]!r}"
            for kind, singular in KINDS
            if names[kind] is not None and not _has(installed[kind], str(names[kind]))
        )
        for control, (part, column), each, draw, fold, seed in product(
            controls, axes.parts.items(), axes.each, axes.draws, axes.folds, axes.seeds
        ):
            settings = merge_settings(axes.base, competitor.set, each, column)
            if changes.recipe is not None:
                settings = tuple(text for text in settings if not text.startswith("recipe."))
            yield SuiteCell(
                suite=suite.name, grid=grid.name, row=f"{name} (control)" if control else name,
                part=part, control=control, protocol=protocol, dataset=dataset, method=method,
                backbone=network, preset=preset, dims=dims,
                settings=merge_settings(settings, changes.settings), recipe=recipe, draw=draw, fold=fold, seed=seed,
                phantom="always" if changes.phantom else "never", missing=missing, lacking=competitor.lacking,
                fills=()
                if control
                else tuple(value.id for value in values if not part or value.group in (part, MEAN)),
            )  # fmt: skip


def _installed(plugins: Registry | None) -> dict[str, set[str]]:
    if plugins is None:
        from semibench.discovery.registry import registry

        plugins = registry()
    return {kind: {name for item in plugins.cards(kind) for name in (item.name, item.full_name)} for kind, _ in KINDS}


def _has(known: set[str], name: str) -> bool:
    return name in known
