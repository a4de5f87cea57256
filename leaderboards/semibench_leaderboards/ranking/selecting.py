"""Finds the runs, boards and rows that a user names; errors list what there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from semibench.contracts.errors import UnknownNameError, UsageError
from semibench.contracts.identity import SHORT
from semibench.data.declared.naming import find_dataset, is_path
from semibench.discovery.local_files import Reference
from semibench.discovery.registry import registry
from semibench_leaderboards.ranking.boards import Board, board_differences, boards
from semibench_leaderboards.ranking.bounds import lenders
from semibench_leaderboards.ranking.references import control_of
from semibench_leaderboards.ranking.rows import Row
from semibench_leaderboards.ranking.score_request import ScoreRequest
from semibench_leaderboards.reading.differences import MISSING, differences, track_record
from semibench_leaderboards.reading.records import RunRecord, left_out, read_runs, related_runs
from semibench_leaderboards.reading.run_filter import RunFilter

LISTED = 12
"""Most combinations of data set, protocol, recipe and method that an error lists."""


def chosen_runs(runs: Path, run_filter: RunFilter, *, scores: bool = True) -> list[RunRecord]:
    """The runs that match a filter. Raises UsageError, with what there is, where none does."""
    run_filter = by_name(run_filter)
    records = read_runs(runs, run_filter, scores=scores)
    if records:
        return records
    every = read_runs(runs, scores=False, refresh=False)
    if not every:
        broken = left_out(runs, refresh=False)
        if broken:
            lines = "".join(f"\n{line}" for line in broken)
            raise UsageError(
                f"none of the runs in {runs} can be read; run them again with --force, or put the files back{lines}"
            )
        raise UsageError(f"{runs} holds no runs yet; make one with `bench run`, or name another folder with --runs")
    for kind, value in run_filter.conditions.items():
        _check_filter(runs, kind, value, {getattr(record, kind) for record in every})
    combination = ", ".join(f"{kind} {value}" for kind, value in run_filter.conditions.items())
    existing = sorted({f"{r.dataset} · {r.protocol} · {r.recipe} · {r.method}" for r in every})
    more = f" and {len(existing) - LISTED} more" if len(existing) > LISTED else ""
    raise UsageError(f"no run under {runs} has {combination} together; there are: {'; '.join(existing[:LISTED])}{more}")


def by_name(run_filter: RunFilter) -> RunFilter:
    """The filter with names in place of paths: of a folder of data, of a file with a method or a network.

    Raises an error that says what is wrong with a path."""
    plugins = registry()
    named = {}
    if run_filter.dataset is not None and is_path(run_filter.dataset):
        named["dataset"] = find_dataset(plugins, run_filter.dataset).full_name
    for kind in ("method", "backbone"):
        name = getattr(run_filter, kind)
        if name is not None and Reference.of(name) is not None:
            named[kind] = plugins.get(f"{kind}s", name).full_name
    return run_filter.model_copy(update=named)


def _check_filter(runs: Path, kind: str, value: Any, existing: set[Any]) -> None:
    """Raises an error where no run has this value, whatever the other filters are."""
    if kind in ("track", "row", "key"):
        if not any(digest.startswith(str(value)) for digest in existing):
            raise UsageError(f"no {kind} under {runs} begins with {value!r}; list them: bench runs --runs {runs}")
    elif kind == "phantom":
        if value not in existing:
            raise UsageError(f"all runs under {runs} are {'phantom' if not value else 'real'} data")
    elif str(value).split(":")[-1] not in {str(name).split(":")[-1] for name in existing}:
        raise UnknownNameError(f"{kind} among the runs in {runs}", str(value), existing)


def chosen_boards(runs: Path, run_filter: RunFilter, request: ScoreRequest) -> list[Board]:
    """The boards of the runs that match. Raises UsageError where there are none, with the reason."""
    records = chosen_runs(runs, run_filter)
    others = related_runs(runs, records, methods=lenders()) if run_filter.track else ()
    matching = boards(records, request, others=others)
    if not matching:
        raise UsageError("\n".join(["none of the runs that match can be read", *left_out(runs, refresh=False)]))
    return matching


def overview(matching: Sequence[Board]) -> tuple[list[dict[str, Any]], list[tuple[Any, ...]]]:
    """Summary of several boards.

    Returns:
        A record for each board, and what their tracks differ in: (name, its value on each board).
    """
    lines = [
        {
            "board": board.title, "track": board.digest[:SHORT], "rows": len(board.own_rows),
            "runs": sum(len(row.states.runs) for row in board.own_rows),
        }
        for board in matching
    ]  # fmt: skip
    records = [track_record(board.track) for board in matching]
    names: dict[str, None] = {}
    for record in records[1:]:
        names.update(dict.fromkeys(name for name, _, _ in differences(records[0], record)))
    return lines, [(name, *(_value_at(record, name) for record in records)) for name in names]


def _value_at(record: Mapping[str, Any], dotted_name: str) -> Any:
    value: Any = record
    for part in dotted_name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return MISSING
        value = value[part]
    return value


def one_board(matching: Sequence[Board]) -> Board:
    """The only board. Raises UsageError, which lists them, where there are several."""
    if len(matching) == 1:
        return matching[0]
    listed = "; ".join(f"{board.title} (--track {board.digest[:8]})" for board in matching[:8])
    raise UsageError(f"{len(matching)} boards match; name one with --track, or narrow with --dataset ...: {listed}")


def chosen_row(board: Board, name: str) -> Row:
    """The row of a board by the name shown, its method, or the beginning of its digest. A method's name doesn't mean its control,
    or a bound.

    Raises UnknownNameError where no row matches, UsageError where several do.
    """
    for matches in (
        lambda row: row.name == name,
        lambda row: row.identity.method == name and not row.identity.borrowed and row.identity.role != "control",
        lambda row: len(name) >= 4 and row.key.startswith(name),
    ):
        rows = [row for row in board.rows if matches(row)]
        if len(rows) == 1:
            return rows[0]
        if rows:
            listed = "; ".join(f"{row.name} ({row.key[:8]})" for row in rows)
            raise UsageError(f"{len(rows)} rows of the board are called {name!r}: {listed}; name one by its digest")
    raise UnknownNameError(f"row on the board {board.title!r}", name, [row.name for row in board.rows])


CONTROL = "control"
"""Names the control of the other row."""


def chosen_pair(
    runs: Path, run_filter: RunFilter, request: ScoreRequest, first: str, second: str
) -> tuple[Board, Row, Row]:
    """The board that has both rows, and the two rows. The second may be "control", for the control of the first.

    Raises UnknownNameError for a name that no board has, UsageError where no board has both (rows of different tracks are never
    compared; the message says what the tracks differ in) or several have.
    """
    matching = chosen_boards(runs, run_filter, request)
    if second == CONTROL:
        return _with_control(matching, first)
    with_row = {name: [board for board in matching if _has_row(board, name)] for name in (first, second)}
    for name, candidates in with_row.items():
        if not candidates:
            existing = {row.name for board in matching for row in board.rows}
            raise UnknownNameError(f"row on the {_boards_text(len(matching))}", name, existing)
    with_both = [board for board in with_row[first] if board in with_row[second]]
    if not with_both:
        one, other = with_row[first][0], with_row[second][0]
        listed = "; ".join(f"{name}: {left} / {right}" for name, left, right in board_differences(one, other)[:6])
        raise UsageError(
            f"{first!r} and {second!r} are on different boards ({one.title}; {other.title}), which can't be compared. "
            f"They differ in {listed}"
        )
    board = one_board(with_both)
    return board, chosen_row(board, first), chosen_row(board, second)


def _with_control(matching: Sequence[Board], name: str) -> tuple[Board, Row, Row]:
    """The board that has a row and its control, and both. Raises an error, which says what is missing, where there is none."""
    candidates = [board for board in matching if _has_row(board, name)]
    if not candidates:
        existing = {row.name for board in matching for row in board.rows}
        raise UnknownNameError(f"row on the {_boards_text(len(matching))}", name, existing)
    pairs = [(board, row, control_of(board.rows, row)) for board in candidates for row in [chosen_row(board, name)]]
    complete = [(board, row, control) for board, row, control in pairs if control is not None]
    if not complete:
        raise UsageError(f"row {pairs[0][1].name!r} has no control on its board; run it: bench run ... --control")
    board = one_board([board for board, _, _ in complete])
    return next(pair for pair in complete if pair[0] is board)


def _boards_text(count: int) -> str:
    return "only board that matches" if count == 1 else f"{count} boards that match"


def _has_row(board: Board, name: str) -> bool:
    return any(
        name in (row.name, row.identity.method) or (len(name) >= 4 and row.key.startswith(name)) for row in board.rows
    )
