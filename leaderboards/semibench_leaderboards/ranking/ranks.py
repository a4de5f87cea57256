"""Ranking of a board's rows: order by mean, Holm-adjusted tests between all pairs, groups that are not significantly different.

The means of the rows give the order; the tests say which rows can't be told apart. Demšar, Statistical Comparisons of
Classifiers over Multiple Data Sets, JMLR 2006, with cases instead of data sets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from semibench_leaderboards.ranking.boards import FEWEST, Board
from semibench_leaderboards.ranking.comparison import (
    ComparisonError,
    case_values,
    cases_by_draw_fold,
    compare_rows,
    draw_fold_text,
    signed_rank,
)
from semibench_leaderboards.ranking.letters import letters
from semibench_leaderboards.ranking.references import EXPLAINED, Attribution, attributions
from semibench_leaderboards.ranking.resampling import LEVEL
from semibench_leaderboards.ranking.rows import Row
from semibench_leaderboards.ranking.score_request import Unit
from semibench_leaderboards.reading.cases import CaseSet
from semibench_leaderboards.reading.records import DrawFold

__all__ = ["ALPHA", "RankInterval", "Ranking", "holm", "rank"]

ALPHA = 0.05
"""Significance level of the adjusted tests."""


@dataclass(frozen=True)
class RankInterval:
    """How stable a rank is when the cases are resampled."""

    low: int
    """Lower end of the middle 95 % of the ranks."""
    high: int
    """Upper end of that interval."""
    first: float
    """Share of the resamples in which the row ranks first."""


@dataclass(frozen=True)
class Ranking:
    """Order, groups and tests of a board's rows, by name of the row."""

    order: tuple[str, ...] = ()
    """The ranked rows, best first."""
    letters: Mapping[str, str] = field(default_factory=dict)
    """Rows that share a letter can't be told apart at ALPHA."""
    adjusted: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """Holm-adjusted p of each pair."""
    average: Mapping[str, float] = field(default_factory=dict)
    """Mean rank over cases; 1 is best."""
    unranked: Mapping[str, str] = field(default_factory=dict)
    """Why a row isn't ranked."""
    stability: Mapping[str, RankInterval] = field(default_factory=dict)
    """Empty where the rows have different draws and folds."""
    unit: Unit = "case"
    """What the tests take as independent."""
    n: int = 0
    """Number of units in the tests."""
    notes: tuple[str, ...] = ()
    attributions: Mapping[str, Attribution] = field(default_factory=dict)
    """What the gain of a row can be attributed to, for competitors and controls."""

    def position(self, name: str) -> int | None:
        """1 for the best row; None for a row that isn't ranked."""
        return self.order.index(name) + 1 if name in self.order else None

    @property
    def groups(self) -> list[tuple[str, ...]]:
        """The groups of rows that can't be told apart, by letter, best first."""
        every = sorted({letter for text in self.letters.values() for letter in text.split()})
        return [tuple(name for name in self.order if letter in self.letters[name].split()) for letter in every]


def holm(p: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Holm's step-down adjustment of m p-values (Scandinavian Journal of Statistics 6, 1979).

    The i-th smallest is multiplied by m - i + 1, is never below a smaller one, and at most 1.
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    adjusted = np.empty(len(values))
    factors = np.arange(len(values), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * factors))
    return adjusted


def rank(board: Board, unit: Unit = "case") -> Ranking:
    """Ranks the rows of a board that have at least three counted runs and the same test cases as the others.

    References and controls are never ranked; the other rows are compared with them."""
    unranked = {row.name: EXPLAINED[row.identity.role] for row in board.rows if row.identity.role}
    rows = _comparable([row for row in board.rows if not row.identity.role], unranked)
    order = tuple(row.name for row in rows)
    gains = attributions(board.rows, board.higher)
    if len(rows) < 2:
        letters_of = dict.fromkeys(order, "a")
        return Ranking(order=order, letters=letters_of, unranked=unranked, unit=unit, attributions=gains)
    draw_folds = {row.name: row.draw_folds for row in rows}
    same_draw_folds = len(set(draw_folds.values())) == 1
    shared = sorted(frozenset.intersection(*draw_folds.values()), key=str)
    notes = []
    if not same_draw_folds:
        notes.append("rows have different draws or folds: means are over all of a row's, tests over the shared ones")
    values = {row.name: case_values(row, shared, unit) for row in rows}
    adjusted = _adjusted(rows, values, unit, one_table=same_draw_folds)
    marks, complete = letters(order, {pair for pair, value in adjusted.items() if value < ALPHA})
    if not complete:
        notes.append("too many groups for letters: they show neighbours in the order only")
    n = len(values[order[0]])
    if unit == "case" and shared:
        groups = len(case_values(rows[0], shared, "group"))
        if groups < n:
            notes.append(
                f"{n} cases of {groups} groups: the tests treat cases as independent, but cases of a group are not; "
                "--unit group tests group means, the intervals are by group"
            )
    return Ranking(
        order=order, letters=marks, adjusted=adjusted, average=_average_ranks(values, board.higher), unranked=unranked,
        stability=_stability(rows, board.higher), unit=unit, n=n, notes=tuple(notes), attributions=gains,
    )  # fmt: skip


def _adjusted(
    rows: Sequence[Row], values: Mapping[str, Mapping[str, float]], unit: Unit, *, one_table: bool
) -> dict[tuple[str, str], float]:
    """Holm-adjusted p of each pair. one_table: all rows have the same cases, so that all pairs are tested at once."""
    if one_table:
        keys = sorted(values[rows[0].name])
        table = np.array([[values[row.name][key] for key in keys] for row in rows])
        first, second = np.triu_indices(len(rows), 1)
        p = signed_rank(table[first] - table[second])
    else:
        p = np.array([compare_rows(first, second, unit).p for first, second in combinations(rows, 2)])
    pairs = combinations([row.name for row in rows], 2)
    return dict(zip(pairs, holm(p).tolist(), strict=True))


def _comparable(rows: Sequence[Row], unranked: dict[str, str]) -> list[Row]:
    """The rows that can be ranked. The reasons for the others are added to `unranked`."""
    candidates: list[tuple[Row, dict[DrawFold, CaseSet]]] = []
    for row in rows:
        if row.statistics.mean is None:
            unranked[row.name] = "no finished run has this score"
        elif row.n < FEWEST:
            unranked[row.name] = f"{row.n} of at least {FEWEST} replicates"
        elif row.doubts.missing:
            unranked[row.name] = f"{row.doubts.missing} test cases without a score"
        else:
            try:
                candidates.append((row, cases_by_draw_fold(row)))
            except ComparisonError as error:
                unranked[row.name] = str(error)
    comparable = _with_usual_cases(candidates, unranked)
    if not comparable:
        return comparable
    frequency = Counter(draw_fold for row in comparable for draw_fold in row.draw_folds)
    anchor = max(frequency, key=lambda draw_fold: (frequency[draw_fold], str(draw_fold)))
    for row in comparable:
        if anchor not in row.draw_folds:
            unranked[row.name] = f"no run of {draw_fold_text(anchor)}, which the other rows have"
    return [row for row in comparable if anchor in row.draw_folds]


def _with_usual_cases(
    candidates: Sequence[tuple[Row, Mapping[DrawFold, CaseSet]]], unranked: dict[str, str]
) -> list[Row]:
    """The rows with the test cases that most rows have, in every draw and fold."""
    digests: dict[DrawFold, Counter[str]] = {}
    for _, sets in candidates:
        for draw_fold, cases in sets.items():
            digests.setdefault(draw_fold, Counter())[cases.digest] += 1
    usual = {draw_fold: counts.most_common(1)[0][0] for draw_fold, counts in digests.items()}
    rows = []
    for row, sets in candidates:
        unusual = [draw_fold for draw_fold, cases in sets.items() if cases.digest != usual[draw_fold]]
        if unusual:
            unranked[row.name] = f"other test cases than most rows in {draw_fold_text(unusual[0])}"
        else:
            rows.append(row)
    return rows


def _average_ranks(values: Mapping[str, Mapping[str, float]], higher: bool) -> dict[str, float]:
    """Mean over cases of the rank of each row, 1 for the best; ties share. Only cases with a value in every row count."""
    from scipy.stats import rankdata

    names = list(values)
    keys = sorted(values[names[0]])
    if not keys:
        return {}
    table = np.array([[values[name][key] for key in keys] for name in names])
    table = table[:, ~np.isnan(table).any(axis=0)]
    if not table.shape[1]:
        return {}
    ranks = rankdata(-table if higher else table, axis=0)
    return dict(zip(names, ranks.mean(axis=1).tolist(), strict=True))


def _stability(rows: Sequence[Row], higher: bool) -> dict[str, RankInterval]:
    """Ranks of the rows' means over resampled cases; empty where rows have different draws and folds, whose resamples differ."""
    from scipy.stats import rankdata

    if len({row.draw_folds for row in rows}) != 1 or any(row.resampled is None for row in rows):
        return {}
    table = np.stack([row.resampled for row in rows if row.resampled is not None], axis=1)
    table = table[~np.isnan(table).any(axis=1)]
    if len(table) < 2:
        return {}
    ranks = rankdata(-table if higher else table, axis=1, method="min")
    low, high = np.quantile(ranks, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0, method="inverted_cdf")
    first = (ranks == 1).mean(axis=0)
    return {row.name: RankInterval(int(low[i]), int(high[i]), float(first[i])) for i, row in enumerate(rows)}
