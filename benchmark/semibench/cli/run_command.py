"""`bench run`: trains and scores one run, or one for each seed."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semibench.cli.compared_runs import compared, ended_in_order
from semibench.cli.console import emit, stderr, stdout
from semibench.cli.generated import with_options
from semibench.cli.options import Debug, Json
from semibench.cli.progress import Screen, reporter_for
from semibench.process import environment, importing, interrupt, on_signals
from semibench.run.request import KEPT, MOST, REPLICATES, Request

if TYPE_CHECKING:
    from semibench.tracking.beside import MirrorBeside

EPILOG = (
    "Examples:\n\n"
    "bench run --protocol synthetic --dataset tus\n\n"
    "bench run --protocol ssmis --dataset la --method mean-teacher --backbone vnet --set labeled=8 --seeds 0-2\n\n"
    "bench run --protocol self --dataset bus-bra --data-root ~/data --recipe paper --set lr=0.02 --set term.consistency=0.3\n\n"
    "bench run --protocol self --dataset tus --compare --method cps\n\n"
    "bench run --protocol synthetic --dataset tus --plan\n\n"
    "bench run --protocol synthetic --dataset tus --json > result.json"
)


Seeds = Annotated[
    str | None,
    typer.Option(
        "--seeds", help="Several seeds, one run after the other.", rich_help_panel=REPLICATES, metavar="0-2",
        show_default=False,
    ),
]  # fmt: skip
PlanOnly = Annotated[
    bool,
    typer.Option("--plan", "--dry-run", help="Print the plan and exit.", rich_help_panel=KEPT, show_default=False),
]

Compare = Annotated[
    bool | None,
    typer.Option(
        "--compare/--no-compare",
        help="Also run the labels alone and, where the protocol adds unlabeled images, the method without them, beside this run; "
        "a table ends the command (default: if no method is named).",
        rich_help_panel=KEPT,
        show_default=False,
    ),
]


def seeds_of(text: str) -> tuple[int, ...]:
    """Parses seeds: "0-2" -> 0, 1, 2; "0,3,5" -> 0, 3, 5. Raises typer.BadParameter for anything else."""
    from semibench.matrix.cells import numbers

    try:
        seeds = tuple(numbers(text))
        if not seeds or max(seeds) >= MOST:
            raise ValueError
        return seeds
    except ValueError as error:
        raise typer.BadParameter(f"expected seeds as 0-2 or 0,1,5, found {text!r}", param_hint="--seeds") from error


def add(app: typer.Typer) -> None:
    """Registers the command."""

    @app.command("run", epilog=EPILOG)
    @with_options
    def run_command(
        request: Request,
        seeds: Seeds = None,
        plan_only: PlanOnly = False,
        compare: Compare = None,
        as_json: Json = False,
        debug: Debug = False,
    ) -> None:
        """Train and score one method on one data set under one protocol.

        The run folder (runs/KEY) holds everything. Repeating the command resumes a stopped run and does nothing for a finished one.
        Without --method, the protocol's default method runs beside its references.
        """
        from semibench.tracking.beside import mirroring

        if compare is None:
            compare = request.method is None and seeds is None and not (plan_only or as_json or request.control)
        selected_seeds = seeds_of(seeds) if seeds is not None else (request.seed,)
        environment()
        on_signals(interrupt, signal.SIGTERM)  # the time limit of a scheduler ends a run as Ctrl-C does
        reporter = reporter_for(stderr())
        records: list[Any] = []
        with mirroring(request.tracking_uri, reporter) as mirror:
            for seed in selected_seeds:
                one = request.model_copy(update={"seed": seed})
                brief = bool(records)
                if plan_only:
                    records.append(_planned(one, reporter, as_json=as_json, brief=brief))
                elif compare:
                    records += compared(one, reporter, mirror, as_json=as_json, brief=brief)
                else:
                    records.append(_one(one, reporter, mirror, as_json=as_json, brief=brief))
        if as_json:
            emit(records[0] if len(records) == 1 else records)


def _planned(request: Request, reporter: Screen, *, as_json: bool, brief: bool) -> Any:
    """Plans one run; returns what --json prints.

    brief: the plan differs from one that was shown before only in its replicate."""
    from semibench.cli.plan_view import show_plan
    from semibench.run.prepare import prepare

    with ended_in_order(reporter):
        facts = prepare(request, reporter).summary()
    if not as_json:
        show_plan(stdout(), facts, brief=brief)
    return facts


def _one(request: Request, reporter: Screen, mirror: MirrorBeside, *, as_json: bool, brief: bool) -> Any:
    """Plans one run and executes it; returns what --json prints.

    brief: the plan differs from one that was shown before only in its replicate."""
    with importing():
        from semibench.cli.plan_view import show_plan
        from semibench.cli.results import show_result
        from semibench.run.execute import execute
        from semibench.run.prepare import prepare

    with ended_in_order(reporter):
        with importing():  # torch and the plug-ins, too
            plan = prepare(request, reporter)
        show_plan(stderr(), plan.summary(), brief=brief)
        result = execute(plan, reporter, mirror)
    if not as_json:
        show_result(stdout(), result, mirrored=request.track and mirror.works)
    return result.record
