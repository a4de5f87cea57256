"""`bench rescore`: scores a finished run under another convention."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semibench.cli.console import emit, stderr, stdout, table
from semibench.cli.options import Debug, Json
from semibench.cli.progress import reporter_for
from semibench_leaderboards.commands import naming, options
from semibench_leaderboards.commands.options import option
from semibench_leaderboards.panels import OUTPUT, SCORE

EPILOG = "Example:\n\nbench rescore 4f14c4c98d88 --convention ssl4mis"

app = typer.Typer(add_completion=False, rich_markup_mode="rich")


@app.command("rescore", epilog=EPILOG)
def rescore_command(
    run: naming.RunName,
    conventions: Annotated[
        list[str], option(SCORE, "Convention to score with; repeatable.", "--convention", "-c", metavar="NAME")
    ],
    runs: options.Runs = Path("runs"),
    data_root: naming.DataRoot = None,
    force: Annotated[bool, option(OUTPUT, "Replace numbers of the run that differ.", "--force")] = False,
    track: naming.Track = True,
    tracking_uri: options.TrackingUri = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Score a finished run under another convention, from its stored predictions. Nothing is trained or predicted.

    A convention that the run was scored with before is recomputed and compared.
    """
    from semibench_leaderboards.evidence.rescore import rescore

    folder = naming.run_folder(run, runs)
    reporter = reporter_for(stderr())
    try:
        report = rescore(folder, conventions, data_root=data_root, force=force, reporter=reporter)
        if report.written and track:
            naming.mirror_and_notify(folder, tracking_uri, reporter)
    finally:
        reporter.close()
    if as_json:
        emit(vars(report) | {"folder": str(folder)})
        return
    from semibench.tracking.tables import score_rows

    console = stdout()
    for name, (heads, rows) in score_rows(report.records).items():
        console.show(table(heads, rows, title=name))
    for name in report.new:
        console.show(f"{name}: added to {folder}")
    for name in report.same:
        console.show(f"{name}: the run already has the same digits")
    for name, difference in report.changed.items():
        console.show(f"{name}: replaced; the digits differed by up to {difference:.3g}")
    for name, why in report.skipped.items():
        stderr().show(f"{name}: not computed: {why}", style="yellow", soft_wrap=True)
