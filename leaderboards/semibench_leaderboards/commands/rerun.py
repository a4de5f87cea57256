"""`bench rerun`: repeats a run from its spec and compares the digits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semibench.cli.console import emit, stderr, stdout, table
from semibench.cli.generated import with_options
from semibench.cli.options import Debug, Json
from semibench.cli.progress import reporter_for
from semibench.contracts.errors import UsageError
from semibench.runfolder.reading import RunFolder
from semibench.runfolder.tables import SCORES_FILE
from semibench_leaderboards.commands import naming, options
from semibench_leaderboards.commands.options import option
from semibench_leaderboards.evidence.requests import RerunExecution
from semibench_leaderboards.panels import OUTPUT

if TYPE_CHECKING:
    from semibench_leaderboards.evidence.rerun import Agreement

EPILOG = (
    "Examples:\n\nbench rerun 4f14c4c98d88\n\nbench rerun mean-teacher --into /scratch/again --tolerance 0.01\n\n"
    "bench rerun runs/4f14c4c98d88 --compare-only /elsewhere/runs/4f14c4c98d88"
)

app = typer.Typer(add_completion=False, rich_markup_mode="rich")


@app.command("rerun", epilog=EPILOG)
@with_options
def rerun_command(
    name: Annotated[str, typer.Argument(help="A run (key or folder), or a row (digest or method).", metavar="ROW|RUN")],
    execution: RerunExecution,
    runs: options.Runs = Path("runs"),
    into: Annotated[
        Path | None, option(OUTPUT, "Folder for the new runs (default: RUNS-again).", "--into", metavar="FOLDER")
    ] = None,
    tolerance: Annotated[
        float,
        option(
            OUTPUT,
            "Accepted difference of final scores; 0: every digit must agree.",
            "--tolerance",
            default=True,
            min=0.0,
        ),
    ] = 0.0,
    compare: Annotated[
        Path | None, option(OUTPUT, "Run nothing and compare with this folder.", "--compare-only", metavar="FOLDER")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Repeat a run, or all runs of a row, from the stored spec alone, and report whether the digits agree.

    The new runs go to a folder of their own and are not part of any board. The exit code is 1 if final scores differ by more than
    the tolerance.
    """
    from semibench.process import environment

    environment()
    from semibench_leaderboards.evidence.rerun import compare_runs

    folders = naming.folders_of(name, runs)
    if compare is not None and len(folders) > 1:
        raise UsageError(f"{name!r} is a row of {len(folders)} runs; --compare-only takes one run")
    target = into or runs.with_name(f"{runs.name}-again")
    documents, all_agree = [], True
    for folder in folders:
        other = compare or _run(folder, target, execution)
        agreement = compare_runs(folder, other)
        agrees = agreement.same if tolerance == 0 else agreement.within(tolerance)
        all_agree = all_agree and agrees
        documents.append(_document(folder, other, agreement, agrees))
        if not as_json:
            _show(folder, other, agreement, tolerance)
    if as_json:
        emit(documents[0] if len(documents) == 1 else documents)
    if not all_agree:
        raise typer.Exit(1)


def _run(folder: Path, target: Path, execution: RerunExecution) -> Path:
    """Repeats the run of a folder in another folder of runs; returns the new run's folder."""
    from semibench.run.execute import execute
    from semibench_leaderboards.evidence.rerun import plan_again, request_of

    if (target / folder.name).resolve() == folder.resolve():
        raise UsageError(f"--into {target} is the folder of the run itself; name another one")
    reporter = reporter_for(stderr())
    try:
        plan = plan_again(folder, request_of(folder, target, execution), reporter)
        if plan.state == "stale" and not execution.force:
            raise UsageError(f"{plan.folder} has a run made with other code; --force repeats it")
        for reason in RunFolder(folder).provenance.changes(plan.record):
            reporter.warn(f"since run {folder.name}: {reason}")
        return execute(plan, reporter).folder
    finally:
        reporter.close()


def _document(folder: Path, other: Path, agreement: Agreement, agrees: bool) -> dict[str, Any]:
    return {
        "first": str(folder), "second": str(other), "same": agreement.same, "agrees": agrees, "reasons": agreement.reasons,
        "columns": [vars(column) | {"same": column.same} for column in agreement.columns],
    }  # fmt: skip


def _show(folder: Path, other: Path, agreement: Agreement, tolerance: float) -> None:
    console = stdout()
    console.show(f"{folder} and {other}", style="bold", soft_wrap=True)
    shown = [column for column in agreement.columns if not column.same or column.file == SCORES_FILE]
    rows = [
        [
            column.file.removesuffix(".parquet"), column.column, column.values, column.differing, column.unpaired,
            "none" if column.largest == 0 else f"{column.largest:.3g}",
            "none" if column.relative == 0 else f"{column.relative:.2g}",
            column.where,
        ]
        for column in shown
    ]  # fmt: skip
    console.show(
        table(["", "quantity", "values", "differing", "unpaired", "largest difference", "relative", "where"], rows)
    )
    values = sum(column.values for column in agreement.columns)
    if agreement.same:
        console.show(
            f"the digits agree: {values} values of {len(agreement.columns)} quantities, logged and scored", style="bold"
        )
        return
    scores = [column for column in agreement.columns if column.file == SCORES_FILE]
    worst = max((column.largest for column in scores), default=float("nan"))
    kind = (
        "final scores differ"
        if any(not column.same for column in scores)
        else "only values logged during training differ"
    )
    inside = ", which is within the tolerance" if tolerance and agreement.within(tolerance) else ""
    console.show(f"the digits don't agree: {kind} (a score of a case by up to {worst:.3g}){inside}", style="bold")
    for reason in agreement.reasons:
        console.show(f"- {reason}", soft_wrap=True)
