"""Published values that the page shows below a board's rows, one line each; they are never ranked with the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from semibench.discovery.registry import registry
from semibench_leaderboards.published.anomalies import MEANINGS
from semibench_leaderboards.published.counterparts import Counterpart, counterparts, metric_names
from semibench_leaderboards.published.papers import papers
from semibench_leaderboards.published.reproduced import figure, in_units_of
from semibench_leaderboards.published.values import Value
from semibench_leaderboards.ranking.boards import Board
from semibench_leaderboards.ranking.rows import Row
from semibench_leaderboards.showing.tables import NOTHING


@dataclass(frozen=True)
class Line:
    """A published value, and the same quantity in the board's row of that method, in the unit of the paper."""

    method: str
    alias: str
    """The method's name as printed."""
    role: str
    where: str
    """Paper and table."""
    labels: str
    """Labeled cases, where the paper states them."""
    printed: str
    """The value as printed, with its unit."""
    here: float | None
    """The row's value under the board's convention."""
    own: float | None
    """The row's value under the paper's convention."""
    convention: str
    """The paper's convention."""
    difference: float | None
    """`own`, or else `here`, minus published; None on phantom data."""
    n: int
    """Counted runs of the row."""
    remarks: tuple[str, ...]
    marks: tuple[tuple[str, str], ...]
    """(severity, reason)."""
    digits: int
    """Decimals to show."""


@dataclass(frozen=True)
class MetricLines:
    """The lines of one metric, and the remarks that all of them share."""

    metric: str
    lines: tuple[Line, ...]
    remarks: tuple[str, ...] = ()


def published_of(board: Board) -> list[MetricLines]:
    """The published values for the board's track by metric: the board's own first, then the others that its runs have."""
    installed = tuple(item.name for item in registry().cards("conventions"))
    metrics = [board.metric]
    for row in board.rows:
        for record in row.states.counted:
            metrics += [score.metric for score in record.scores]
    groups, seen = [], set()
    for metric in dict.fromkeys(metrics):
        values = counterparts(
            protocol=board.track.protocol.short, dataset=board.track.dataset.short, options=board.track.protocol.options,
            metric=metric, convention=board.score.convention, conventions=installed,
        )  # fmt: skip
        lines = [_line(board, item, metric) for item in values if item.value.id not in seen]
        seen |= {item.value.id for item in values}
        if lines:
            groups.append(_with_shared_remarks(metric, sorted(lines, key=_order)))
    return groups


def _with_shared_remarks(metric: str, lines: Sequence[Line]) -> MetricLines:
    """Moves the remarks that all lines have from the lines to the group."""
    common = (
        tuple(text for text in lines[0].remarks if all(text in line.remarks for line in lines))
        if len(lines) > 1
        else ()
    )
    own = (replace(line, remarks=tuple(text for text in line.remarks if text not in common)) for line in lines)
    return MetricLines(metric, tuple(own), common)


def _order(line: Line) -> tuple[Any, ...]:
    """Within a table in the printed order, with the bounds last."""
    return (line.where, {"upper-bound": 2, "lower-bound": 1}.get(line.role, 0))


def _line(board: Board, item: Counterpart, metric: str) -> Line:
    value = item.value
    rows = _rows(board, value.method)
    here = _printed(value, _mean([_figure(board, row, metric, board.score.convention) for row in rows]))
    own = None
    if item.convention is not None:
        own = _printed(value, _mean([_first(board, row, metric_names(value), item.convention) for row in rows]))
    best = own if own is not None else here
    difference = None if board.phantom or best is None or value.value is None else best - value.value
    spread = f" ± {value.printed_std}" if value.printed_std else ""
    unit = {"percent": " %", "mm": " mm", "unspecified": " (no unit)"}.get(value.unit, "")
    return Line(
        method=value.method, alias=value.alias, role=value.role, where=f"{papers()[value.paper].name} · table {value.table}",
        labels="" if value.labeled is None else str(value.labeled), printed=f"{value.printed or '–'}{spread}{unit}",
        here=here, own=own, convention=item.convention or "", difference=difference, n=sum(row.n for row in rows),
        remarks=(*item.remarks, *value.remarks), marks=tuple((mark.severity, mark.reason) for mark in item.marks),
        digits=4 if value.unit == "fraction" else 2,
    )  # fmt: skip


def _rows(board: Board, method: str) -> list[Row]:
    """The board's only counted row of a method; empty where several rows have it, because it would be ambiguous.

    Neither a control nor a bound is the method's row."""
    rows = [
        row
        for row in board.own_rows
        if row.identity.method == method and row.identity.role != "control" and row.states.counted
    ]
    return rows if len(rows) == 1 else []


def _figure(board: Board, row: Row, metric: str, convention: str) -> float | None:
    return _mean(
        [
            figure(
                record.scores,
                metric,
                convention=convention,
                checkpoint=board.score.checkpoint,
                predictor=row.identity.predictor,
            )
            for record in row.states.counted
        ]
    )


def _first(board: Board, row: Row, metrics: Sequence[str], convention: str) -> float | None:
    return next((value for metric in metrics if (value := _figure(board, row, metric, convention)) is not None), None)


def _printed(value: Value, number: float | None) -> float | None:
    return None if number is None else in_units_of(value, number)


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def severities(groups: Sequence[MetricLines]) -> dict[str, str]:
    """Severity -> what it means, for those that occur."""
    used = {severity for group in groups for line in group.lines for severity, _ in line.marks}
    return {str(name): str(meaning) for name, meaning in MEANINGS.items() if name in used}


def unsigned(value: float | None, digits: int) -> str:
    """A number in the paper's unit; a dash for nothing."""
    return NOTHING if value is None else f"{value:.{digits}f}"


def signed(value: float | None, digits: int) -> str:
    """A number in the paper's unit with its sign; a dash for nothing."""
    return NOTHING if value is None else f"{value:+.{digits}f}".replace("-", "−")
