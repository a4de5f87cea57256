"""`bench matrix`: runs many cells, each in its own process, here or on a cluster; finished ones are skipped."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from semibench.cli import matrix_options as options
from semibench.cli.console import emit, stderr, stdout
from semibench.cli.generated import Fields, with_options
from semibench.cli.matrix_options import Control, EngineChoice
from semibench.cli.options import Debug, Json
from semibench.contracts.errors import UsageError
from semibench.documents import read_document
from semibench.matrix.cells import (
    AXES,
    REPLICATE,
    Group,
    MatrixFile,
    numbers,
    with_controls,
    without_needless_controls,
)
from semibench.matrix.limits import Limits
from semibench.process import environment
from semibench.run.request import Cell, Execution

if TYPE_CHECKING:
    from semibench.cli.progress import Screen
    from semibench.contracts.engine import Engine, Outcome
    from semibench.discovery.registry import Registered, Registry
    from semibench.matrix.planning import Planned

PER_MATRIX = ("device", "memory_format", "runs", "keep_predictions", "pictures", "tracking_uri", "track")
"""Fields of `Execution` that are the same for all cells."""

EPILOG = (
    "Examples:\n\n"
    "bench matrix --protocols self --datasets tus,busi --methods supervised,cps,mgcc --seeds 0-2 --plan\n\n"
    "bench matrix baselines.yaml --jobs 4 --timeout 3600\n\n"
    "bench matrix mgcc-table-1 --engine slurm --engine-set partition=gpu --gpus 1"
)


def add(app: typer.Typer) -> None:
    """Registers the command."""

    @app.command("matrix", epilog=EPILOG)
    @with_options
    def matrix_command(
        axes: Annotated[dict[str, Any], Fields(Group, only=tuple(AXES.values()))],
        changes: Annotated[dict[str, Any], Fields(Cell, only=("settings", "data_root", "phantom"))],
        control: Control,
        choice: EngineChoice,
        limits: Limits,
        execution: Annotated[Execution, Fields(Execution, only=PER_MATRIX)],
        file: options.File = None,
        controls: options.Controls = False,
        as_json: Json = False,
        debug: Debug = False,
    ) -> None:
        """Run many cells: methods x backbones x data sets x protocols x seeds, or those listed in a file or a suite.

        Finished cells are not run again, interrupted ones are resumed, and failed ones are run again with --retry. The exit code
        is 1 unless every cell is done.
        """
        environment()
        from semibench.cli.matrix_view import show_plan, totals
        from semibench.cli.progress import reporter_for
        from semibench.discovery.registry import registry
        from semibench.matrix.planning import plan_cells, to_run

        plugins = registry()
        cells = _cells(plugins, file, axes, changes)
        cells = without_needless_controls(with_controls(cells, "both" if controls else False), plugins)
        screen = stderr()
        reporter = reporter_for(screen)
        runs, device = execution.runs, execution.device
        planned = plan_cells(cells, runs, device=device, threads=limits.threads, reporter=reporter)
        if control.plan:
            if as_json:
                emit([item.record() for item in planned])
            else:
                show_plan(stdout(), planned)
            return
        todo = to_run(planned, force=control.force, retry=control.retry)
        screen.show(totals(planned))
        engine = _engine(plugins, choice, runs)
        limits = limits.model_copy(update={"gpus": _gpus(limits.gpus, device)})
        outcomes = _run(planned, todo, engine, limits, execution, reporter, force=control.force)
        if not _report(planned, outcomes, as_json=as_json):
            raise typer.Exit(1)


def _run(
    planned: Sequence[Planned], todo: Sequence[Planned], engine: Engine, limits: Limits, execution: Execution,
    reporter: Screen, *, force: bool,
) -> dict[str, Outcome]:  # fmt: skip
    """Runs the cells and shows their progress; returns their outcomes by run key."""
    from semibench.cli.matrix_view import display_for
    from semibench.matrix.driver import run_matrix

    display = display_for(stderr(), todo)
    options_of_cells = execution.model_dump(include={"device", "memory_format", "keep_predictions", "pictures"}) | {
        "force": force
    }
    try:
        with redirect_stdout(sys.stderr):  # libraries of engines print to standard output, which is for results
            return run_matrix(
                todo, engine, execution.runs, limits=limits, execution=options_of_cells, tracking_uri=execution.tracking_uri,
                track=execution.track, display=display, reporter=reporter,
                mirror_first=[item for item in planned if item.state == "done"],
            )  # fmt: skip
    finally:
        display.close()


def _report(planned: list[Planned], outcomes: Mapping[str, Outcome], *, as_json: bool) -> bool:
    """Prints the outcome of every cell; returns whether all are done."""
    from semibench.cli.matrix_view import record_of, show_end

    endings, reasons = _endings(planned, {key: (one.ending, one.reason) for key, one in outcomes.items()})
    if as_json:
        seconds = {key: outcome.seconds for key, outcome in outcomes.items()}
        emit([record_of(item, endings[item.key], reasons[item.key], seconds.get(item.key)) for item in planned])
    else:
        show_end(stdout(), planned, endings, reasons)
    return set(endings.values()) <= {"done"}


def _cells(plugins: Registry, file: str | None, axes: dict[str, str], changes: dict[str, Any]) -> list[Cell]:
    """Returns the cells of a file, of a suite, or of the axes, with --set, --phantom and --data-root applied.

    Raises:
        UsageError: for both a file and axes, for neither, and for an invalid file.
    """
    if file is None:
        cells = _product(axes)
    else:
        if set(axes) - {"recipes", "seeds"}:
            names = ", ".join(f"--{name}" for name in axes)
            raise UsageError(f"{file} lists the cells; leave out either {names} or the file")
        if Path(file).suffix in (".yaml", ".yml") or Path(file).is_file():
            cells = _narrowed(read_document(Path(file), MatrixFile).expand(), axes)
        else:
            recipes = [part.strip() or None for part in axes.get("recipes", "").split(",")]
            cells = _cells_of_suite(plugins.get("suites", file), recipes, changes.get("phantom") == "always")
            cells = _narrowed(cells, {name: value for name, value in axes.items() if name != "recipes"})
    settings, others = changes.get("settings", ()), {k: v for k, v in changes.items() if k != "settings"}
    return [cell.model_copy(update=others).changed(settings) for cell in cells]


def _cells_of_suite(suite: Registered, recipes: Sequence[str | None], phantom: bool) -> list[Cell]:
    """Returns the cells of a suite, under each of some recipes. None: the suite's own."""
    from semibench.discovery.guard import calling, returned

    function = suite.card.load.partition(":")[2]
    cells_of = suite.resolve()
    with calling(suite, function):
        cells = [cell for recipe in recipes for cell in cells_of(suite.name, recipe=recipe, phantom=phantom)]
    return [returned(suite, function, cell, Cell, "a list of Cell") for cell in cells]


def _product(axes: Mapping[str, str]) -> list[Cell]:
    """Returns the cells of the axes on the command line."""
    missing = [name for name in ("protocols", "datasets") if name not in axes]
    if missing:
        raise UsageError(
            f"expected a file, a suite, or --protocols and --datasets; {' and '.join('--' + name for name in missing)} "
            "not given"
        )
    counted = {AXES[name] for name in REPLICATE}
    lists = {
        name: value if name in counted else [part.strip() for part in value.split(",") if part.strip()]
        for name, value in axes.items()
    }
    try:
        cells: list[Cell] = Group(**lists).cells()
    except ValidationError as error:
        message = "; ".join(f"--{item['loc'][0]}: {item['msg']}, found {item['input']!r}" for item in error.errors())
        raise UsageError(message) from error
    return cells


def _narrowed(cells: list[Cell], axes: Mapping[str, str]) -> list[Cell]:
    """Returns the cells of a file or suite with the recipes and seeds of the command line, if any."""
    recipes = [part.strip() for part in axes["recipes"].split(",")] if "recipes" in axes else [None]
    try:
        seeds = numbers(axes["seeds"]) if "seeds" in axes else [None]
    except ValueError as error:
        raise UsageError(f"--seeds: {error}") from error
    narrowed = []
    for cell in cells:
        for recipe in recipes:
            for seed in seeds:
                changes = {name: value for name, value in (("recipe", recipe), ("seed", seed)) if value is not None}
                narrowed.append(cell.model_copy(update=changes))
    return list(dict.fromkeys(narrowed))


def _engine(plugins: Registry, choice: EngineChoice, runs: Path) -> Engine:
    """Returns the engine, ready to start. Raises UsageError if it can't be used here; the message says what to do."""
    from semibench.discovery.guard import calling
    from semibench.matrix.planning import JOURNAL
    from semibench.run.settings import build, parse

    name, given = choice.engine, {} if choice.jobs is None else {"jobs": choice.jobs}
    item = plugins.get("engines", name)
    cls: type[Engine] = item.resolve()
    with calling(cls, "unavailable"):
        reason = cls.unavailable()
    if reason:
        hint = f"; pip install 'semibench[{item.card.extra}]'" if item.card.extra and "not installed" in reason else ""
        raise UsageError(f"engine {name!r}: {reason}{hint}")
    parsed = build(cls.Options, f"engine {name!r}", given, parse(choice.engine_set))
    with calling(cls, "__init__"):
        return cls(parsed, (runs / JOURNAL / name).absolute())


def _gpus(requested: float | None, device: str) -> float:
    """Returns the GPUs per cell: as requested, or else one if cells may use GPUs."""
    if requested is not None:
        return requested
    if device == "cpu":
        return 0.0
    from semibench.matrix.local import visible_gpus

    return 1.0 if visible_gpus() else 0.0


def _endings(planned: list[Planned], outcomes: dict[str, tuple[str, str]]) -> tuple[dict[str, str], dict[str, str]]:
    """Returns the outcome and the reason of every requested cell, whether it was run now or not."""
    ending_of_state = {"failed": "failed", "skipped": "skipped", "done": "done", "running": "skipped"}
    endings, reasons = {}, {}
    for item in planned:
        ending, reason = outcomes.get(item.key, (ending_of_state.get(item.state, "interrupted"), item.reason))
        if item.key not in outcomes and item.state == "failed":
            reason = f"{reason} (an earlier attempt; --retry runs it again)"
        endings[item.key], reasons[item.key] = ending, reason
    return endings, reasons
