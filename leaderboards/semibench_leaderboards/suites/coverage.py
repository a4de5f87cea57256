"""Which published values a suite fills, in which row, and which ones it declares not reproducible."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from semibench_leaderboards.published.values import Value, values
from semibench_leaderboards.suites.schema import Grid, Suite, ValueFilter

MEAN = "mean"


def table_of(suite: Suite) -> tuple[Value, ...]:
    """The values of the table that a suite reproduces, in their order; empty for a suite without a published table."""
    published = suite.published
    if published is None:
        return ()
    return tuple(value for value in values() if (value.paper, value.table) == (published.paper, published.table))


def filled(suite: Suite, grid: Grid, row: str) -> list[Value]:
    """The values that a competitor of a grid fills."""
    if grid.fills is None:
        return []
    competitor = suite.methods.get(row)
    own_row = competitor.row if competitor is not None and competitor.row is not None else ValueFilter(method=row)
    return [
        value
        for value in table_of(suite)
        if grid.fills.matches(value) and own_row.matches(value)
        if value.metric in suite.metrics and why_unreproducible(suite, value) is None
    ]


def why_unreproducible(suite: Suite, value: Value) -> str | None:
    """Why no run can fill a value; None where one can."""
    return next((item.reason for item in suite.not_reproducible if item.where.matches(value)), None)


@dataclass(frozen=True)
class Coverage:
    """Which rows of a suite fill the values of its table."""

    owners: Mapping[str, Sequence[str]]
    """Id of a value -> rows ("grid/competitor") that fill it."""
    reasons: Mapping[str, str]
    """Id of a value -> why no row can fill it."""

    @property
    def open(self) -> list[str]:
        """Values that no row fills and that have no reason."""
        return [name for name, rows in self.owners.items() if not rows and name not in self.reasons]

    @property
    def repeated(self) -> dict[str, Sequence[str]]:
        """Values that more than one row fills."""
        return {name: rows for name, rows in self.owners.items() if len(rows) > 1}


def coverage(suite: Suite) -> Coverage:
    """Assigns every value of the suite's table to rows or to a reason."""
    owners: dict[str, list[str]] = defaultdict(list)
    reasons: dict[str, str] = {}
    for value in table_of(suite):
        owners[value.id] = []
        reason = why_unreproducible(suite, value)
        if reason is not None:
            reasons[value.id] = reason
    for grid in suite.grids:
        for row, competitor in suite.competitors(grid).items():
            for value in filled(suite, grid, row):
                owners[value.id].append(f"{grid.name}/{row}")
                if competitor.lacking:
                    reasons[value.id] = competitor.lacking
    return Coverage(dict(owners), reasons)
