"""Marks what is wrong with printed values: known anomalies, and contradictions that follow from the values themselves.

The following is recomputed, with a tolerance for the rounding of the printed digits:

- Dice >= IoU in every case, so a mean Dice (or per-image F1) lies above the mean IoU of the same cases;
- IoU = D / (2 - D) in every case, a convex function, so by Jensen's inequality the mean IoU can't lie below that value of
  the mean Dice; a smaller value beyond rounding means that the two columns are not means over the same cases;
- a printed average is the mean of its printed parts (classes or domains);
- a row called upper bound that other rows of its table exceed is a reference, not a bound (which is possible).
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
"""Tolerance for sums of decimals in binary."""


class Mark(BaseModel, frozen=True):
    """One thing that is wrong with a printed value."""

    severity: Severity
    source: str
    """Id of the anomaly, or "recomputed"."""
    reason: str
    """One sentence."""


def marks(value: Value) -> tuple[Mark, ...]:
    """All marks of a value, worst first; those of its anomalies before the recomputed ones."""
    known = anomalies()
    from_anomalies = [
        Mark(severity=known[name].severity, source=name, reason=text)
        for name, text in zip(value.anomalies, value.anomaly_texts, strict=True)
    ]
    order = list(MEANINGS)
    return tuple(
        sorted([*from_anomalies, *recomputed().get(value.id, ())], key=lambda mark: order.index(mark.severity))
    )


def impossible(value: Value) -> str | None:
    """Why a value can't be right as printed; None where nothing shows that."""
    return next((mark.reason for mark in marks(value) if mark.severity == "impossible"), None)


@cache
def recomputed() -> Mapping[str, tuple[Mark, ...]]:
    """The marks that follow from the values themselves, by value id."""
    return recompute(values())


def recompute(given: Iterable[Value]) -> Mapping[str, tuple[Mark, ...]]:
    """Checks the invariants of this module: id of a value that breaks one -> its marks."""
    marks_by_id: dict[str, list[Mark]] = defaultdict(list)
    printed = [value for value in given if value.value is not None]
    for row in _grouped(printed, "group"):
        _overlaps(row, marks_by_id)
    for column in _grouped(printed, "metric"):
        _average(column, marks_by_id)
    _bounds(printed, marks_by_id)
    return {key: tuple(members) for key, members in marks_by_id.items()}


ROW = ("paper", "table", "dataset", "setting", "labeled", "unlabeled", "method", "protocol")


def _grouped(given: Iterable[Value], by: str) -> Iterable[list[Value]]:
    """The values of each row of a table, split by "group" (all metrics together) or by "metric" (all groups together)."""
    rows: dict[tuple[object, ...], list[Value]] = defaultdict(list)
    for value in given:
        rows[(*(getattr(value, name) for name in ROW), getattr(value, by))].append(value)
    return rows.values()


def least_iou(dice: float) -> float:
    """Lower bound of the mean IoU for a mean Dice (both in 0..1), by Jensen's inequality: D / (2 - D)."""
    return dice / (2 - dice)


def _overlaps(row: Sequence[Value], marks_by_id: dict[str, list[Mark]]) -> None:
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
            reason = f"IoU {iou.printed} above {label} {dice.printed}: averages over the same cases can't give that"
            _add(marks_by_id, (iou, dice), "impossible", reason)
        least = scale * least_iou((_number(dice) - dice.rounding) / scale)
        if _number(iou) + iou.rounding < least - EXACT:
            reason = (
                f"IoU {iou.printed} below {scale * least_iou(_number(dice) / scale):.2f}, the least mean IoU for "
                f"{label} {dice.printed} over the same cases: one of the two is wrong"
            )
            _add(marks_by_id, (iou, dice), "impossible", reason)


def _average(column: Sequence[Value], marks_by_id: dict[str, list[Mark]]) -> None:
    parts = [value for value in column if value.group != MEAN]
    means = [value for value in column if value.group == MEAN]
    if len(means) != 1 or not parts or len(parts) < _parts_of(means[0]):
        return
    mean = sum(map(_number, parts)) / len(parts)
    granted = means[0].rounding + sum(part.rounding for part in parts) / len(parts)
    if abs(mean - _number(means[0])) > granted + EXACT:
        reason = f"average {means[0].printed}, but the mean of its {len(parts)} printed parts is {mean:.2f}"
        _add(marks_by_id, means, "inconsistent", reason)


@cache
def _groups() -> Mapping[tuple[str, str], int]:
    """(paper, table) -> number of classes or domains in its averages."""
    marks_by_id: dict[tuple[str, str], set[str]] = defaultdict(set)
    for value in values():
        if value.group != MEAN:
            marks_by_id[value.paper, value.table].add(value.group)
    return {key: len(groups) for key, groups in marks_by_id.items()}


def _parts_of(mean: Value) -> int:
    return _groups().get((mean.paper, mean.table), 1)


def _bounds(given: Sequence[Value], marks_by_id: dict[str, list[Mark]]) -> None:
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
            reason = f"better than the row called upper bound ({bound.alias} {bound.printed}): that is a reference, not a bound"
            _add(marks_by_id, (value,), "remark", reason)
        if above:
            names = ", ".join(f"{value.alias} {value.printed}" for value in above[:4]) + (
                " ..." if len(above) > 4 else ""
            )
            _add(marks_by_id, (bound,), "remark", f"called upper bound, but exceeded by {names}")


def _column(value: Value) -> tuple[str, ...]:
    return (value.paper, value.table, value.dataset, value.group, value.metric)


def _better(value: Value, other: Value) -> bool:
    difference = _number(value) - _number(other)
    return difference > 0 if value.direction == "higher" else difference < 0


def _number(value: Value) -> float:
    assert value.value is not None
    return value.value


def _add(marks_by_id: dict[str, list[Mark]], given: Iterable[Value], severity: Severity, reason: str) -> None:
    for value in given:
        marks_by_id[value.id].append(Mark(severity=severity, source=RECOMPUTED, reason=reason))
