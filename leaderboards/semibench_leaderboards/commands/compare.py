"""`bench compare`: compares two rows of one board case by case."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semibench.cli.console import emit, stderr, stdout, table
from semibench.cli.generated import Fields, with_options
from semibench.cli.options import DataRoot, Debug, Json
from semibench.contracts.errors import UsageError
from semibench.contracts.identity import SHORT
from semibench_leaderboards.commands import options
from semibench_leaderboards.commands.options import option
from semibench_leaderboards.panels import OUTPUT
from semibench_leaderboards.ranking.score_request import ScoreRequest
from semibench_leaderboards.reading.run_filter import OF_TRACK, RunFilter

if TYPE_CHECKING:
    from semibench_leaderboards.ranking.boards import Board
    from semibench_leaderboards.ranking.comparison import RowComparison
    from semibench_leaderboards.ranking.rows import Row
    from semibench_leaderboards.reading.records import RunRecord

EPILOG = (
    "Examples:\n\n"
    "bench compare mean-teacher supervised --dataset tus\n\n"
    "bench compare mean-teacher control --dataset tus\n\n"
    "bench compare 64c20a76 fe5f4b17 --metric hd95_mm --cases 10\n\n"
    "bench compare cps supervised -d tus --out comparison"
)

app = typer.Typer(add_completion=False, rich_markup_mode="rich")


@app.command("compare", epilog=EPILOG)
@with_options
def compare(
    first: Annotated[
        str, typer.Argument(metavar="ROW", help="Name shown on the board, method, or beginning of the row's digest.")
    ],
    second: Annotated[
        str, typer.Argument(metavar="ROW", help="The row to compare it with; control: the control of the first.")
    ],
    run_filter: Annotated[RunFilter, Fields(RunFilter, only=OF_TRACK)],
    score: ScoreRequest,
    runs: options.Runs = Path("runs"),
    cases: Annotated[
        int, option(OUTPUT, "Number of cases to list, those that differ most first.", "--cases", default=True, min=0)
    ] = 5,
    out: Annotated[
        Path | None, option(OUTPUT, "Folder for pictures of these cases and a table of all cases (CSV).", "--out", "-o")
    ] = None,
    data_root: DataRoot = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare two rows case by case: mean difference, interval, test, and the cases where they differ most.

    Both rows must be on the same board. The value of a case is its mean over the row's seeds. With its control, a row is paired
    by seed, too: only seeds that both have count.
    """
    from semibench_leaderboards.ranking.comparison import compare_rows
    from semibench_leaderboards.ranking.references import control_of, with_shared_runs
    from semibench_leaderboards.ranking.selecting import chosen_pair

    board, one, other = chosen_pair(runs, run_filter, score, first, second)
    if one.name == other.name:
        raise UsageError(f"{first!r} and {second!r} are the same row ({one.name}); name two different rows")
    for row in (one, other):
        if not row.n:
            raise UsageError(f"row {row.name!r} has no finished run with this score: {'; '.join(row.doubts.notes)}")
    if control_of(board.rows, one) is other or control_of(board.rows, other) is one:
        one, other = with_shared_runs(one, other)
    comparison = compare_rows(one, other, score.unit)
    if as_json:
        emit(_document(board, one, other, comparison))
    else:
        _show(board, one, other, comparison, score.unit, cases)
    if out is not None:
        _write(board, one, other, comparison, out, cases, score.unit, data_root)


def _largest(comparison: RowComparison, count: int) -> list[int]:
    """Indices of the cases that differ most, largest difference first."""
    defined = [i for i, value in enumerate(comparison.values) if value == value]
    return sorted(defined, key=lambda i: (-abs(comparison.values[i]), comparison.keys[i]))[:count]


def _show(board: Board, one: Row, other: Row, comparison: RowComparison, unit: str, count: int) -> None:
    from semibench_leaderboards.showing.tables import caption, number

    console = stdout()
    console.show(caption(board), style="bold", soft_wrap=True)
    for warning in board.warnings:
        console.show(warning, style="bold red" if warning.startswith("PHANTOM") else "yellow")
    console.show()
    rows = []
    for row in (one, other):
        mean, std = number(row.statistics.mean), number(row.statistics.std)
        rows.append((row.name, mean, std, row.states.text, row.key[:SHORT], "; ".join(row.doubts.notes)))
    console.show(table(["row", "mean", "std over runs", "runs", "digest", "notes"], rows))
    console.show()
    console.show(table(["", ""], _facts(board, one, other, comparison, unit)))
    largest = _largest(comparison, count)
    if largest:
        console.show(f"\nThe {len(largest)} {unit}s that differ most:\n")
        triples = [(comparison.first_values[i], comparison.second_values[i], comparison.values[i]) for i in largest]
        listed = [
            (comparison.keys[i], number(first), number(second), f"{difference:+.4f}")
            for i, (first, second, difference) in zip(largest, triples, strict=True)
        ]
        console.show(table([unit, one.name, other.name, "difference"], listed))


def _facts(board: Board, one: Row, other: Row, comparison: RowComparison, unit: str) -> list[tuple[str, str]]:
    from semibench_leaderboards.ranking.comparison import draw_fold_text
    from semibench_leaderboards.showing.tables import NOTHING, number

    unequal = [value for value in comparison.values if value == value and value]
    better = sum(value > 0 if board.higher else value < 0 for value in unequal)
    low, high = comparison.low, comparison.high
    facts = [
        (f"{one.name} − {other.name}", number(comparison.difference)),
        ("95 % interval (groups resampled)", NOTHING if low is None else f"{number(low)} … {number(high)}"),
        (f"{unit}s where {one.name} is better", f"{better} of {comparison.n} ({comparison.n - len(unequal)} equal)"),
        (f"Wilcoxon signed-rank over {unit}s", f"p = {comparison.p:.3g}"),
        ("paired in", "; ".join(map(draw_fold_text, comparison.draw_folds))),
    ]
    if "control" in (one.identity.role, other.identity.role):
        facts.append(("paired by seed", f"{one.n} runs of each"))
    if comparison.undefined:
        facts.append(("left out", f"{comparison.undefined} {unit}s that have no value in one of the rows"))
    if min(one.n, other.n) < 3:
        facts.append(("note", "a row has fewer than three runs: the spread between runs is hardly known"))
    return facts


def _document(board: Board, one: Row, other: Row, comparison: RowComparison) -> dict[str, Any]:
    from semibench_leaderboards.showing.tables import caption

    columns = zip(comparison.keys, comparison.first_values, comparison.second_values, comparison.values, strict=True)
    return {
        "board": caption(board), "track": board.digest, "phantom": board.phantom, "first": one.name, "second": other.name,
        "rows": [one.key, other.key], "runs": [one.n, other.n],
        "means": [one.statistics.mean, other.statistics.mean],
        "difference": comparison.difference, "low": comparison.low, "high": comparison.high, "n": comparison.n,
        "undefined": comparison.undefined, "p": comparison.p,
        "draw_folds": [list(draw_fold) for draw_fold in comparison.draw_folds],
        "cases": [
            {"case": key, "first": first, "second": second, "difference": value} for key, first, second, value in columns
        ],
    }  # fmt: skip


def _write(
    board: Board, one: Row, other: Row, comparison: RowComparison, out: Path, count: int, unit: str,
    data_root: Path | None,
) -> None:  # fmt: skip
    """Writes differences.csv and differences.png (all cases), and cases.png (those that differ most)."""
    import csv
    import io

    from semibench.files import write_atomically
    from semibench_leaderboards.showing.diagrams import scatter

    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([unit, one.name, other.name, "difference"])
    writer.writerows(
        zip(comparison.keys, comparison.first_values, comparison.second_values, comparison.values, strict=True)
    )
    write_atomically(out / "differences.csv", lambda draft: draft.write_text(stream.getvalue(), encoding="utf-8"))
    written = [out / "differences.csv", scatter(board, one.name, other.name, comparison, out / "differences.png")]
    if unit == "case" and count:
        pictures = _draw_cases(board, one, other, comparison, out / "cases.png", count, data_root)
        if pictures is not None:
            written.append(pictures)
    for path in written:
        stderr().show(f"written: {path}", soft_wrap=True)


def _typical_run(row: Row, key: str, mean: float) -> tuple[RunRecord, float]:
    """The run of a row whose value for a case is nearest to the mean over its runs, and that value."""
    candidates = []
    for record, scores in zip(row.states.counted, row.scores, strict=True):
        if key in scores.cases.keys:
            value = float(scores.per_case[scores.cases.keys.index(key)])
            candidates.append((abs(value - mean) if value == value else float("inf"), record, value))
    _, record, value = min(candidates, key=lambda candidate: candidate[0])
    return record, value


def _draw_cases(
    board: Board, one: Row, other: Row, comparison: RowComparison, path: Path, count: int, data_root: Path | None
) -> Path | None:
    from semibench_leaderboards.showing.case_pictures import NoPictureError, Viewer, draw_cases
    from semibench_leaderboards.showing.tables import number

    views = []
    try:
        viewer = Viewer(one.states.counted[0], data_root)
        for i in _largest(comparison, count):
            key = comparison.keys[i]
            predictions: dict[str, tuple[RunRecord, str, str]] = {}
            titles: dict[str, str] = {}
            for row, mean in ((one, comparison.first_values[i]), (other, comparison.second_values[i])):
                record, value = _typical_run(row, key, mean)
                predictions[row.name] = (record, board.score.checkpoint, row.identity.predictor)
                titles[row.name] = f"{row.name}, seed {record.replicate[2]}: {number(value, 3)}\n{key}"
            views.append((viewer.view(key, predictions), titles))
    except NoPictureError as error:
        stderr().show(str(error), style="yellow", soft_wrap=True)
        return None
    kind = "phantom" if board.phantom else "real"
    title = f"{viewer.card.title} ({kind}): where {one.name} and {other.name} differ most"
    return draw_cases(views, viewer.card, path, title)
