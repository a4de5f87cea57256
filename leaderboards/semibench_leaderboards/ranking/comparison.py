"""Comparison of two rows: paired over test cases, with a Wilcoxon signed-rank test and a bootstrap interval.

Two rows are compared on the test cases of the draws and folds that both have. The value of a case is its mean over the row's
seeds, then over the draws and folds the case is in; the differences of these values are tested.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from semibench.contracts.errors import SemibenchError
from semibench_leaderboards.ranking.resampling import interval, resampled_means
from semibench_leaderboards.ranking.rows import Row
from semibench_leaderboards.ranking.score_request import Unit
from semibench_leaderboards.reading.cases import CaseScores, CaseSet, nan_mean
from semibench_leaderboards.reading.records import DrawFold

__all__ = ["ComparisonError", "RowComparison", "case_values", "compare_rows", "signed_rank"]

MOST_EXACT = 50
"""Most differences for which scipy computes the exact distribution."""

MOST_PERMUTED = 13
"""Most differences, with ties among them, for which all sign changes are enumerated."""


class ComparisonError(SemibenchError):
    """Two rows can't be compared: they share no draw and fold, or have different test cases in one."""


@dataclass(frozen=True)
class RowComparison:
    """Two rows compared over the cases (or groups) they share."""

    first: str
    """Name of the first row."""
    second: str
    """Name of the second row."""
    difference: float
    """Mean of first minus second."""
    low: float | None
    """Lower end of the 95 % bootstrap interval of the difference, over cases clustered by group."""
    high: float | None
    """Upper end of that interval."""
    n: int
    """Cases (or groups) with a value in both rows."""
    undefined: int
    """Cases (or groups) without a value in one of the rows."""
    p: float
    """Two-sided p of the Wilcoxon signed-rank test; 1 where no case differs. Not adjusted."""
    draw_folds: tuple[DrawFold, ...] = ()
    """The draws and folds that both rows have."""
    keys: tuple[str, ...] = field(default=(), repr=False)
    """Keys of the cases (or groups), sorted. The next three fields have a value for each."""
    values: tuple[float, ...] = field(default=(), repr=False)
    """First minus second."""
    first_values: tuple[float, ...] = field(default=(), repr=False)
    second_values: tuple[float, ...] = field(default=(), repr=False)


def signed_rank(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Wilcoxon's signed-rank test of each row of (T, N). NaN and zero are left out.

    Gives what `scipy.stats.wilcoxon` gives on the remaining differences: exact without ties up to 50 of them, by all sign
    changes with ties up to 13, else by the normal approximation with its correction for ties.

    Returns:
        Two-sided p, (T,); 1 where no difference remains.
    """
    from scipy.stats import wilcoxon

    values = np.where(np.isnan(differences), 0.0, differences).astype(np.float64)
    count = (values != 0).sum(axis=1)
    magnitude = np.sort(np.abs(values), axis=1)
    tied = ((magnitude[:, 1:] == magnitude[:, :-1]) & (magnitude[:, 1:] > 0)).any(axis=1)
    p = np.ones(len(values))
    exact = (count > 0) & (count <= MOST_EXACT) & ~tied
    permuted = (count > 0) & (count <= MOST_PERMUTED) & tied
    approximate = (count > 0) & ~exact & ~permuted
    if exact.any():
        p[exact] = wilcoxon(values[exact], axis=1, method="exact").pvalue
    if approximate.any():
        p[approximate] = wilcoxon(values[approximate], axis=1, method="asymptotic").pvalue
    for number in np.flatnonzero(permuted):
        p[number] = wilcoxon(values[number][values[number] != 0]).pvalue
    return p


# ---- pairing -------------------------------------------------------------------------------------------------------


def cases_by_draw_fold(row: Row) -> dict[DrawFold, CaseSet]:
    """The test cases of each (draw, fold) of a row. Raises ComparisonError where its own runs disagree."""
    sets: dict[DrawFold, CaseSet] = {}
    for record, table in zip(row.states.counted, row.scores, strict=True):
        cases = sets.setdefault(record.draw_fold, table.cases)
        if cases.digest != table.cases.digest:
            raise ComparisonError(
                f"row {row.name!r}: its runs of {draw_fold_text(record.draw_fold)} have different test cases"
            )
    return sets


def draw_fold_text(draw_fold: DrawFold) -> str:
    """ "draw 0, fold 1"; "the official split" where there is neither."""
    parts = [f"{name} {value}" for name, value in zip(("draw", "fold"), draw_fold, strict=True) if value is not None]
    return ", ".join(parts) or "the official split"


def case_values(row: Row, draw_folds: Sequence[DrawFold], unit: Unit = "case") -> dict[str, float]:
    """Value of each case (or group): mean over classes, then over seeds, then over the draws and folds it is in.

    A case is undefined (NaN) in a draw and fold where every seed is; the defined ones are averaged.
    """
    by_case: dict[str, list[float]] = {}
    group_of: dict[str, str] = {}
    for draw_fold in draw_folds:
        tables = _tables(row, (draw_fold,))
        means = nan_mean(np.stack([table.per_case for table in tables]), axis=0)
        for key, group, value in zip(tables[0].cases.keys, tables[0].cases.groups, means, strict=True):
            by_case.setdefault(key, []).append(float(value))
            group_of[key] = group
    values = {key: _mean(members) for key, members in by_case.items()}
    if unit == "case":
        return values
    by_group: dict[str, list[float]] = {}
    for key, value in values.items():
        by_group.setdefault(group_of[key], []).append(value)
    return {group: _mean(members) for group, members in by_group.items()}


def _tables(row: Row, draw_folds: Sequence[DrawFold]) -> list[CaseScores]:
    return [
        table for record, table in zip(row.states.counted, row.scores, strict=True) if record.draw_fold in draw_folds
    ]


def _mean(values: Sequence[float]) -> float:
    """Mean of the defined values; NaN where there are none."""
    defined = [value for value in values if value == value]
    return sum(defined) / len(defined) if defined else float("nan")


def shared_draw_folds(first: Row, second: Row) -> tuple[DrawFold, ...]:
    """The draws and folds that both rows have. Raises ComparisonError where there are none, or where their cases differ."""
    one, other = cases_by_draw_fold(first), cases_by_draw_fold(second)
    shared = sorted(one.keys() & other.keys(), key=lambda axes: tuple(-1 if axis is None else axis for axis in axes))
    if not shared:
        raise ComparisonError(
            f"rows {first.name!r} and {second.name!r} have no draw and fold in common "
            f"({'; '.join(map(draw_fold_text, one)) or 'none'} against {'; '.join(map(draw_fold_text, other)) or 'none'})"
        )
    for draw_fold in shared:
        if one[draw_fold].digest != other[draw_fold].digest:
            unshared = sorted(set(one[draw_fold].keys) ^ set(other[draw_fold].keys))
            detail = f": {', '.join(unshared[:3])}" if unshared else "; the names agree, the groups differ"
            raise ComparisonError(
                f"rows {first.name!r} and {second.name!r} have different test cases in {draw_fold_text(draw_fold)} "
                f"({len(unshared)} cases are in only one of them{detail}); run the older one again"
            )
    return tuple(shared)


def compare_rows(first: Row, second: Row, unit: Unit = "case") -> RowComparison:
    """Compares two rows of one board, paired by case or group. Raises ComparisonError where they can't be compared."""
    draw_folds = shared_draw_folds(first, second)
    one, other = case_values(first, draw_folds, unit), case_values(second, draw_folds, unit)
    keys = tuple(sorted(one))
    first_values, second_values = np.array([one[key] for key in keys]), np.array([other[key] for key in keys])
    values = first_values - second_values
    span = interval(resampled_in(first, draw_folds) - resampled_in(second, draw_folds))
    defined = ~np.isnan(values)
    return RowComparison(
        first=first.name, second=second.name, difference=float(nan_mean(values, axis=0)),
        low=span[0] if span else None, high=span[1] if span else None,
        n=int(defined.sum()), undefined=int((~defined).sum()), p=float(signed_rank(values[None])[0]),
        draw_folds=draw_folds, keys=keys, values=tuple(values.tolist()),
        first_values=tuple(first_values.tolist()), second_values=tuple(second_values.tolist()),
    )  # fmt: skip


def resampled_in(row: Row, draw_folds: Sequence[DrawFold]) -> NDArray[np.float64]:
    """The mean of a row over these draws and folds in each bootstrap resample, (B,)."""
    if row.resampled is not None and row.draw_folds == set(draw_folds):
        return row.resampled
    return resampled_means(_tables(row, draw_folds))
