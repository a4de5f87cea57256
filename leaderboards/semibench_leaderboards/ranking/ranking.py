"""Ranking of a board's rows: paired over cases, Wilcoxon signed-rank, Holm, groups that are not significantly different.

Two rows are compared on the test cases of the draws and folds that both have: a case's value is the mean over the row's
seeds (then over the draws and folds the case is in), and the differences of these values are tested. Means of rows say the
order; the tests say which neighbours can't be told apart. Demšar, Statistical Comparisons of Classifiers over
Multiple Data Sets, JMLR 2006, with cases in the place of data sets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from semibench.contracts.errors import SemibenchError
from semibench_leaderboards.ranking.boards import FEWEST, Board, Place, Row
from semibench_leaderboards.ranking.letters import letters
from semibench_leaderboards.ranking.resampling import LEVEL, interval, resampled_means
from semibench_leaderboards.reading.cases import CaseSet, nan_mean

__all__ = ["ALPHA", "Pair", "Ranking", "compare_rows", "holm", "rank", "signed_rank"]

ALPHA = 0.05
EXACT = 50
"""Most differences for which scipy computes the exact distribution."""

PERMUTED = 13
"""Most differences, with ties among them, for which all sign changes are gone through."""

Unit = Literal["case", "group"]
"""What is taken as independent: each case, or each group (patient) by the mean of its cases."""


class ComparisonError(SemibenchError):
    """Two rows that must not be compared: other test cases in a draw and fold, or no draw and fold in common."""


@dataclass(frozen=True)
class Pair:
    """Two rows compared over the cases (or groups) they share.

    difference: mean of first minus second; low, high: 95 % bootstrap interval over cases, clustered by group. n: pairs
    with a value in both; undefined: pairs without. p: Wilcoxon signed-rank, two-sided (1 where nothing differs); adjusted: by Holm
    over the board's pairs, None outside a ranking. keys, values: case and its difference, by key.
    """

    first: str
    second: str
    difference: float
    low: float | None
    high: float | None
    n: int
    undefined: int
    p: float
    adjusted: float | None = None
    places: tuple[Place, ...] = ()
    keys: tuple[str, ...] = field(default=(), repr=False)
    values: tuple[float, ...] = field(default=(), repr=False)
    first_values: tuple[float, ...] = field(default=(), repr=False)
    second_values: tuple[float, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Place95:
    """How stable a rank is when the cases are drawn again: the middle 95 % of its ranks, and how often it was first."""

    low: int
    high: int
    first: float


@dataclass(frozen=True)
class Ranking:
    """order: names of the ranked rows, best first. letters: rows that share one can't be told apart at ALPHA. adjusted: p
    by pair of names. average: mean rank over cases (1 is best). unranked: name -> why. stability: by name; empty where rows
    have different draws. unit: what was taken as independent, n: how many of them."""

    order: tuple[str, ...] = ()
    letters: Mapping[str, str] = field(default_factory=dict)
    adjusted: Mapping[tuple[str, str], float] = field(default_factory=dict)
    average: Mapping[str, float] = field(default_factory=dict)
    unranked: Mapping[str, str] = field(default_factory=dict)
    stability: Mapping[str, Place95] = field(default_factory=dict)
    unit: Unit = "case"
    n: int = 0
    notes: tuple[str, ...] = ()

    def position(self, name: str) -> int | None:
        """1 for the best row; None for a row that isn't ranked."""
        return self.order.index(name) + 1 if name in self.order else None

    @property
    def groups(self) -> list[tuple[str, ...]]:
        """The groups of rows that can't be told apart, by letter, best first."""
        every = sorted({letter for text in self.letters.values() for letter in text.split()})
        return [tuple(name for name in self.order if letter in self.letters[name].split()) for letter in every]


# ---- tests ---------------------------------------------------------------------------------------------------------


def signed_rank(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Two-sided p of Wilcoxon's signed-rank test of each row of (T, N); NaN and zero are left out.

    As `scipy.stats.wilcoxon` on what remains: exact without ties up to 50 differences, all sign changes with ties up
    to 13, else the normal approximation with its correction for ties. 1 where nothing remains.
    """
    from scipy.stats import wilcoxon

    values = np.where(np.isnan(differences), 0.0, differences).astype(np.float64)
    count = (values != 0).sum(axis=1)
    magnitude = np.sort(np.abs(values), axis=1)
    tied = ((magnitude[:, 1:] == magnitude[:, :-1]) & (magnitude[:, 1:] > 0)).any(axis=1)
    found = np.ones(len(values))
    exact = (count > 0) & (count <= EXACT) & ~tied
    small = (count > 0) & (count <= PERMUTED) & tied
    large = (count > 0) & ~exact & ~small
    if exact.any():
        found[exact] = wilcoxon(values[exact], axis=1, method="exact").pvalue
    if large.any():
        found[large] = wilcoxon(values[large], axis=1, method="asymptotic").pvalue
    for number in np.flatnonzero(small):
        found[number] = wilcoxon(values[number][values[number] != 0]).pvalue
    return found


def holm(p: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Holm's step-down adjustment (Scandinavian Journal of Statistics 6, 1979): the i-th smallest of m times m - i + 1,
    never below a smaller one, at most 1."""
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    adjusted = np.empty(len(values))
    factors = np.arange(len(values), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * factors))
    return adjusted


# ---- what is paired ------------------------------------------------------------------------------------------------


def place_cases(row: Row) -> dict[Place, CaseSet]:
    """The test cases of each (draw, fold) of a row. Raises ComparisonError where its own runs disagree."""
    found: dict[Place, CaseSet] = {}
    for record, table in zip(row.counted, row.scores, strict=True):
        known = found.setdefault(record.place, table.cases)
        if known.digest != table.cases.digest:
            raise ComparisonError(f"row {row.name!r}: its runs of {told(record.place)} have different test cases")
    return found


def told(place: Place) -> str:
    """ "draw 0, fold 1"; "the official split" for neither."""
    parts = [f"{name} {value}" for name, value in zip(("draw", "fold"), place, strict=True) if value is not None]
    return ", ".join(parts) or "the official split"


def case_values(row: Row, places: Sequence[Place], unit: Unit = "case") -> dict[str, float]:
    """Value of each case (or group): mean over classes, then over seeds, then over the draws and folds it is in.

    A case is undefined (NaN) in a draw and fold where every seed is; the rest are averaged.
    """
    by_key: dict[str, list[float]] = {}
    group: dict[str, str] = {}
    for place in places:
        tables = [table for record, table in zip(row.counted, row.scores, strict=True) if record.place == place]
        means = nan_mean(np.stack([table.per_case for table in tables]), axis=0)
        for key, of, value in zip(tables[0].cases.keys, tables[0].cases.groups, means, strict=True):
            by_key.setdefault(key, []).append(float(value))
            group[key] = of
    values = {key: _mean(found) for key, found in by_key.items()}
    if unit == "case":
        return values
    by_group: dict[str, list[float]] = {}
    for key, value in values.items():
        by_group.setdefault(group[key], []).append(value)
    return {name: _mean(found) for name, found in by_group.items()}


def _mean(values: Sequence[float]) -> float:
    """Mean of the defined values; NaN where there are none."""
    known = [value for value in values if value == value]
    return sum(known) / len(known) if known else float("nan")


def shared_places(first: Row, second: Row) -> tuple[Place, ...]:
    """The draws and folds that both rows have. Raises ComparisonError where there is none, or one has other cases."""
    one, other = place_cases(first), place_cases(second)
    places = sorted(one.keys() & other.keys(), key=lambda place: tuple(-1 if axis is None else axis for axis in place))
    if not places:
        raise ComparisonError(
            f"rows {first.name!r} and {second.name!r} have no draw and fold in common "
            f"({'; '.join(map(told, one)) or 'none'} against {'; '.join(map(told, other)) or 'none'})"
        )
    for place in places:
        if one[place].digest != other[place].digest:
            only = sorted(set(one[place].keys) ^ set(other[place].keys))
            raise ComparisonError(
                f"rows {first.name!r} and {second.name!r} have different test cases in {told(place)} ({len(only)} cases are in "
                f"one only{': ' + ', '.join(only[:3]) if only else '; same names, other groups'}); run the older one again"
            )
    return tuple(places)


def compare_rows(first: Row, second: Row, unit: Unit = "case") -> Pair:
    """Two rows of one board, paired. Raises ComparisonError where they must not be compared."""
    places = shared_places(first, second)
    one, other = case_values(first, places, unit), case_values(second, places, unit)
    keys = tuple(sorted(one))
    mine, theirs = np.array([one[key] for key in keys]), np.array([other[key] for key in keys])
    values = mine - theirs
    span = interval(_resampled(first, places) - _resampled(second, places))
    defined = ~np.isnan(values)
    return Pair(
        first=first.name, second=second.name, difference=float(nan_mean(values, axis=0)),
        low=span[0] if span else None, high=span[1] if span else None,
        n=int(defined.sum()), undefined=int((~defined).sum()), p=float(signed_rank(values[None])[0]), places=places,
        keys=keys, values=tuple(values.tolist()), first_values=tuple(mine.tolist()), second_values=tuple(theirs.tolist()),
    )  # fmt: skip


def _resampled(row: Row, places: Sequence[Place]) -> NDArray[np.float64]:
    if row.resampled is not None and row.places == set(places):
        return row.resampled
    return resampled_means(
        [table for record, table in zip(row.counted, row.scores, strict=True) if record.place in places]
    )


# ---- the ranking ---------------------------------------------------------------------------------------------------


def rank(board: Board, unit: Unit = "case") -> Ranking:
    """Ranks the rows of a board that have at least three counted runs and the same test cases as the others."""
    unranked: dict[str, str] = {}
    rows = _comparable(board.rows, unranked)
    if len(rows) < 2:
        order = tuple(row.name for row in rows)
        return Ranking(order=order, letters=dict.fromkeys(order, "a"), unranked=unranked, unit=unit)
    places = {row.name: row.places for row in rows}
    common = frozenset.intersection(*places.values())
    notes = []
    if len(set(places.values())) > 1:
        notes.append("rows have different draws or folds: means are over all of a row's, tests over shared ones")
    shared = sorted(common, key=str)
    values = {row.name: case_values(row, shared, unit) for row in rows}
    pairs = list(combinations([row.name for row in rows], 2))
    if len(set(places.values())) == 1:
        keys = sorted(values[rows[0].name])
        table = np.array([[values[row.name][key] for key in keys] for row in rows])
        one, other = np.triu_indices(len(rows), 1)
        p = signed_rank(table[one] - table[other])
    else:
        by_name = {row.name: row for row in rows}
        p = np.array([compare_rows(by_name[first], by_name[second], unit).p for first, second in pairs])
    adjusted = dict(zip(pairs, holm(p).tolist(), strict=True))
    order = tuple(row.name for row in rows)
    marks, complete = letters(order, {pair for pair, value in adjusted.items() if value < ALPHA})
    if not complete:
        notes.append("too many groups for letters: they show neighbours in the order only")
    n = len(values[order[0]])
    if unit == "case" and common:
        groups = len(case_values(rows[0], shared, "group"))
        if groups < n:
            notes.append(
                f"{n} cases of {groups} groups: the tests take cases as independent, which groups are not; "
                "--unit group tests group means, the intervals are by group"
            )
    return Ranking(
        order=order, letters=marks, adjusted=adjusted, average=_average_ranks(values, board.higher), unranked=unranked,
        stability=_stability(rows, board.higher), unit=unit, n=n, notes=tuple(notes),
    )  # fmt: skip


def _comparable(rows: Sequence[Row], unranked: dict[str, str]) -> list[Row]:
    """The rows that may be ranked; why the others may not goes to `unranked`."""
    enough: list[tuple[Row, dict[Place, CaseSet]]] = []
    for row in rows:
        if row.mean is None:
            unranked[row.name] = "no finished run has this score"
        elif row.n < FEWEST:
            unranked[row.name] = f"{row.n} of at least {FEWEST} replicates"
        elif row.missing:
            unranked[row.name] = f"{row.missing} test cases without a score"
        else:
            try:
                enough.append((row, place_cases(row)))
            except ComparisonError as error:
                unranked[row.name] = str(error)
    usual: dict[Place, str] = {}
    for place in {place for _, sets in enough for place in sets}:
        digests = Counter(sets[place].digest for _, sets in enough if place in sets)
        usual[place] = digests.most_common(1)[0][0]
    found = []
    for row, sets in enough:
        odd = [place for place, cases in sets.items() if cases.digest != usual[place]]
        if odd:
            unranked[row.name] = f"other test cases than most rows in {told(odd[0])}"
        else:
            found.append(row)
    if not found:
        return found
    spread = Counter(place for row in found for place in row.places)
    anchor = max(spread, key=lambda place: (spread[place], str(place)))
    for row in [row for row in found if anchor not in row.places]:
        unranked[row.name] = f"no run of {told(anchor)}, which the other rows have"
        found.remove(row)
    return found


def _average_ranks(values: Mapping[str, Mapping[str, float]], higher: bool) -> dict[str, float]:
    """Mean over cases of the rank of each row (ties share), 1 the best; only cases that every row has a value for."""
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


def _stability(rows: Sequence[Row], higher: bool) -> dict[str, Place95]:
    """Ranks of the rows' means over resampled cases; nothing where rows have other draws and folds (other resamples)."""
    from scipy.stats import rankdata

    if len({row.places for row in rows}) != 1 or any(row.resampled is None for row in rows):
        return {}
    table = np.stack([row.resampled for row in rows if row.resampled is not None], axis=1)
    table = table[~np.isnan(table).any(axis=1)]
    if len(table) < 2:
        return {}
    ranks = rankdata(-table if higher else table, axis=1, method="min")
    low, high = np.quantile(ranks, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0, method="inverted_cdf")
    first = (ranks == 1).mean(axis=0)
    return {row.name: Place95(int(low[i]), int(high[i]), float(first[i])) for i, row in enumerate(rows)}
