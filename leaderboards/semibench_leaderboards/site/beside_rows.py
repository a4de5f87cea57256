"""Published values beside a board's rows: one line each, never ranked with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from semibench.registry import registry
from semibench_leaderboards.published.anomalies import MEANINGS
from semibench_leaderboards.published.beside import Beside, beside, metric_names
from semibench_leaderboards.published.papers import papers
from semibench_leaderboards.published.reproduced import figure, in_units_of
from semibench_leaderboards.published.values import Value
from semibench_leaderboards.ranking.boards import Board, Row
from semibench_leaderboards.showing.tables import NOTHING


@dataclass(frozen=True)
class Line:
    """A published value and what the board's row of that method has. printed: as in the paper, with its unit; here: the same metric
    under the board's convention; own: under the paper's; difference: own (else here) minus published, None on phantom
    data. These three are in the unit of the paper, to be shown with
    `digits` decimals. marks: (severity, reason)."""

    method: str
    alias: str
    role: str
    where: str
    labels: str
    printed: str
    here: float | None
    own: float | None
    convention: str
    difference: float | None
    n: int
    remarks: tuple[str, ...]
    marks: tuple[tuple[str, str], ...]
    digits: int


@dataclass(frozen=True)
class Published:
    """The lines of one metric, and the remarks that all of them share."""

    metric: str
    lines: tuple[Line, ...]
    remarks: tuple[str, ...] = ()


def published_of(board: Board) -> list[Published]:
    """The published values for the board's track, by metric: first the board's own, then those it was also scored by."""
    installed = tuple(item.name for item in registry().cards("conventions"))
    metrics = [str(board.view.metric)]
    for row in board.rows:
        for record in row.counted:
            metrics += [score.metric for score in record.scores]
    found, seen = [], set()
    for metric in dict.fromkeys(metrics):
        values = beside(
            protocol=board.track.protocol.short, dataset=board.track.dataset.short, options=board.track.protocol.options,
            metric=metric, convention=str(board.view.convention), conventions=installed,
        )  # fmt: skip
        lines = [_line(board, item, metric) for item in values if item.value.id not in seen]
        seen |= {item.value.id for item in values}
        if lines:
            found.append(_shared(metric, sorted(lines, key=_order)))
    return found


def _shared(metric: str, lines: Sequence[Line]) -> Published:
    """The lines without the remarks that all of them have."""
    common = (
        tuple(text for text in lines[0].remarks if all(text in line.remarks for line in lines))
        if len(lines) > 1
        else ()
    )
    own = (replace(line, remarks=tuple(text for text in line.remarks if text not in common)) for line in lines)
    return Published(metric, tuple(own), common)


def _order(line: Line) -> tuple[Any, ...]:
    """The proposed method first within a table, bounds last; otherwise as printed."""
    return (line.where, {"upper-bound": 2, "lower-bound": 1}.get(line.role, 0))


def _line(board: Board, item: Beside, metric: str) -> Line:
    value = item.value
    rows = _rows(board, value.method)
    here = _printed(value, _mean([_figure(board, row, metric, str(board.view.convention)) for row in rows]))
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
    """The board's only counted row of a method; none where several have it, since then it isn't said which is meant."""
    found = [row for row in board.rows if row.method == method and row.counted]
    return found if len(found) == 1 else []


def _figure(board: Board, row: Row, metric: str, convention: str) -> float | None:
    return _mean(
        [
            figure(
                record.scores, metric, convention=convention, checkpoint=board.view.checkpoint, predictor=row.predictor
            )
            for record in row.counted
        ]
    )


def _first(board: Board, row: Row, metrics: Sequence[str], convention: str) -> float | None:
    return next((value for metric in metrics if (value := _figure(board, row, metric, convention)) is not None), None)


def _printed(value: Value, found: float | None) -> float | None:
    return None if found is None else in_units_of(value, found)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def severities(found: Sequence[Published]) -> dict[str, str]:
    """What the kinds of marks mean, for those that occur."""
    used = {severity for group in found for line in group.lines for severity, _ in line.marks}
    return {str(name): str(told) for name, told in MEANINGS.items() if name in used}


def plain(value: float | None, digits: int) -> str:
    """A number in the paper's unit; a dash for nothing."""
    return NOTHING if value is None else f"{value:.{digits}f}"


def signed(value: float | None, digits: int) -> str:
    """With its sign; a dash for nothing."""
    return NOTHING if value is None else f"{value:+.{digits}f}".replace("-", "−")
