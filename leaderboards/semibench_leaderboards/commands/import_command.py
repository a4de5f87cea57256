"""`bench import`: puts bundles into a folder of runs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from semibench.cli.console import emit, stderr, stdout
from semibench.cli.options import Debug, Json
from semibench_leaderboards.commands import options

EPILOG = (
    "Examples:\n\n"
    "bench import cps-seed-0.zip\n\n"
    "bench import theirs/ ours/ --runs together\n\n"
    "bench import speed/boards/runs/real_hippocampus_slices --runs board && bench leaderboard --runs board --all"
)

app = typer.Typer(add_completion=False, rich_markup_mode="rich")


@app.command("import", epilog=EPILOG)
def import_command(
    bundles: Annotated[
        list[Path],
        typer.Argument(help="Files written by `bench export`, or folders that hold such files.", metavar="BUNDLE..."),
    ],
    runs: options.Runs = Path("runs"),
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Put the runs of bundles into a folder of runs: lists and boards show them, and `bench matrix` doesn't repeat them.

    A run that is there already stays as it is. A bundle that is damaged, or that contradicts a run in the folder, is named; the
    others are imported, and the exit code is 1. Import bundles of people you trust, or `bench verify` them before: this command
    doesn't compute their numbers again.
    """
    from semibench.contracts.errors import SemibenchError, one_line
    from semibench_leaderboards.evidence.importing import Imported, bundles_in, import_bundle

    done: list[Imported] = []
    refused: dict[Path, str] = {}
    for bundle in bundles_in(bundles):
        try:
            done.append(import_bundle(bundle, runs))
        except SemibenchError as error:
            refused[bundle] = one_line(error)
            stderr().show(refused[bundle], style="red", soft_wrap=True)
    if as_json:
        emit(
            {
                "runs": [
                    {"bundle": str(d.bundle), "key": d.key, "folder": str(d.folder), "outcome": d.outcome} for d in done
                ],
                "refused": {str(bundle): why for bundle, why in refused.items()},
            }
        )
    else:
        counts = Counter(d.outcome for d in done)
        words = [f"{count} {outcome}" for outcome, count in sorted(counts.items(), reverse=True)]
        words += [f"{len(refused)} refused"] if refused else []
        stdout().show(f"{runs}: {', '.join(words)}", soft_wrap=True)
    if refused:
        raise typer.Exit(1)
