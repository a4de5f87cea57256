"""Finds the run folders that a user names, and mirrors a folder that a command wrote."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semibench.cli.generated import option_of
from semibench.contracts.errors import UsageError
from semibench.run.request import Cell
from semibench.runfolder.format import is_run_folder
from semibench_leaderboards.commands.options import option
from semibench_leaderboards.panels import OUTPUT, WHICH

if TYPE_CHECKING:
    from semibench.reporting import Reporter
    from semibench_leaderboards.reading.records import RunRecord

RunName = Annotated[str, typer.Argument(help="Beginning of a run's key (`bench runs`), or its folder.", metavar="RUN")]
DataRoot = Annotated[Path | None, option_of(Cell, "data_root", panel=WHICH)]
Track = Annotated[bool, option(OUTPUT, "Mirror the changes in MLflow.", "--track/--no-track", default=True)]


def run_folder(name: str, runs: Path) -> Path:
    """The folder of a run, by its path or the beginning of its key. Raises UsageError where none or several match."""
    from semibench_leaderboards.reading.records import chosen_run, read_runs

    given = Path(name)
    if is_run_folder(given):
        return given
    return chosen_run(read_runs(runs, scores=False), name).folder


def folders_of(name: str, runs: Path) -> list[Path]:
    """The folder of a run, or those of the finished runs of a row, named by the beginning of its digest or by its method.

    Raises UsageError where nothing matches, or several rows do.
    """
    from semibench_leaderboards.reading.records import read_runs

    given = Path(name)
    if is_run_folder(given):
        return [given]
    every = read_runs(runs, scores=False)
    exact = [record for record in every if record.key.startswith(name) or record.folder.name == name]
    if len(exact) == 1:
        return [exact[0].folder]
    members = [record for record in every if record.row.startswith(name)] or [r for r in every if r.method == name]
    rows: dict[str, list[RunRecord]] = {}
    for record in members:
        if record.counts:
            rows.setdefault(record.row, []).append(record)
    if len(rows) > 1:
        listed = "; ".join(
            f"{key[:12]} ({records[0].name}, {len(records)} runs)" for key, records in list(rows.items())[:8]
        )
        raise UsageError(f"{name!r} matches {len(rows)} rows: {listed}; name one by the beginning of its digest")
    if not rows:
        raise UsageError(
            f"no run or row with finished runs is called {name!r} under {runs}; list them: bench runs --runs {runs}"
        )
    return [record.folder for record in next(iter(rows.values()))]


def report_left_out(runs: Path) -> None:
    """Prints, on standard error, the run folders that can't be read and those that are copies of another one. The runs were just
    read."""
    from semibench.cli.console import stderr
    from semibench_leaderboards.reading.records import left_out

    for line in left_out(runs, refresh=False):
        stderr().show(line, style="yellow", soft_wrap=True)


def mirror_and_notify(folder: Path, tracking_uri: str | None, reporter: Reporter) -> None:
    """Mirrors a folder in MLflow and notifies the listeners. A failure becomes a warning, since the folder itself is complete."""
    from semibench.tracking.beside import mirroring

    with mirroring(tracking_uri, reporter) as mirror:
        mirror.put(folder, ended=True)
