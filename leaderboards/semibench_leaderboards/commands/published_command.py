"""`bench published`: shows the tables of the papers, with units, spreads and known errors."""

from __future__ import annotations

import csv
import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from semibench.cli.console import emit, stdout, table
from semibench.cli.generated import with_options
from semibench.cli.options import Debug
from semibench.tracking.tables import markdown_table
from semibench_leaderboards.published.search import ValueSearch

if TYPE_CHECKING:
    from semibench_leaderboards.published import Value

LEGEND = (
    "* proposed method · ✗ can't be right as printed · ! disagrees with another printed number · ? suspiciously repeated. "
    "Published values are never ranked with reproduced ones."
)


@with_options
def published(
    search: ValueSearch,
    impossible: Annotated[
        bool, typer.Option("--impossible", help="Only values that can't be right as printed.")
    ] = False,
    anomaly: Annotated[
        str | None,
        typer.Option("--anomaly", help="Instead of values, show an anomaly by its id, or all of them with `all`."),
    ] = None,
    form: Annotated[
        Literal["table", "csv", "json", "markdown"], typer.Option("--format", help="Output format.")
    ] = "table",
    debug: Debug = False,
) -> None:
    """Show values that papers printed, to compare with reproduced ones."""
    from semibench_leaderboards.published import find
    from semibench_leaderboards.published.marks import impossible as contradiction

    if anomaly is not None:
        _show_anomalies(anomaly, search.paper, form)
        return
    selected = find(search)
    if impossible:
        selected = [value for value in selected if contradiction(value) is not None]
    _show_values(selected, form)


def _show_values(selected: list[Value], form: str) -> None:
    from semibench_leaderboards.published import tables

    if form == "json":
        emit([tables.record(value) for value in selected])
    elif form == "csv":
        typer.echo(tables.as_csv(selected), nl=False)
    elif form == "markdown":
        typer.echo(tables.as_markdown(tables.printed_tables(selected)), nl=False)
    else:
        console = stdout()
        for printed in tables.printed_tables(selected):
            for number, (heads, rows) in enumerate(tables.pieces(printed, 6)):
                console.show(table(heads, rows, title=printed.title if number == 0 else " "))
            for note in printed.notes:
                console.show(note, style="dim", soft_wrap=True)
            console.show()
        empty = sum(value.value is None for value in selected)
        console.show(f"{len(selected)} values, {empty} of them without a number. {LEGEND}", soft_wrap=True)


def _show_anomalies(name: str, paper: str | None, form: str) -> None:
    from semibench.contracts.errors import UnknownNameError
    from semibench_leaderboards.published import anomalies, papers
    from semibench_leaderboards.published.anomalies import MEANINGS

    known = anomalies()
    if paper is not None and paper not in papers():
        raise UnknownNameError("paper", paper, papers())
    if name != "all" and name not in known:
        raise UnknownNameError("anomaly", name, known)
    chosen = [item for item in known.values() if name in ("all", item.id) and paper in (None, item.paper)]
    if form == "json":
        emit([item.model_dump(mode="json") for item in chosen])
        return
    heads = ("anomaly", "where", "severity", "what")
    rows = [(item.id, item.where, item.severity, item.what) for item in chosen]
    if form == "markdown":
        typer.echo(markdown_table(heads, rows))
        return
    if form == "csv":
        csv.writer(sys.stdout, lineterminator="\n").writerows([heads, *rows])
        return
    console = stdout()
    console.show(table(heads, rows))
    if name != "all":
        for line in chosen[0].found:
            console.show(f"  {line}", soft_wrap=True)
    console.show()
    console.show(
        " · ".join(f"{severity}: {meaning}" for severity, meaning in MEANINGS.items()), style="dim", soft_wrap=True
    )
