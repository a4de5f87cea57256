"""`bench suite`: shows the tables of the papers as lists of runs, and how far they are reproduced."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from semibench.cli.console import Output, emit, stdout, table
from semibench.cli.generated import with_options
from semibench.cli.options import Debug, Json
from semibench_leaderboards.suites.overrides import Overrides

if TYPE_CHECKING:
    from semibench_leaderboards.suites.expansion import SuiteCell
    from semibench_leaderboards.suites.schema import Suite

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Show the tables of the papers as lists of runs, and how far they are reproduced.",
)

Name = Annotated[str, typer.Argument(metavar="NAME|FILE", help="A suite from `bench suite list`, or a YAML file.")]


@app.command("list")
def list_suites(as_json: Json = False, debug: Debug = False) -> None:
    """List the suites that come with Semibench."""
    from semibench.discovery.registry import registry
    from semibench_leaderboards.suites import expand, load, names
    from semibench_leaderboards.suites.layout import overview

    plugins = registry()
    rows = []
    for name in names():
        suite = load(name)
        rows.append(overview(suite, expand(suite, plugins=plugins)))
    head = (
        "suite",
        "table",
        "values",
        "not reproducible",
        "runs",
        "of them possible",
        "not in the harness",
        "selected on",
    )
    if as_json:
        emit([dict(zip(head, row, strict=True)) for row in rows])
        return
    console = stdout()
    console.show(table(head, rows))
    total, runs, possible = (sum(int(row[column]) for row in rows) for column in (2, 4, 5))
    console.show(
        f"\n{len(rows)} suites, {total} published values, {runs} runs, {possible} of them with what is installed"
    )


@app.command("show")
@with_options
def show_suite(
    name: Name,
    overrides: Overrides,
    commands: Annotated[
        bool, typer.Option("--commands", help="Print a `bench run` line for each run instead.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show what a suite runs, and which published values each of its rows fills."""
    suite, cells = _cells(name, overrides)
    if as_json:
        emit([_record(cell) for cell in cells])
        return
    console = stdout()
    if commands:
        for cell in cells:
            if cell.runnable:
                typer.echo(cell.to_command())
        return
    _head(console, suite)
    rows: dict[tuple[str, str], list[Any]] = {}
    for cell in cells:
        rows.setdefault((cell.grid, cell.row), []).append(cell)
    shown = [_row(members) for members in rows.values()]
    console.show(table(("runs of", "row", "entry", "task", "recipe", "runs", "values", ""), shown))
    _show_unreproducible(console, suite)


@app.command("status")
@with_options
def suite_status(
    name: Name,
    overrides: Overrides,
    runs: Annotated[Path, typer.Option("--runs", help="Folder that holds the run folders.")] = Path("runs"),
    missing: Annotated[
        bool, typer.Option("--missing", help="Print `bench run` lines for the missing runs instead.")
    ] = False,
    form: Annotated[Literal["table", "markdown", "json"], typer.Option("--format", help="Output format.")] = "table",
    debug: Debug = False,
) -> None:
    """Show published | reproduced | difference for each value, and which runs are missing."""
    from semibench.discovery.registry import registry
    from semibench_leaderboards.reading.records import read_runs
    from semibench_leaderboards.suites.layout import records, status_table
    from semibench_leaderboards.suites.status import status

    suite, cells = _cells(name, overrides)
    result = status(suite, cells, read_runs(runs) if runs.is_dir() else (), registry())
    if missing:
        for item in result.missing:
            typer.echo(item.cell.request(runs=runs).to_command())
    elif form == "json":
        emit(records(result))
    elif suite.published is None:
        _plain(stdout(), result)
    elif form == "markdown":
        from semibench_leaderboards.published.tables import as_markdown

        warnings = "".join(f"> {warning}\n" for warning in result.warnings)
        typer.echo(f"{warnings}\n{as_markdown([status_table(result)])}", nl=False)
    else:
        _show(stdout(), result, status_table(result))


@app.command("export")
@with_options
def export_suite(
    name: Name,
    overrides: Overrides,
    out: Annotated[Path | None, typer.Argument(help="File to write (default: standard output).")] = None,
    debug: Debug = False,
) -> None:
    """Write the runs that are possible here to a file for `bench matrix`."""
    from semibench.files import write_atomically
    from semibench_leaderboards.suites.for_matrix import as_matrix_file

    suite, cells = _cells(name, overrides)
    text = as_matrix_file(suite, cells)
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_atomically(out, lambda file: file.write_text(text, encoding="utf-8"))


def _cells(name: str, overrides: Overrides) -> tuple[Suite, list[SuiteCell]]:
    """A suite and its cells, with the changes made."""
    from semibench_leaderboards.suites.expansion import check_chosen, expand
    from semibench_leaderboards.suites.loading import load

    suite = load(name)
    check_chosen(suite, overrides)
    return suite, expand(suite, overrides)


def _record(cell: Any) -> dict[str, Any]:
    record: dict[str, Any] = cell.model_dump(mode="json")
    return record | {"name": cell.name, "command": cell.to_command(), "runnable": cell.runnable}


def _head(console: Output, suite: Any) -> None:
    console.show(suite.title or suite.name, style="bold")
    if suite.about:
        console.show(suite.about, soft_wrap=True)
    if suite.selection is not None:
        selection = {"test": "the paper SELECTED ON TEST, which can't be reproduced by design", "unknown": "selection"}
        console.show(
            f"{selection.get(suite.selection.by, suite.selection.by)}: {suite.selection.note}",
            style="yellow",
            soft_wrap=True,
        )
    score = suite.score
    console.show(f"scored: {score.checkpoint} weights, {score.predictor or 'default predictor'}, {score.convention}")
    notes = {grid.name: grid.note for grid in suite.grids} | {name: row.note for name, row in suite.methods.items()}
    for name, note in notes.items():
        if note:
            console.show(f"{name}: {note}", soft_wrap=True)
    console.show()


def _row(cells: Sequence[Any]) -> tuple[Any, ...]:
    first = cells[0]
    entry = f"{first.method} ({first.backbone})" if first.backbone else first.method
    entry += f", preset {first.preset}" if first.preset else ""
    filled = len({name for cell in cells for name in cell.fills})
    note = f"not in the harness: {', '.join(first.missing)}" if first.missing else first.lacking
    return (first.grid, first.row, entry, f"{first.protocol} {first.dataset}", first.recipe, len(cells), filled, note)


def _show_unreproducible(console: Output, suite: Any) -> None:
    if suite.not_reproducible:
        console.show()
    for item in suite.not_reproducible:
        where = ", ".join(f"{key} {value}" for key, value in item.where if value is not None)
        console.show(f"not reproducible ({where}): {item.reason}", soft_wrap=True)


def _show(console: Output, result: Any, printed: Any) -> None:
    from semibench_leaderboards.published.tables import pieces

    for warning in result.warnings:
        console.show(warning, style="bold red" if result.phantom and "PHANTOM" in warning else "yellow", soft_wrap=True)
    title = f"PHANTOM · {printed.title}" if result.phantom else printed.title
    for number, (head, rows) in enumerate(pieces(printed, 5)):
        console.show(table(head, rows, title=title if number == 0 else " "))
    for note in printed.notes:
        console.show(note, style="dim", soft_wrap=True)
    console.show(
        "✗ can't be right as printed · (n/m) some runs are missing · published values are not ranked", style="dim"
    )
    _end(console, result)


def _plain(console: Output, result: Any) -> None:
    """A suite without a published table: its rows and their states."""
    rows = [
        (row.grid, row.name, len(row.matches), ", ".join(f"{n} {state}" for state, n in row.states.items()))
        for row in result.rows
    ]
    console.show(table(("grid", "row", "runs", "state"), rows))
    _end(console, result)


def _end(console: Output, result: Any) -> None:
    cells = sum(len(row.matches) for row in result.rows)
    done = sum(row.states.get("done", 0) for row in result.rows)
    console.show(f"\nruns: {done} of {cells} done, {len(result.missing)} missing (--missing prints their commands)")
    without = _without_files(sorted({item.cell.dataset for item in result.missing if not item.cell.on_phantom}))
    if without:
        console.show(
            f"no files found for {', '.join(without)} (see bench data where NAME); --phantom shows the table on stand-ins"
        )
    for name, rows in result.absent.items():
        console.show(f"not in the harness: {name}, for the row {', '.join(rows)}", soft_wrap=True)


def _without_files(names: Sequence[str]) -> list[str]:
    """The data sets whose files can't be located on this machine."""
    from semibench.data.roots import locate
    from semibench.discovery.registry import registry

    cards = {name: registry().get("datasets", name).card for name in names}
    return [name for name, card in cards.items() if locate(name, None, aliases=card.folders).path is None]
