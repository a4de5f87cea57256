"""A suite beside its runs: published, reproduced and the difference, value by value, and what is missing."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from semibench_leaderboards.published.groups import class_of
from semibench_leaderboards.published.reproduced import MEAN, figure, in_units_of
from semibench_leaderboards.published.values import Value
from semibench_leaderboards.suites.coverage import barred, table_of
from semibench_leaderboards.suites.expansion import SuiteCell
from semibench_leaderboards.suites.matching import Match, match
from semibench_leaderboards.suites.schema import Score, Source, Suite

if TYPE_CHECKING:
    from semibench.registry import Registry
    from semibench_leaderboards.reading.records import RunRecord


LEFT_OUT = "left out by the choice of methods or data sets"


@dataclass(frozen=True)
class Entry:
    """One published value and what the runs give. reproduced, std: in the unit of the value, over `n` of `wanted` runs.
    reason: why there is none, empty where there is one."""

    value: Value
    reproduced: float | None = None
    std: float | None = None
    n: int = 0
    wanted: int = 0
    reason: str = ""

    @property
    def difference(self) -> float | None:
        """Reproduced minus published."""
        if self.reproduced is None or self.value.value is None:
            return None
        return self.reproduced - self.value.value

    @property
    def complete(self) -> bool:
        """Whether all runs are there."""
        return self.wanted > 0 and self.n == self.wanted


@dataclass(frozen=True)
class Row:
    """The cells of one competitor of one grid. states: how many cells are in which state."""

    grid: str
    name: str
    matches: tuple[Match, ...]

    @property
    def states(self) -> Mapping[str, int]:
        return Counter(item.state for item in self.matches)

    @property
    def runs(self) -> list[RunRecord]:
        """Those that count."""
        return [item.run for item in self.matches if item.run is not None and item.run.counts]


@dataclass(frozen=True)
class Status:
    """entries: every value of the table, in its order. warnings: what a reader must know."""

    suite: Suite
    phantom: bool
    rows: tuple[Row, ...]
    entries: tuple[Entry, ...]
    warnings: tuple[str, ...] = field(default=())

    @property
    def missing(self) -> list[Match]:
        """Cells that could run and have no finished run that counts."""
        bad = ("missing", "failed", "interrupted", "running", "stale")
        return [item for row in self.rows for item in row.matches if item.state in bad]

    @property
    def absent(self) -> dict[str, list[str]]:
        """What isn't in the harness -> the rows that need it."""
        found: dict[str, list[str]] = defaultdict(list)
        for row in self.rows:
            for name in dict.fromkeys(name for item in row.matches for name in item.cell.missing):
                if row.name not in found[name]:
                    found[name].append(row.name)
        return dict(found)


def status(
    suite: Suite, cells: Sequence[SuiteCell], runs: Iterable[RunRecord], plugins: Registry | None = None
) -> Status:
    """Sets runs beside the table of a suite. cells: of `expand`; runs: of `records.read_runs`."""
    grouped: dict[tuple[str, str], list[Match]] = defaultdict(list)
    for item in match(cells, runs, plugins):
        grouped[item.cell.grid, item.cell.row].append(item)
    rows = tuple(Row(grid, name, tuple(found)) for (grid, name), found in grouped.items())
    by_value = {name: row for row in rows for item in row.matches for name in item.cell.fills}
    entries = tuple(_entry(suite, value, by_value.get(value.id)) for value in table_of(suite))
    phantom = any(cell.on_phantom for cell in cells)
    return Status(suite, phantom, rows, entries, tuple(_warnings(suite, rows, phantom)))


def _entry(suite: Suite, value: Value, row: Row | None) -> Entry:
    why = barred(suite, value)
    if why is not None:
        return Entry(value, reason=why)
    if row is None:
        return Entry(value, reason=LEFT_OUT)
    mine = [item for item in row.matches if value.id in item.cell.fills]
    numbers: dict[str, list[float]] = defaultdict(list)
    unscored: set[str] = set()
    score = suite.score_of(row.grid)
    for item in mine:
        if item.run is None or not item.run.counts:
            continue
        source = source_of(suite, row.name, value)
        number = number_of(item.run, value, source, score)
        if number is None:
            unscored.add(told(source, score))
        else:
            numbers[item.cell.part].append(number)
    n = sum(map(len, numbers.values()))
    parts = {item.cell.part for item in mine}
    if not n:
        return Entry(value, wanted=len(mine), reason=_why_none(mine, unscored))
    mean = statistics.fmean(statistics.fmean(given) for given in numbers.values())
    alone = next(iter(numbers.values()))
    std = statistics.stdev(alone) if len(parts) == 1 and len(alone) > 1 else None
    if len(numbers) < len(parts):  # an average over domains needs all of them
        return Entry(value, n=n, wanted=len(mine), reason=f"runs of {len(numbers)} of {len(parts)} domains")
    return Entry(value, reproduced=mean, std=std, n=n, wanted=len(mine))


def source_of(suite: Suite, row: str, value: Value) -> Source:
    """Where the number for a value comes from."""
    who = suite.methods.get(row)
    own = who.metrics.get(value.metric) if who is not None else None
    return own or suite.metrics[value.metric]


def number_of(run: RunRecord, value: Value, source: Source, score: Score) -> float | None:
    """A run's number for a value, in the value's unit; None where the run doesn't have it."""
    if source.figure is not None:
        part, _, name = source.figure.partition(".")
        found: Any = getattr(run, part, {}).get(name)
        return None if found is None or math.isnan(float(found)) else float(found) * source.scale
    group = MEAN if value.group.startswith("domain-") else class_of(value)
    number = figure(
        run.scores,
        str(source.metric),
        convention=source.convention or score.convention,
        checkpoint=score.checkpoint,
        predictor=score.predictor,
        group=group,
    )
    return None if number is None else in_units_of(value, number) * source.scale


def told(source: Source, score: Score) -> str:
    """ "dice of ssl4mis" """
    return source.figure or f"{source.metric} of {source.convention or score.convention}"


def _why_none(mine: Sequence[Match], unscored: set[str]) -> str:
    if unscored:
        return f"the runs have no {', '.join(sorted(unscored))}"
    states = Counter(item.state for item in mine)
    state = states.most_common(1)[0][0]
    first = next(item for item in mine if item.state == state)
    if state == "absent":
        return f"not in the harness: {', '.join(first.cell.missing)}"
    if state == "lacking":
        return first.cell.lacking
    if state == "unresolved":
        return first.problem
    return {"missing": "not run", "stale": "run with other code"}.get(state, state)


def _warnings(suite: Suite, rows: Sequence[Row], phantom: bool) -> Iterable[str]:
    if phantom:
        yield "PHANTOM DATA: reproduced numbers are of procedural stand-ins; differences to published ones mean nothing"
    if suite.selection is not None and suite.selection.by == "test":
        yield f"the paper selected on test, which the harness never does: {suite.selection.note}"
    elif suite.selection is not None and suite.selection.by == "unknown":
        yield f"selection of the paper: {suite.selection.note}"
    for row in rows:
        digests: dict[tuple[str, ...], set[str]] = defaultdict(set)
        for run in row.runs:
            digests[_sources(run)].add(run.spec.track.data)
        devices = {run.device for run in row.runs}
        if any(len(given) > 1 for given in digests.values()):
            yield f"{row.grid}/{row.name}: its runs were made on different bytes of the data"
        if len(devices) > 1:
            yield f"{row.grid}/{row.name}: its runs were made on several devices ({', '.join(sorted(devices))})"
        for problem in dict.fromkeys(item.problem for item in row.matches if item.problem):
            yield f"{row.grid}/{row.name}: {problem}"


def _sources(run: RunRecord) -> tuple[str, ...]:
    """What the data digest of a run is over: the same for all its published splits, draws and folds."""
    track = run.spec.track
    return track.dataset.name, track.protocol.name, str(track.protocol.options.get("datasets"))
