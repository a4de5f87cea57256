"""`bench published`: the tables of the papers, with units, spreads and what is known to be wrong with them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from semibench.cli.console import emit, stdout, table
from semibench.cli.options import Debug

LEGEND = (
    "* proposed method · ✗ can't be right as printed · ! disagrees with another printed number · ? repeated where it should "
    "not be. Published values are never ranked with reproduced ones."
)


def _name(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, show_default=False)


def published(
    paper: Annotated[str | None, _name("mgcc, diff-cl, csc-pa, semsim or dtlp.", "--paper")] = None,
    number: Annotated[str | None, _name("Number of the table, as printed: I, 3.", "--table")] = None,
    dataset: Annotated[str | None, _name("Data set.", "--dataset", "-d")] = None,
    setting: Annotated[str | None, _name("Setting or block: self, labeled-5pct, uda.", "--setting")] = None,
    method: Annotated[str | None, _name("Method: slug or printed name.", "--method", "-m")] = None,
    group: Annotated[str | None, _name("mean, or a class or domain.", "--group")] = None,
    metric: Annotated[str | None, _name("dice, iou, hd95, asd ...", "--metric")] = None,
    role: Annotated[str | None, _name("proposed, baseline, lower-bound, upper-bound, variant.", "--role")] = None,
    impossible: Annotated[bool, typer.Option("--impossible", help="Only what can't be right as printed.")] = False,
    anomaly: Annotated[
        str | None, _name("Show an anomaly by its id, or `all`, instead of values.", "--anomaly")
    ] = None,
    form: Annotated[Literal["table", "csv", "json", "markdown"], typer.Option("--format", help="Form.")] = "table",
    debug: Debug = False,
) -> None:
    """Values that papers printed, to be shown beside reproduced ones."""
    from semibench_leaderboards.published import find, marks

    if anomaly is not None:
        _anomalies(anomaly, paper, form)
        return
    found = find(
        paper=paper,
        table=number,
        dataset=dataset,
        setting=setting,
        method=method,
        group=group,
        metric=metric,
        role=role,
    )
    if impossible:
        found = [value for value in found if any(mark.severity == "impossible" for mark in marks(value))]
    _values(found, form)


def _values(found: list[Any], form: str) -> None:
    from semibench_leaderboards.published import tables

    if form == "json":
        emit([tables.record(value) for value in found])
    elif form == "csv":
        typer.echo(tables.as_csv(found), nl=False)
    elif form == "markdown":
        typer.echo(tables.as_markdown(tables.sheets(found)), nl=False)
    else:
        console = stdout()
        for sheet in tables.sheets(found):
            for number, (head, rows) in enumerate(tables.pieces(sheet, 6)):
                console.show(table(head, rows, title=sheet.title if number == 0 else " "))
            for note in sheet.notes:
                console.show(note, style="dim", soft_wrap=True)
            console.show()
        empty = sum(value.value is None for value in found)
        console.show(f"{len(found)} values, {empty} of them without a number. {LEGEND}", soft_wrap=True)


def _anomalies(wanted: str, paper: str | None, form: str) -> None:
    from semibench.contracts.errors import UnknownNameError
    from semibench_leaderboards.published import anomalies, papers
    from semibench_leaderboards.published.anomalies import MEANINGS

    known = anomalies()
    if paper is not None and paper not in papers():
        raise UnknownNameError("paper", paper, papers())
    if wanted != "all" and wanted not in known:
        raise UnknownNameError("anomaly", wanted, known)
    chosen = [item for item in known.values() if wanted in ("all", item.id) and paper in (None, item.paper)]
    if form == "json":
        emit([item.model_dump(mode="json") for item in chosen])
        return
    if form in ("csv", "markdown"):
        typer.echo(_listing([[item.id, item.where, item.severity, item.what] for item in chosen], form), nl=False)
        return
    console = stdout()
    rows = [(item.id, item.where, item.severity, item.what) for item in chosen]
    console.show(table(("anomaly", "where", "severity", "what"), rows))
    if wanted != "all":
        for line in chosen[0].found:
            console.show(f"  {line}", soft_wrap=True)
    console.show()
    console.show(" · ".join(f"{name}: {meaning}" for name, meaning in MEANINGS.items()), style="dim", soft_wrap=True)


def _listing(rows: list[list[str]], form: str) -> str:
    import csv
    import io

    head = ["anomaly", "where", "severity", "what"]
    if form == "markdown":
        lines = [head, ["---"] * 4, *rows]
        return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([head, *rows])
    return out.getvalue()
