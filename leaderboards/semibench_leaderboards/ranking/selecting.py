"""From what a user types to boards and rows; errors list what there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from semibench.contracts.errors import UnknownNameError, UsageError
from semibench.contracts.identity import SHORT
from semibench_leaderboards.ranking.boards import Board, Row, View, board_differences, boards
from semibench_leaderboards.reading.differences import differences, track_record
from semibench_leaderboards.reading.records import RunRecord, left_out, read_runs

Filters = Mapping[str, Any]
"""Keywords of `read_runs`; None where nothing was asked."""


def chosen_runs(runs: Path, filters: Filters, *, scores: bool = True) -> list[RunRecord]:
    """Runs that fit. Raises UsageError where there are none, with what there is."""
    found = read_runs(runs, **filters, scores=scores)
    if found:
        return found
    every = read_runs(runs, scores=False)
    if not every:
        broken = "".join(f"\n{line}" for line in left_out(runs))
        raise UsageError(
            f"{runs} holds no runs yet; make one with `bench run`, or name another folder with --runs{broken}"
        )
    for kind, value in filters.items():
        if value is None:
            continue
        known = {_value(record, kind) for record in every}
        if kind in ("track", "row", "key"):
            if not any(digest.startswith(str(value)) for digest in known):
                raise UsageError(f"no {kind} under {runs} begins with {value!r}; list them: bench runs --runs {runs}")
        elif kind == "phantom":
            if value not in known:
                raise UsageError(f"all runs under {runs} are {'phantom' if not value else 'real'} data")
        elif str(value).split(":")[-1] not in known:
            raise UnknownNameError(f"{kind} among the runs in {runs}", str(value), known)
    wanted = ", ".join(f"{kind} {value}" for kind, value in filters.items() if value is not None)
    there = sorted({f"{r.dataset} · {r.protocol} · {r.recipe} · {r.method}" for r in every})
    more = f" and {len(there) - 12} more" if len(there) > 12 else ""
    raise UsageError(f"no run under {runs} has {wanted} together; there are: {'; '.join(there[:12])}{more}")


def _value(record: RunRecord, kind: str) -> Any:
    return getattr(record, kind)


def chosen_boards(runs: Path, filters: Filters, view: View) -> list[Board]:
    """The boards of the runs that fit. Raises UsageError where there are none, with why."""
    found = boards(chosen_runs(runs, filters), view)
    if not found:
        raise UsageError("\n".join(["none of the runs that match can be read", *left_out(runs)]))
    return found


def overview(found: Sequence[Board]) -> tuple[list[dict[str, Any]], list[tuple[Any, ...]]]:
    """Several boards: a line for each, and what their tracks differ in (name, then its value in each board)."""
    lines = [
        {"board": board.title, "track": board.digest[:SHORT], "rows": len(board.rows), "runs": sum(len(r.runs) for r in board.rows)}
        for board in found
    ]  # fmt: skip
    records = [track_record(board.track) for board in found]
    names: dict[str, None] = {}
    for record in records[1:]:
        names.update(dict.fromkeys(name for name, _, _ in differences(records[0], record)))
    differing = []
    for name in names:
        values = [_at(record, name) for record in records]
        differing.append((name, *values))
    return lines, differing


def _at(record: Mapping[str, Any], name: str) -> Any:
    value: Any = record
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return "–"
        value = value[part]
    return value


def one_board(found: Sequence[Board]) -> Board:
    """The only board. Raises UsageError that lists several."""
    if len(found) == 1:
        return found[0]
    listed = "; ".join(f"{board.title} (--track {board.digest[:8]})" for board in found[:8])
    raise UsageError(f"{len(found)} boards match; name one with --track, or narrow with --dataset ...: {listed}")


def chosen_row(board: Board, name: str) -> Row:
    """The row of a board by its shown name, its method, or the beginning of its digest. Raises UsageError for none or
    several."""
    for fits in (
        lambda row: row.name == name,
        lambda row: row.method == name,
        lambda row: len(name) >= 4 and row.key.startswith(name),
    ):
        found = [row for row in board.rows if fits(row)]
        if len(found) == 1:
            return found[0]
        if found:
            listed = "; ".join(f"{row.name} ({row.key[:8]})" for row in found)
            raise UsageError(f"{len(found)} rows of the board are called {name!r}: {listed}; name one by its digest")
    raise UnknownNameError(f"row on the board {board.title!r}", name, [row.name for row in board.rows])


def chosen_pair(runs: Path, filters: Filters, view: View, first: str, second: str) -> tuple[Board, Row, Row]:
    """The board that has both rows, and them. Raises UsageError where none has (rows of different tracks are never
    compared: what differs is said), or several have."""
    found = chosen_boards(runs, filters, view)
    has = {name: [board for board in found if _has(board, name)] for name in (first, second)}
    for name in (first, second):
        if not has[name]:
            raise UnknownNameError(
                f"row on the {len(found)} boards that match", name, {r.name for b in found for r in b.rows}
            )
    both = [board for board in has[first] if board in has[second]]
    if not both:
        one, other = has[first][0], has[second][0]
        told = "; ".join(f"{name}: {there} / {here}" for name, there, here in board_differences(one, other)[:6])
        raise UsageError(
            f"{first!r} and {second!r} stand on different boards ({one.title}; {other.title}), which aren't compared. "
            f"They differ in {told}"
        )
    board = one_board(both)
    return board, chosen_row(board, first), chosen_row(board, second)


def _has(board: Board, name: str) -> bool:
    return any(name in (row.name, row.method) or (len(name) >= 4 and row.key.startswith(name)) for row in board.rows)
