"""`bench matrix`: many runs, planned against what is done, each in a process of its own, here or on a cluster."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from semibench.cli import matrix_options as options
from semibench.cli import run_options
from semibench.cli.console import emit, stderr, stdout
from semibench.cli.options import DataRoot, Debug, Json, PhantomChoice, Settings, phantom_word
from semibench.contracts.errors import UsageError

if TYPE_CHECKING:
    from semibench.contracts.engine import Engine
    from semibench.matrix.cells import Cell
    from semibench.matrix.planning import Planned
    from semibench.registry import Registry

EPILOG = (
    "Examples:\n\n"
    "bench matrix --protocols self --datasets tus,busi --methods supervised,cps,mgcc --seeds 0-2 --plan\n\n"
    "bench matrix baselines.yaml --jobs 4 --timeout 3600\n\n"
    "bench matrix mgcc-table-1 --engine slurm --engine-set partition=gpu --gpus 1"
)


def add(app: typer.Typer) -> None:
    """Registers the command."""

    @app.command("matrix", epilog=EPILOG)
    def matrix_command(
        file: options.File = None,
        protocols: options.Protocols = None,
        datasets: options.Datasets = None,
        methods: options.Methods = None,
        backbones: options.Backbones = None,
        recipes: options.Recipes = None,
        draws: options.Draws = None,
        folds: options.Folds = None,
        seeds: options.Seeds = None,
        settings: Settings = None,
        data_root: DataRoot = None,
        phantom: PhantomChoice = None,
        plan_only: options.Plan = False,
        force: options.Force = False,
        retry: options.Retry = False,
        timeout: options.Timeout = None,
        memory: options.Memory = None,
        engine: options.EngineName = "local",
        engine_set: options.EngineSet = None,
        jobs: options.Jobs = None,
        threads: options.Threads = 1,
        gpus: options.Gpus = None,
        device: run_options.Device = "auto",
        runs: run_options.Runs = Path("runs"),
        keep_predictions: run_options.Predictions = True,
        pictures: run_options.Pictures = True,
        tracking_uri: run_options.TrackingUri = None,
        track: run_options.Track = True,
        as_json: Json = False,
        debug: Debug = False,
    ) -> None:
        """Run many cells: methods x backbones x data sets x protocols x seeds, or what a file or a suite lists.

        What is done is not run again; what was interrupted goes on; what failed is run again with --retry. Exit code 1
        unless every cell is done.
        """
        from semibench.cli.run_command import environment

        environment()
        from semibench.cli.matrix_view import record_of, show_end, show_plan, totals, view_for
        from semibench.cli.progress import reporter_for
        from semibench.matrix.driver import Limits, run_matrix
        from semibench.matrix.planning import plan_cells, wanted
        from semibench.registry import registry

        plugins = registry()
        axes = {
            "protocols": protocols, "datasets": datasets, "methods": methods, "backbones": backbones, "recipes": recipes,
            "draws": draws, "folds": folds, "seeds": seeds,
        }  # fmt: skip
        cells = _cells(plugins, file, axes, tuple(settings or ()), phantom_word(phantom), data_root)
        screen = stderr()
        reporter = reporter_for(screen)
        planned = plan_cells(cells, runs, device=device, threads=threads, reporter=reporter)
        if plan_only:
            if as_json:
                emit([item.record() for item in planned])
            else:
                show_plan(stdout(), planned)
            return
        todo = wanted(planned, force=force, retry=retry)
        screen.show(totals(planned))
        chosen = _engine(plugins, engine, tuple(engine_set or ()), jobs, runs)
        limits = Limits(timeout, memory, threads, _gpus(gpus, device))
        view = view_for(screen, todo)
        execution: dict[str, Any] = {"device": device, "keep_predictions": keep_predictions, "force": force}
        execution |= {"pictures": pictures}
        try:
            with redirect_stdout(sys.stderr):  # libraries of engines talk on standard output, which holds results
                outcomes = run_matrix(
                    todo, chosen, runs, limits=limits, execution=execution, tracking_uri=tracking_uri, track=track,
                    view=view, reporter=reporter, mirror_first=[item for item in planned if item.state == "done"],
                )  # fmt: skip
        finally:
            view.close()
        endings, reasons = _endings(planned, {key: (one.ending, one.reason) for key, one in outcomes.items()})
        if as_json:
            seconds = {key: outcome.seconds for key, outcome in outcomes.items()}
            emit([record_of(item, endings[item.key], reasons[item.key], seconds.get(item.key)) for item in planned])
        else:
            show_end(stdout(), planned, endings, reasons)
        if set(endings.values()) - {"done"}:
            raise typer.Exit(1)


def _cells(
    plugins: Registry, file: str | None, axes: dict[str, str | None], settings: tuple[str, ...], phantom: str,
    data_root: Path | None,
) -> list[Cell]:  # fmt: skip
    """The cells of a file, of a suite, or of the axes. --set, --phantom and --data-root apply to all of them.

    Raises UsageError for both or neither, and for a file that isn't as it must be."""
    from pydantic import ValidationError

    from semibench.documents import read_document
    from semibench.matrix.cells import Group, MatrixFile

    given = {name: value for name, value in axes.items() if value is not None}
    if file is not None:
        if set(given) - {"recipes", "seeds"}:
            names = ", ".join(f"--{name}" for name in given)
            raise UsageError(f"{file} says which cells; leave out {names}, or the file")
        if Path(file).suffix in (".yaml", ".yml") or Path(file).is_file():
            cells = read_document(Path(file), MatrixFile).expand()
        else:
            suite = plugins.get("suites", file)
            cells_of, stand_in = suite.resolve(), phantom == "always"
            recipes = [part.strip() or None for part in given.pop("recipes", "").split(",")]
            cells = [cell for name in recipes for cell in cells_of(suite.name, recipe=name, phantom=stand_in)]
        cells = _narrowed(cells, given)
    else:
        missing = [name for name in ("protocols", "datasets") if name not in given]
        if missing:
            raise UsageError(
                f"expected a file, a suite, or --protocols and --datasets; {' and '.join('--' + name for name in missing)} "
                "not given"
            )
        lists = {
            name: value
            if name in ("draws", "folds", "seeds")
            else [part.strip() for part in value.split(",") if part.strip()]
            for name, value in given.items()
        }
        try:
            cells = Group(**lists).cells()
        except ValidationError as error:
            told = "; ".join(f"--{item['loc'][0]}: {item['msg']}, found {item['input']!r}" for item in error.errors())
            raise UsageError(told) from error
    changes: dict[str, Any] = {} if phantom == "auto" else {"phantom": phantom}
    changes |= {} if data_root is None else {"data_root": data_root}
    return [cell.model_copy(update=changes).changed(settings) for cell in cells]


def _narrowed(cells: list[Cell], given: dict[str, str]) -> list[Cell]:
    """A file's or suite's cells under another recipe or with other seeds."""
    from semibench.matrix.cells import numbers

    recipes = [part.strip() for part in given["recipes"].split(",")] if "recipes" in given else [None]
    try:
        seeds = numbers(given["seeds"]) if "seeds" in given else [None]
    except ValueError as error:
        raise UsageError(f"--seeds: {error}") from error
    found = []
    for cell in cells:
        for recipe in recipes:
            for seed in seeds:
                changes = {name: value for name, value in (("recipe", recipe), ("seed", seed)) if value is not None}
                found.append(cell.model_copy(update=changes))
    return list(dict.fromkeys(found))


def _engine(plugins: Registry, name: str, settings: tuple[str, ...], jobs: int | None, runs: Path) -> Engine:
    """The engine, ready to start. Raises UsageError where it can't be used here, with what to do."""
    from semibench.matrix.planning import JOURNAL
    from semibench.run.settings import build, parse

    item = plugins.get("engines", name)
    cls: type[Engine] = item.resolve()
    reason = cls.unavailable()
    if reason:
        hint = f"; pip install 'semibench[{item.card.extra}]'" if item.card.extra and "not installed" in reason else ""
        raise UsageError(f"engine {name!r}: {reason}{hint}")
    chosen = build(cls.Options, f"engine {name!r}", {"jobs": jobs} if jobs is not None else {}, parse(settings))
    return cls(chosen, (runs / JOURNAL / name).absolute())


def _gpus(wanted: float | None, device: str) -> float:
    """GPUs per cell: as asked, else one where cells may use any."""
    if wanted is not None:
        return wanted
    if device == "cpu":
        return 0.0
    from semibench.matrix.local import visible_gpus

    return 1.0 if visible_gpus() else 0.0


def _endings(planned: list[Planned], outcomes: dict[str, tuple[str, str]]) -> tuple[dict[str, str], dict[str, str]]:
    """Outcome and reason of every cell that was asked for, run now or not."""
    standing = {"failed": "failed", "skipped": "skipped", "done": "done", "running": "skipped"}
    endings, reasons = {}, {}
    for item in planned:
        ending, reason = outcomes.get(item.key, (standing.get(item.state, "interrupted"), item.reason))
        if item.key not in outcomes and item.state == "failed":
            reason = f"{reason} (an earlier attempt; --retry runs it again)"
        endings[item.key], reasons[item.key] = ending, reason
    return endings, reasons
