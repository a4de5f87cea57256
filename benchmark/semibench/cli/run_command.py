"""`bench run`: one run (or one per seed), from names to numbers."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from semibench.cli import run_options as options
from semibench.cli.console import emit, stderr, stdout
from semibench.cli.options import DataRoot, Debug, Json, PhantomChoice, Settings, phantom_word
from semibench.cli.progress import Screen, reporter_for

if TYPE_CHECKING:
    from semibench.run.resolve import Request

EPILOG = (
    "Examples:\n\n"
    "bench run --protocol synthetic --dataset tus\n\n"
    "bench run --protocol ssmis --dataset la --method mean-teacher --backbone vnet --set labeled=8 --seeds 0-2\n\n"
    "bench run --protocol self --dataset bus-bra --data-root ~/data --recipe paper --set lr=0.02 --set term.consistency=0.3\n\n"
    "bench run --protocol synthetic --dataset tus --plan\n\n"
    "bench run --protocol synthetic --dataset tus --json > result.json"
)


def environment() -> None:
    """What must stand in the environment before heavy packages are imported: no telemetry, no downloads, and threads that
    sleep while they wait. Two spinning ones took 1.4 times as long on an idle machine of two cores and 1.75 times
    as long beside a busy process (speed/thread_waiting.py); whoever sets OMP_WAIT_POLICY keeps their choice."""
    from semibench.tracking.store import quiet

    quiet()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def seeds_of(text: str) -> tuple[int, ...]:
    """ "0-2" -> 0, 1, 2; "0,3,5" -> 0, 3, 5. Raises typer.BadParameter for anything else."""
    from semibench.matrix.cells import numbers

    try:
        return tuple(numbers(text))
    except ValueError as error:
        raise typer.BadParameter(f"expected seeds as 0-2 or 0,1,5, found {text!r}", param_hint="--seeds") from error


def add(app: typer.Typer) -> None:
    """Registers the command."""

    @app.command("run", epilog=EPILOG)
    def run_command(
        protocol: options.Protocol,
        dataset: options.DatasetName,
        method: options.Method = None,
        backbone: options.Backbone = None,
        recipe: options.RecipeName = "quick",
        preset: options.Preset = None,
        dims: options.Dims = None,
        weights: options.Weights = None,
        tuned: options.Tuned = None,
        draw: options.Draw = 0,
        fold: options.Fold = None,
        seed: options.Seed = 0,
        seeds: options.Seeds = None,
        settings: Settings = None,
        data_root: DataRoot = None,
        phantom: PhantomChoice = None,
        conventions: options.Conventions = None,
        device: options.Device = "auto",
        threads: options.Threads = None,
        runs: options.Runs = Path("runs"),
        resume: options.Resume = True,
        force: options.Force = False,
        keep_predictions: options.Predictions = True,
        pictures: options.Pictures = True,
        tracking_uri: options.TrackingUri = None,
        track: options.Track = True,
        plan_only: options.PlanOnly = False,
        as_json: Json = False,
        debug: Debug = False,
    ) -> None:
        """Train and score one method on one data set under one protocol.

        The run folder (runs/KEY) holds everything; the same command again does nothing, or goes on where it was stopped.
        """
        wanted = seeds_of(seeds) if seeds is not None else (seed,)
        environment()
        from semibench.run.resolve import Request
        from semibench.run.tuned import find_tuned

        frozen = find_tuned(tuned) if tuned is not None else None
        records: list[Any] = []
        reporter = reporter_for(stderr())
        _heed_termination()
        for number in wanted:
            request = Request(
                protocol=protocol, dataset=dataset, method=method, backbone=backbone, recipe=recipe, preset=preset, dims=dims,
                draw=draw, fold=fold, seed=number, settings=tuple(settings or ()), data_root=data_root,
                phantom=phantom_word(phantom), weights=weights, tuned=frozen, device=device, threads=threads, runs=runs,
                resume=resume, force=force,
                conventions=tuple(conventions or ()), tracking_uri=tracking_uri, track=track,
                keep_predictions=keep_predictions, pictures=pictures,
            )  # fmt: skip
            records.append(_one(request, reporter, plan_only=plan_only, as_json=as_json, brief=bool(records)))
        if as_json:
            emit(records[0] if len(records) == 1 else records)


def _heed_termination() -> None:
    """SIGTERM (a scheduler's time limit) ends a run as Ctrl-C does: its folder then says interrupted."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, interrupt)


def _one(request: Request, reporter: Screen, *, plan_only: bool, as_json: bool, brief: bool) -> Any:
    """Plans and, unless only the plan is wanted, executes one run; returns what --json prints. brief: the plan differs
    from one shown before by its replicate only."""
    from semibench.cli.results import show_plan, show_result
    from semibench.run.execute import execute, prepare

    errors = stderr()
    try:
        plan = prepare(request, reporter)
        facts = plan.summary()
        if not (plan_only and as_json):
            show_plan(stdout() if plan_only else errors, facts, brief=brief)
        if plan_only:
            return facts
        result = execute(plan, reporter)
    except KeyboardInterrupt:
        reporter.close()
        errors.show("interrupted: the same command goes on from the last checkpoint", style="yellow")
        raise typer.Exit(1) from None
    finally:
        reporter.close()
    if not as_json:
        show_result(stdout(), result)
    return result.record
