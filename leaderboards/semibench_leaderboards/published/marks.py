"""What is wrong with a printed value: the known anomalies, and what follows from the values themselves.

Recomputed, each with the rounding of the printed digits granted:

- Dice >= IoU in every case, so a mean Dice (or per-image F1) lies above the mean IoU of the same cases;
- IoU = D / (2 - D) in every case, a convex function, so by Jensen's inequality the mean IoU can't lie below that value of
  the mean Dice; a shortfall beyond rounding means that the two columns are not means over the same cases;
- a printed average is the mean of its printed parts (classes or domains);
- a row called upper bound that other rows of its table exceed is a reference and no bound (which is possible).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from pydantic import BaseModel

from semibench_leaderboards.published.anomalies import MEANINGS, Severity, anomalies
from semibench_leaderboards.published.values import Value, values

RECOMPUTED = "recomputed"
MEAN = "mean"
EXACT = 1e-9
"""Slack for sums of decimals in binary."""


class Mark(BaseModel, frozen=True):
    """severity: as of anomalies; source: the anomaly's id, or "recomputed"; reason: one sentence."""

    severity: Severity
    source: str
    reason: str


def marks(value: Value) -> tuple[Mark, ...]:
    """All marks of a value, the worst first: those of its anomalies, then what is recomputed."""
    known = anomalies()
    found = [
        Mark(severity=known[name].severity, source=name, reason=text)
        for name, text in zip(value.anomalies, value.anomaly_texts, strict=True)
    ]
    order = list(MEANINGS)
    return tuple(sorted([*found, *recomputed().get(value.id, ())], key=lambda mark: order.index(mark.severity)))


def impossible(value: Value) -> str | None:
    """Why a value can't be right as printed, None where nothing says so."""
    return next((mark.reason for mark in marks(value) if mark.severity == "impossible"), None)


@cache
def recomputed() -> Mapping[str, tuple[Mark, ...]]:
    """What the values themselves show, by value id."""
    return recompute(values())


def recompute(given: Iterable[Value]) -> Mapping[str, tuple[Mark, ...]]:
    """The invariants of this module on any values: id -> marks of those that break one."""
    found: dict[str, list[Mark]] = defaultdict(list)
    printed = [value for value in given if value.value is not None]
    for row in _grouped(printed, "group"):
        _overlaps(row, found)
    for column in _grouped(printed, "metric"):
        _average(column, found)
    _bounds(printed, found)
    return {key: tuple(kept) for key, kept in found.items()}


ROW = ("paper", "table", "dataset", "setting", "labeled", "unlabeled", "method", "protocol")


def _grouped(given: Iterable[Value], by: str) -> Iterable[list[Value]]:
    """The values of one row of a table, apart by group (its metrics together) or by metric (its groups together)."""
    rows: dict[tuple[object, ...], list[Value]] = defaultdict(list)
    for value in given:
        rows[(*(getattr(value, name) for name in ROW), getattr(value, by))].append(value)
    return rows.values()


def least_iou(dice: float) -> float:
    """The least mean IoU beside a mean Dice (both in 0..1), by Jensen's inequality: D / (2 - D)."""
    return dice / (2 - dice)


def _overlaps(row: Sequence[Value], found: dict[str, list[Mark]]) -> None:
    by = {value.metric: value for value in row if value.overlap}
    iou = by.get("iou")
    for name in ("dice", "f1"):
        dice = by.get(name)
        if iou is None or dice is None:
            continue
        scale = 100.0 if dice.unit == "percent" else 1.0
        high, low = _number(dice) + dice.rounding, _number(iou) - iou.rounding
        label = {"dice": "Dice", "f1": "F1"}[name]
        if low > high + EXACT:
            reason = f"IoU {iou.printed} above {label} {dice.printed}: no average over the same cases gives that"
            _add(found, (iou, dice), "impossible", reason)
        least = scale * least_iou((_number(dice) - dice.rounding) / scale)
        if _number(iou) + iou.rounding < least - EXACT:
            reason = (
                f"IoU {iou.printed} below {scale * least_iou(_number(dice) / scale):.2f}, the least mean IoU beside "
                f"{label} {dice.printed} over the same cases: one of the two is wrong"
            )
            _add(found, (iou, dice), "impossible", reason)


def _average(column: Sequence[Value], found: dict[str, list[Mark]]) -> None:
    parts = [value for value in column if value.group != MEAN]
    means = [value for value in column if value.group == MEAN]
    if len(means) != 1 or not parts or len(parts) < _parts_of(means[0]):
        return
    mean = sum(map(_number, parts)) / len(parts)
    granted = means[0].rounding + sum(part.rounding for part in parts) / len(parts)
    if abs(mean - _number(means[0])) > granted + EXACT:
        reason = f"average {means[0].printed}, but the mean of its {len(parts)} printed parts is {mean:.2f}"
        _add(found, means, "inconsistent", reason)


@cache
def _groups() -> Mapping[tuple[str, str], int]:
    """(paper, table) -> how many classes or domains its averages are over."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for value in values():
        if value.group != MEAN:
            found[value.paper, value.table].add(value.group)
    return {key: len(groups) for key, groups in found.items()}


def _parts_of(mean: Value) -> int:
    return _groups().get((mean.paper, mean.table), 1)


def _bounds(given: Sequence[Value], found: dict[str, list[Mark]]) -> None:
    rivals: dict[tuple[str, ...], list[Value]] = defaultdict(list)
    for value in given:
        rivals[_column(value)].append(value)
    for bound in (value for value in given if value.role == "upper-bound"):
        blocks = {value.block for value in rivals[_column(bound)] if value.role == "upper-bound"}
        above = [
            value
            for value in rivals[_column(bound)]
            if value.role != "upper-bound"
            and (len(blocks) == 1 or value.block == bound.block)
            and _better(value, bound)
        ]
        for value in above:
            reason = (
                f"better than the row called upper bound ({bound.alias} {bound.printed}): that is a reference, no bound"
            )
            _add(found, (value,), "remark", reason)
        if above:
            names = ", ".join(f"{value.alias} {value.printed}" for value in above[:4]) + (
                " ..." if len(above) > 4 else ""
            )
            _add(found, (bound,), "remark", f"called upper bound, but exceeded: {names}")


def _column(value: Value) -> tuple[str, ...]:
    return (value.paper, value.table, value.dataset, value.group, value.metric)


def _better(value: Value, other: Value) -> bool:
    difference = _number(value) - _number(other)
    return difference > 0 if value.direction == "higher" else difference < 0


def _number(value: Value) -> float:
    assert value.value is not None
    return value.value


def _add(found: dict[str, list[Mark]], given: Iterable[Value], severity: Severity, reason: str) -> None:
    for value in given:
        found[value.id].append(Mark(severity=severity, source=RECOMPUTED, reason=reason))
