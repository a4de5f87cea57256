"""`bench export`: writes a run, or many, to files that anybody can verify or import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semibench.cli.console import stdout
from semibench.cli.generated import with_options
from semibench.cli.options import Debug
from semibench.contracts.errors import UsageError
from semibench_leaderboards.commands import naming, options
from semibench_leaderboards.commands.options import option
from semibench_leaderboards.panels import OUTPUT
from semibench_leaderboards.reading.run_filter import RunFilter

EPILOG = (
    "Examples:\n\n"
    "bench export 4f14c4c98d88 --out cps-seed-0.zip\n\n"
    "bench export --dataset tus --recipe quick --no-predictions --out tus-quick/"
)

app = typer.Typer(add_completion=False, rich_markup_mode="rich")


@app.command("export", epilog=EPILOG)
@with_options
def export_command(
    run_filter: RunFilter,
    out: Annotated[
        Path, option(OUTPUT, "File to write; for several runs a folder, which gets KEY.zip.", "--out", "-o")
    ],
    run: Annotated[
        str | None,
        typer.Argument(
            help="Beginning of a run's key (`bench runs`), or its folder. Without it: all finished runs that match.",
            metavar="[RUN]",
            show_default=False,
        ),
    ] = None,
    runs: options.Runs = Path("runs"),
    predictions: Annotated[
        bool,
        option(
            OUTPUT,
            "Include the predicted label maps, without which the numbers can't be computed again.",
            "--predictions/--no-predictions",
            default=True,
        ),
    ] = True,
    debug: Debug = False,
) -> None:
    """Write a finished run's spec, provenance, split, predictions and scores to one zip file, with the same bytes every time.

    `bench verify FILE` recomputes every number in it, `bench import FILE` puts it into a folder of runs. The file has no images
    and no references of the data set.
    """
    from semibench_leaderboards.evidence.export import export

    if run is not None:
        if run_filter.conditions:
            raise UsageError(f"a run ({run}) and options that select runs exclude each other; leave one of them out")
        manifest = export(naming.run_folder(run, runs), out, predictions=predictions)
        _show(out, manifest["key"], len(manifest["files"]))
        return
    from semibench_leaderboards.ranking.selecting import chosen_runs

    records = [record for record in chosen_runs(runs, run_filter, scores=False) if record.state == "done"]
    if not records:
        raise UsageError(f"none of the runs that match in {runs} is finished; see bench runs --runs {runs}")
    if out.is_file():
        raise UsageError(f"--out {out}: expected a folder for {len(records)} bundles, found a file")
    for record in records:
        file = out / f"{record.key[:12]}.zip"
        manifest = export(record.folder, file, predictions=predictions)
        _show(file, manifest["key"], len(manifest["files"]))


def _show(file: Path, key: str, files: int) -> None:
    size = file.stat().st_size / 1e6
    stdout().show(f"{file}: run {key[:12]}, {files} files, {size:.2f} MB", soft_wrap=True)
