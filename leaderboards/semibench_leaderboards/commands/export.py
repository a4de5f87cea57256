"""`bench export`: writes a run to a file that anybody can verify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semibench.cli.console import stdout
from semibench.cli.options import Debug
from semibench_leaderboards.commands import naming, options
from semibench_leaderboards.commands.options import option
from semibench_leaderboards.panels import OUTPUT

EPILOG = "Example:\n\nbench export 4f14c4c98d88 --out cps-seed-0.zip"

app = typer.Typer(add_completion=False, rich_markup_mode="rich")


@app.command("export", epilog=EPILOG)
def export_command(
    run: naming.RunName,
    out: Annotated[Path, option(OUTPUT, "File to write.", "--out", "-o")],
    runs: options.Runs = Path("runs"),
    debug: Debug = False,
) -> None:
    """Write a finished run's spec, provenance, split, predictions and scores to one zip file, with the same bytes every time.

    `bench verify FILE` recomputes every number in it. The file has no images and no references of the data set.
    """
    from semibench_leaderboards.evidence.export import export

    manifest = export(naming.run_folder(run, runs), out)
    size = out.stat().st_size / 1e6
    stdout().show(f"{out}: run {manifest['key'][:12]}, {len(manifest['files'])} files, {size:.2f} MB", soft_wrap=True)
