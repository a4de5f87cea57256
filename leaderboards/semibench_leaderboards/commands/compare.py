"""`bench compare`: two rows of one board, case by case."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semibench.cli.console import emit, stderr, stdout, table
from semibench.cli.options import DataRoot, Debug, Json
from semibench.contracts.errors import UsageError
from semibench_leaderboards.commands import options
from semibench_leaderboards.commands.options import OUTPUT, Checkpoint, Unit, option

if TYPE_CHECKING:
    from semibench_leaderboards.ranking.boards import Board, Row
    from semibench_leaderboards.ranking.ranking import Pair
    from semibench_leaderboards.reading.records import RunRecord

EPILOG = (
    "Examples:\n\n"
    "bench compare mean-teacher supervised --dataset tus\n\n"
    "bench compare 64c20a76 fe5f4b17 --metric hd95_mm --cases 10\n\n"
    "bench compare cps supervised -d tus --out comparison"
)

app = typer.Typer(add_completion=False, rich_markup_mode="rich")


@app.command("compare", epilog=EPILOG)
def compare(
    first: Annotated[
        str, typer.Argument(metavar="ROW", help="Name on the board, method, or beginning of the row's digest.")
    ],
    second: Annotated[str, typer.Argument(metavar="ROW", help="The row it is compared with.")],
    protocol: options.Protocol = None,
    dataset: options.DatasetName = None,
    recipe: options.RecipeName = None,
    track: options.TrackDigest = None,
    phantom: options.Phantom = None,
    runs: options.Runs = Path("runs"),
    convention: options.ConventionName = None,
    metric: options.Metric = None,
    checkpoint: options.CheckpointName = Checkpoint.last,
    predictor: options.Predictor = None,
    unit: options.UnitName = Unit.case,
    cases: Annotated[
        int, option(OUTPUT, "How many of the cases that differ most.", "--cases", default=True, min=0)
    ] = 5,
    out: Annotated[
        Path | None, option(OUTPUT, "Folder for pictures of these cases and the table of all (CSV).", "--out", "-o")
    ] = None,
    data_root: DataRoot = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare two rows case by case: mean difference, interval, test, and the cases where they differ most.

    The rows must stand on one board. A case's value is the mean over the row's seeds.
    """
    from semibench_leaderboards.ranking.boards import View
    from semibench_leaderboards.ranking.ranking import compare_rows
    from semibench_leaderboards.ranking.selecting import chosen_pair

    filters = {"protocol": protocol, "dataset": dataset, "recipe": recipe, "track": track, "phantom": phantom}
    view = View(checkpoint.value, predictor, convention, metric)
    board, one, other = chosen_pair(runs, filters, view, first, second)
    if one.name == other.name:
        raise UsageError(f"{first!r} and {second!r} are the same row ({one.name}); name two")
    for row in (one, other):
        if not row.n:
            raise UsageError(f"row {row.name!r} has no finished run with this score: {'; '.join(row.notes)}")
    pair = compare_rows(one, other, unit.value)
    if as_json:
        emit(_document(board, one, other, pair))
    else:
        _show(board, one, other, pair, unit.value, cases)
    if out is not None:
        _write(board, one, other, pair, out, cases, unit.value, data_root)


def _most(pair: Pair, count: int) -> list[int]:
    """The pairs that differ most, by size of the difference."""
    defined = [i for i, value in enumerate(pair.values) if value == value]
    return sorted(defined, key=lambda i: (-abs(pair.values[i]), pair.keys[i]))[:count]


def _show(board: Board, one: Row, other: Row, pair: Pair, unit: str, count: int) -> None:
    from semibench_leaderboards.showing.tables import caption, number

    console = stdout()
    console.show(caption(board), style="bold", soft_wrap=True)
    for warning in board.warnings:
        console.show(warning, style="bold red" if warning.startswith("PHANTOM") else "yellow")
    console.show()
    rows = [
        (row.name, number(row.mean), number(row.std), row.runs_text, row.key[:12], "; ".join(row.notes))
        for row in (one, other)
    ]
    console.show(table(["row", "mean", "std over runs", "runs", "digest", "notes"], rows))
    better = [value > 0 if board.higher else value < 0 for value in pair.values if value == value and value]
    span = "–" if pair.low is None else f"{number(pair.low)} … {number(pair.high)}"
    facts = [
        (f"{one.name} − {other.name}", number(pair.difference)),
        ("95 % interval (groups resampled)", span),
        (f"{unit}s where {one.name} is better", f"{sum(better)} of {pair.n} ({pair.n - len(better)} equal)"),
        (f"Wilcoxon signed-rank over {unit}s", f"p = {pair.p:.3g}"),
        ("paired in", "; ".join(_place(place) for place in pair.places)),
    ]
    if pair.undefined:
        facts.append(("left out", f"{pair.undefined} {unit}s without a value in one of the rows"))
    if min(one.n, other.n) < 3:
        facts.append(("note", "fewer than three runs in a row: the spread between runs is hardly known"))
    console.show()
    console.show(table(["", ""], facts))
    most = _most(pair, count)
    if most:
        console.show(f"\nThe {len(most)} {unit}s where they differ most:\n")
        listed = [
            (pair.keys[i], number(pair.first_values[i]), number(pair.second_values[i]), f"{pair.values[i]:+.4f}")
            for i in most
        ]
        console.show(table([unit, one.name, other.name, "difference"], listed))


def _place(place: tuple[int | None, int | None]) -> str:
    from semibench_leaderboards.ranking.ranking import told

    return told(place)


def _document(board: Board, one: Row, other: Row, pair: Pair) -> dict[str, Any]:
    from semibench_leaderboards.showing.tables import caption

    return {
        "board": caption(board), "track": board.digest, "phantom": board.phantom, "first": one.name, "second": other.name,
        "rows": [one.key, other.key], "runs": [one.n, other.n], "means": [one.mean, other.mean],
        "difference": pair.difference, "low": pair.low, "high": pair.high, "n": pair.n, "undefined": pair.undefined,
        "p": pair.p, "places": [list(place) for place in pair.places],
        "cases": [
            {"case": key, "first": mine, "second": theirs, "difference": value}
            for key, mine, theirs, value in zip(pair.keys, pair.first_values, pair.second_values, pair.values, strict=True)
        ],
    }  # fmt: skip


def _write(
    board: Board, one: Row, other: Row, pair: Pair, out: Path, count: int, unit: str, data_root: Path | None
) -> None:
    """differences.csv, differences.png (all cases) and cases.png (those that differ most, the typical run of each row)."""
    import csv
    import io

    from semibench.files import write_atomically
    from semibench_leaderboards.showing.diagram import scatter

    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([unit, one.name, other.name, "difference"])
    writer.writerows(zip(pair.keys, pair.first_values, pair.second_values, pair.values, strict=True))
    write_atomically(out / "differences.csv", lambda draft: draft.write_text(stream.getvalue(), encoding="utf-8"))
    made = [out / "differences.csv", scatter(board, one.name, other.name, pair, out / "differences.png")]
    if unit == "case" and count:
        found = _pictures(board, one, other, pair, out / "cases.png", count, data_root)
        if found is not None:
            made.append(found)
    for path in made:
        stderr().show(f"written: {path}", soft_wrap=True)


def _typical(row: Row, key: str, wanted: float) -> tuple[RunRecord, float]:
    """The run of a row whose value for a case is nearest to the mean over its runs, and that value."""
    found = []
    for record, scores in zip(row.counted, row.scores, strict=True):
        if key in scores.cases.keys:
            value = float(scores.per_case[scores.cases.keys.index(key)])
            found.append((abs(value - wanted) if value == value else float("inf"), record, value))
    _, record, value = min(found, key=lambda item: item[0])
    return record, value


def _pictures(
    board: Board, one: Row, other: Row, pair: Pair, path: Path, count: int, data_root: Path | None
) -> Path | None:
    from semibench_leaderboards.showing.case_pictures import NoPictureError, Viewer, draw_pairs
    from semibench_leaderboards.showing.tables import number

    views = []
    try:
        viewer = Viewer(one.counted[0], data_root)
        for i in _most(pair, count):
            key = pair.keys[i]
            chosen, titles = {}, {}
            for row, wanted in ((one, pair.first_values[i]), (other, pair.second_values[i])):
                record, value = _typical(row, key, wanted)
                chosen[row.name] = (record, str(board.view.checkpoint), row.predictor)
                titles[row.name] = f"{row.name}, seed {record.replicate[2]}: {number(value, 3)}\n{key}"
            views.append((viewer.view(key, chosen), titles))
    except NoPictureError as error:
        stderr().show(str(error), style="yellow", soft_wrap=True)
        return None
    kind = "phantom" if board.phantom else "real"
    title = f"{viewer.card.title} ({kind}): where {one.name} and {other.name} differ most"
    return draw_pairs(views, viewer.card, path, title)
