"""`bench score`: scores predictions that were made elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from semibench.cli.console import emit, stderr, stdout, table
from semibench.cli.generated import Fields, with_options
from semibench.cli.options import Debug, Json
from semibench.cli.progress import reporter_for
from semibench.contracts.errors import UsageError
from semibench.run.request import Cell
from semibench_leaderboards.commands import naming, options
from semibench_leaderboards.commands.options import option
from semibench_leaderboards.evidence.requests import Submission
from semibench_leaderboards.panels import OUTPUT, SCORE, WHICH

TASK = ("protocol", "dataset", "recipe", "draw", "fold", "seed", "split", "data_root")
"""Fields of a cell that say what the predictions are for."""

TEXTS = {
    "recipe": "Recipe that sets the protocol's options, e.g. the number of labels.",
    "seed": "Number of the run, where an entry has several.",
}
"""Help of the fields that mean something else than in `bench run`."""

EPILOG = (
    "Examples:\n\n"
    "bench score --list --protocol self --dataset tus\n\n"
    'bench score predictions/ --protocol self --dataset tus --name "nnU-Net v2"\n\n'
    "bench score predictions.zip -p ssmis -d la --recipe paper --seed 1 --name ours --ranked"
)

app = typer.Typer(add_completion=False, rich_markup_mode="rich")


@app.command("score", epilog=EPILOG)
@with_options
def score_command(
    cell: Annotated[
        Cell,
        Fields(Cell, only=TASK, panel=WHICH, texts=TEXTS),
        Fields(Cell, only=("settings", "phantom")),
        Fields(Cell, only=("conventions",), panel=SCORE),
    ],
    entry: Annotated[dict[str, Any], Fields(Submission)],
    predictions: Annotated[
        Path | None,
        typer.Argument(help="Folder or zip file with a label map for each test case.", metavar="PREDICTIONS"),
    ] = None,
    listed: Annotated[bool, option(OUTPUT, "Only print the ids of the test cases.", "--list")] = False,
    runs: options.Runs = Path("runs"),
    force: Annotated[bool, option(OUTPUT, "Replace other predictions with this name and split.", "--force")] = False,
    track: naming.Track = True,
    tracking_uri: options.TrackingUri = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Score predictions that were made elsewhere. The harness, not the author, draws the split and computes the numbers.

    Each test case needs one file, named after its id: .npz (array `label`), .npy, .png, .nii or .nii.gz, with whole numbers
    0..K-1 on the grid of the reference. No test case may be missing, and no other file may be there.
    """
    from semibench_leaderboards.evidence.containers import open_container
    from semibench_leaderboards.evidence.score import resolve_submission, score_submission

    submission = Submission(**{"cell": cell, "name": "unnamed"} | entry)
    reporter = reporter_for(stderr())
    try:
        if listed:
            from semibench.run.prepare import draw_split

            resolved, _ = resolve_submission(submission, reporter)
            refs = draw_split(resolved)[0].test
            emit([ref.key for ref in refs]) if as_json else stdout().show(
                "\n".join(ref.id for ref in refs), soft_wrap=True
            )
            return
        if predictions is None or "name" not in entry:
            raise UsageError("name a folder or zip file of predictions, and the entry with --name")
        with open_container(predictions) as container:
            folder, result = score_submission(submission, container, runs, force=force, reporter=reporter)
        if track:
            naming.mirror_and_notify(folder, tracking_uri, reporter)
    finally:
        reporter.close()
    if as_json:
        emit(result)
        return
    from semibench.tracking.tables import score_rows

    console = stdout()
    if result.phantom:
        console.show("PHANTOM DATA: procedural stand-ins, not patients", style="bold red")
    for convention, (heads, rows) in score_rows(result.scores).items():
        console.show(table(heads, rows, title=convention))
    where = "on the board of the recipe's runs" if submission.ranked else "on a board of its own"
    console.show(
        f"\n{folder}: {submission.name} (submitted), {where}: bench leaderboard --track {(result.track or '')[:12]}",
        soft_wrap=True,
    )
