"""`bench leaderboard`: shows boards as tables, files or a page."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from pydantic import BaseModel, Field

from semibench.cli.console import Output, emit, stderr, stdout, table
from semibench.cli.generated import Fields, with_options
from semibench.cli.options import DataRoot, Debug
from semibench.contracts.errors import UsageError
from semibench.files import write_atomically
from semibench.run.options import Option
from semibench_leaderboards.commands import options
from semibench_leaderboards.commands.naming import report_left_out
from semibench_leaderboards.panels import OUTPUT
from semibench_leaderboards.ranking.score_request import ScoreRequest
from semibench_leaderboards.reading.run_filter import OF_TRACK, RunFilter

if TYPE_CHECKING:
    from semibench_leaderboards.ranking.boards import Board
    from semibench_leaderboards.ranking.ranks import Ranking

    Ranked = tuple[Board, Ranking]

EPILOG = (
    "Examples:\n\n"
    "bench leaderboard --dataset tus\n\n"
    "bench leaderboard -d tus -p self -r quick --metric hd95_mm --checkpoint best --predictor all\n\n"
    "bench leaderboard -d la --unit group --diagram ranks.svg\n\n"
    "bench leaderboard --format csv --all > rows.csv\n\n"
    "bench leaderboard --format html --out site\n\n"
    "bench leaderboard --sync"
)

app = typer.Typer(add_completion=False, rich_markup_mode="rich")


Format = Literal["table", "csv", "json", "markdown", "latex", "html"]
"""Output formats of a board."""


class Presentation(BaseModel, frozen=True):
    """How boards are shown, and where they are written."""

    form: Annotated[Format, Option("Output format.", ("--format", "-f"), OUTPUT)] = "table"
    out: Annotated[
        Path | None,
        Option("Write to this file (html: folder) instead of standard output.", ("--out", "-o"), OUTPUT),
    ] = None
    diagram: Annotated[
        Path | None, Option("Also draw a critical-difference diagram (.svg, .png or .pdf).", panel=OUTPUT)
    ] = None
    every: Annotated[
        bool, Option("Show every board that matches instead of a list of them.", ("--all", "-a"), OUTPUT)
    ] = False
    wide: Annotated[bool, Option("Show all columns, even in a narrow terminal.", ("--wide", "-w"), OUTPUT)] = False
    viewer: Annotated[
        int,
        Field(ge=0),
        Option("html: most test cases in the viewer of a board (0: no viewer).", panel=OUTPUT),
    ] = 12


@app.command("leaderboard", epilog=EPILOG)
@with_options
def leaderboard(
    run_filter: Annotated[RunFilter, Fields(RunFilter, only=OF_TRACK)],
    score: ScoreRequest,
    how: Presentation,
    runs: options.Runs = Path("runs"),
    sync: options.Sync = False,
    tracking_uri: options.TrackingUri = None,
    data_root: DataRoot = None,
    debug: Debug = False,
) -> None:
    """Rank the rows of a track: mean over cases and runs, spread, interval, and which rows can't be told apart.

    Rows are compared only within a board (a track seen through one score). If several boards match, they are listed with
    what differs between them.
    """
    if sync:
        from semibench_leaderboards.commands.sync import sync_tracks

        sync_tracks(runs, run_filter, tracking_uri)
        report_left_out(runs)
        return
    if how.form == "html" and how.out is None:
        raise UsageError("--format html writes a folder; name it with --out")
    from semibench_leaderboards.ranking.ranks import rank
    from semibench_leaderboards.ranking.selecting import chosen_boards, one_board

    matching = chosen_boards(runs, run_filter, score)
    report_left_out(runs)
    several = len(matching) > 1 and not how.every
    if several and how.form == "table" and how.out is None and how.diagram is None:
        _overview(matching)
        return
    if (several and how.form != "html") or (how.diagram is not None and len(matching) > 1):
        one_board(matching)
    ranked = [(board, rank(board, score.unit)) for board in matching]
    if how.diagram is not None:
        _draw(ranked[0], how.diagram)
    if how.form == "html":
        assert how.out is not None
        _write_page(ranked, how.out, runs, how.viewer, data_root)
    elif how.form == "table" and how.out is None:
        for board, ranking in ranked:
            _show(stdout(), board, ranking, wide=how.wide)
    elif how.form == "json" and how.out is None:
        from semibench_leaderboards.showing.tables import document

        documents = [document(board, ranking) for board, ranking in ranked]
        emit(documents if how.every else documents[0])
    else:
        _write(_text(ranked, how.form, every=how.every), how.out)


def _overview(matching: Sequence[Board]) -> None:
    """Lists several boards and what differs between them."""
    from semibench_leaderboards.ranking.selecting import overview

    lines, differing = overview(matching)
    console = stdout()
    console.show(
        f"{len(matching)} boards match. Show one with --track, narrow with --dataset ..., or show all with --all.\n"
    )
    numbered = [(str(i + 1), *line.values()) for i, line in enumerate(lines)]
    console.show(table(["", *lines[0]], numbered))
    console.show("\nWhat differs between them:\n")
    if len(matching) <= 6:
        console.show(table(["", *(str(i + 1) for i in range(len(matching)))], differing))
    else:
        rows = [
            (name, str(len({repr(value) for value in values})), list(dict.fromkeys(map(str, values)))[:8])
            for name, *values in differing
        ]
        console.show(table(["", "values", "for example"], rows))


def _show(console: Output, board: Board, ranking: Ranking, *, wide: bool) -> None:
    from semibench_leaderboards.showing.tables import caption, footnotes, grid

    console.show(caption(board), style="bold", soft_wrap=True)
    for warning in board.warnings:
        console.show(warning, style="bold red" if board.phantom and warning.startswith("PHANTOM") else "yellow")
    console.show()
    heads, rows = grid(board, ranking, None if wide else console.width)
    if wide:
        console.width = max(console.width, 400)
    console.show(table(heads, rows))
    console.show()
    for note in footnotes(board, ranking):
        console.show(f"- {note}")
    console.show()


def _text(ranked: Sequence[Ranked], form: Format, *, every: bool) -> str:
    import json

    from semibench_leaderboards.showing import tables

    if form == "csv":
        return tables.to_csv(ranked)
    if form == "json":
        documents = [tables.document(board, ranking) for board, ranking in ranked]
        return json.dumps(documents if every else documents[0], indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if form == "table":
        from io import StringIO

        stream = StringIO()
        console = Output(file=stream, width=400, highlight=False, markup=False, emoji=False)
        for board, ranking in ranked:
            _show(console, board, ranking, wide=True)
        return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"
    write = tables.to_markdown if form == "markdown" else tables.to_latex
    return "\n".join(write(board, ranking) for board, ranking in ranked)


def _write(text: str, out: Path | None) -> None:
    if out is None:
        sys.stdout.write(text)
        return
    if out.is_dir():
        raise UsageError(f"--out {out} is a folder; name a file")
    write_atomically(out, lambda draft: draft.write_text(text, encoding="utf-8"))
    stderr().show(f"written: {out}", soft_wrap=True)


def _draw(ranked: Ranked, path: Path) -> None:
    from semibench_leaderboards.showing.diagrams import critical_difference

    critical_difference(*ranked, path)
    stderr().show(f"written: {path}", soft_wrap=True)


def _write_page(ranked: Sequence[Ranked], out: Path, runs: Path, cases: int, data_root: Path | None) -> None:
    from semibench_leaderboards import site

    index = site.write(ranked, out, runs=runs, cases=cases, data_root=data_root)
    stderr().show(f"written: {index}", soft_wrap=True)
