"""`bench run`: one run (or one per seed), from names to numbers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semibench.cli.console import emit, stderr, stdout
from semibench.cli.options import DataRoot, Debug, Json, PhantomChoice, Settings, phantom_word
from semibench.cli.progress import reporter_for

if TYPE_CHECKING:
    from semibench.resolve import Request
    from semibench.run import Plan, Result

EPILOG = (
    "Examples:\n\n"
    "bench run --protocol synthetic --dataset tus\n\n"
    "bench run --protocol ssmis --dataset la --method mean-teacher --backbone vnet --set labeled=8 --seeds 0-2\n\n"
    "bench run --protocol self --dataset bus-bra --data-root ~/data --recipe paper --set lr=0.02 --set term.consistency=0.3\n\n"
    "bench run --protocol synthetic --dataset tus --plan\n\n"
    "bench run --protocol synthetic --dataset tus --json > result.json"
)


def environment() -> None:
    """What must stand in the environment before heavy packages are imported: no telemetry, no downloads."""
    from semibench.tracking.store import quiet

    quiet()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")


def seeds_of(text: str) -> tuple[int, ...]:
    """ "0-2" -> 0, 1, 2; "0,3,5" -> 0, 3, 5. Raises typer.BadParameter for anything else."""
    found: list[int] = []
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        if not low.isdigit() or (dash and not high.isdigit()) or (dash and int(high) < int(low)):
            raise typer.BadParameter(f"expected seeds as 0-2 or 0,1,5, found {text!r}", param_hint="--seeds")
        found += range(int(low), int(high if dash else low) + 1)
    return tuple(dict.fromkeys(found))


def add(app: typer.Typer) -> None:
    """Registers the command."""

    @app.command("run", epilog=EPILOG)
    def run_command(
        protocol: Annotated[str, typer.Option("--protocol", "-p", help="How the split is drawn: `bench list protocols`.")],
        dataset: Annotated[str, typer.Option("--dataset", "-d", help="`bench list datasets`.")],
        method: Annotated[
            str | None, typer.Option("--method", "-m", help="`bench list methods` (default: the protocol's).", show_default=False, rich_help_panel="Who competes, and how long")
        ] = None,
        backbone: Annotated[
            str | None, typer.Option("--backbone", "-b", help="`bench list backbones` (default: the method's).", show_default=False, rich_help_panel="Who competes, and how long")
        ] = None,
        recipe: Annotated[str, typer.Option("--recipe", "-r", help="Budget and optimiser: smoke, quick, paper, own ...", rich_help_panel="Who competes, and how long")] = "quick",
        preset: Annotated[
            str | None, typer.Option(help="A method's published constants: `bench show method NAME`.", show_default=False, rich_help_panel="Who competes, and how long")
        ] = None,
        dims: Annotated[
            int | None, typer.Option(min=2, max=3, help="2: a 2D network, on slices of volumes; 3: a 3D one.", show_default=False, rich_help_panel="Who competes, and how long")
        ] = None,
        draw: Annotated[int, typer.Option(min=0, help="Which random split.", rich_help_panel="Replicates")] = 0,
        fold: Annotated[int | None, typer.Option(min=0, help="Which fold of it.", show_default=False, rich_help_panel="Replicates")] = None,
        seed: Annotated[int, typer.Option(min=0, help="Training randomness.", rich_help_panel="Replicates")] = 0,
        seeds: Annotated[
            str | None, typer.Option(metavar="0-2", help="Several seeds, one run after the other.", show_default=False, rich_help_panel="Replicates")
        ] = None,
        settings: Settings = None,
        data_root: DataRoot = None,
        phantom: PhantomChoice = None,
        weights: Annotated[
            Path | None, typer.Option(help="File of start weights for the backbone.", show_default=False, rich_help_panel="Who competes, and how long")
        ] = None,
        conventions: Annotated[
            list[str] | None,
            typer.Option("--convention", "-c", help="How to score; repeatable (default: all that apply).", show_default=False, rich_help_panel="Where and what is kept"),
        ] = None,
        device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.", rich_help_panel="Where and what is kept")] = "auto",
        runs: Annotated[Path, typer.Option(help="Folder of the run folders.", rich_help_panel="Where and what is kept")] = Path("runs"),
        resume: Annotated[bool, typer.Option("--resume/--no-resume", help="Go on from the last checkpoint of this very run.", rich_help_panel="Where and what is kept")] = True,
        force: Annotated[bool, typer.Option("--force", help="Run again though it is done.", rich_help_panel="Where and what is kept")] = False,
        keep_predictions: Annotated[bool, typer.Option("--predictions/--no-predictions", help="Keep predicted masks.", rich_help_panel="Where and what is kept")] = True,
        tracking_uri: Annotated[
            str | None,
            typer.Option(help="MLflow store (default: MLFLOW_TRACKING_URI, else ./mlflow.db).", show_default=False, rich_help_panel="Where and what is kept"),
        ] = None,
        track: Annotated[bool, typer.Option("--track/--no-track", help="Mirror the run in MLflow.", rich_help_panel="Where and what is kept")] = True,
        plan_only: Annotated[bool, typer.Option("--plan", "--dry-run", help="Print the plan and end.", rich_help_panel="Where and what is kept")] = False,
        as_json: Json = False,
        debug: Debug = False,
    ) -> None:  # fmt: skip
        """Train and score one method on one data set under one protocol.

        The run folder (runs/KEY) holds everything; the same command again does nothing, or goes on where it was stopped.
        """
        wanted = seeds_of(seeds) if seeds is not None else (seed,)
        environment()
        from semibench.resolve import Request

        records = []
        for number in wanted:
            request = Request(
                protocol=protocol, dataset=dataset, method=method, backbone=backbone, recipe=recipe, preset=preset, dims=dims,
                draw=draw, fold=fold, seed=number, settings=tuple(settings or ()), data_root=data_root,
                phantom=phantom_word(phantom), weights=weights, device=device, runs=runs, resume=resume, force=force,
                conventions=tuple(conventions or ()), tracking_uri=tracking_uri, track=track,
                keep_predictions=keep_predictions,
            )  # fmt: skip
            records.append(_one(request, plan_only=plan_only, as_json=as_json))
        if as_json:
            emit(records[0] if len(records) == 1 else records)


def _one(request: Request, *, plan_only: bool, as_json: bool) -> Any:
    """Plans and, unless only the plan is wanted, executes one run; returns what --json prints."""
    from semibench.cli.results import show_plan, show_result
    from semibench.run import execute, prepare
    from semibench.training.device import tune_allocator

    tune_allocator()
    errors = stderr()
    reporter = reporter_for(errors)
    try:
        plan: Plan = prepare(request, reporter)
        facts = plan.summary()
        if not (plan_only and as_json):
            show_plan(stdout() if plan_only else errors, plan, facts)
        if plan_only:
            return facts
        result: Result = execute(plan, reporter)
    finally:
        reporter.close()
    if not as_json:
        show_result(stdout(), plan, result)
    return result.record
