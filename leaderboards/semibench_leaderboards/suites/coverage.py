"""Which published values a suite fills, by which row of it, and which it says can't be filled."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from semibench_leaderboards.published.values import Value, values
from semibench_leaderboards.suites.schema import Grid, Suite, Where

MEAN = "mean"


def table_of(suite: Suite) -> tuple[Value, ...]:
    """The values of the table a suite reproduces, in their order; none for a suite of one's own."""
    place = suite.published
    if place is None:
        return ()
    return tuple(value for value in values() if (value.paper, value.table) == (place.paper, place.table))


def filled(suite: Suite, grid: Grid, row: str) -> list[Value]:
    """The values that one competitor of one grid fills."""
    if grid.fills is None:
        return []
    who = suite.methods.get(row)
    mine = who.row if who is not None and who.row is not None else Where(method=row)
    return [
        value
        for value in table_of(suite)
        if grid.fills.fits(value) and mine.fits(value) and value.metric in suite.metrics and not barred(suite, value)
    ]


def barred(suite: Suite, value: Value) -> str | None:
    """Why no run can fill a value, None where one can."""
    return next((item.reason for item in suite.not_reproducible if item.where.fits(value)), None)


@dataclass(frozen=True)
class Coverage:
    """owners: value id -> rows ("grid/competitor") that fill it. reasons: value id -> why none can."""

    owners: Mapping[str, Sequence[str]]
    reasons: Mapping[str, str]

    @property
    def open(self) -> list[str]:
        """Values that nothing fills and no reason excuses."""
        return [name for name, rows in self.owners.items() if not rows and name not in self.reasons]

    @property
    def twice(self) -> dict[str, Sequence[str]]:
        """Values that more than one row fills."""
        return {name: rows for name, rows in self.owners.items() if len(rows) > 1}


def coverage(suite: Suite) -> Coverage:
    """What becomes of every value of the suite's table."""
    owners: dict[str, list[str]] = defaultdict(list)
    reasons: dict[str, str] = {}
    for value in table_of(suite):
        owners[value.id] = []
        why = barred(suite, value)
        if why is not None:
            reasons[value.id] = why
    for grid in suite.grids:
        for row, who in suite.competitors(grid).items():
            for value in filled(suite, grid, row):
                owners[value.id].append(f"{grid.name}/{row}")
                if who.lacking:
                    reasons[value.id] = who.lacking
    return Coverage(dict(owners), reasons)
