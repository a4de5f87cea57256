"""Compares a suite with its runs: published value, reproduced value and difference, and what is missing."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from semibench.contracts.identity import Score
from semibench_leaderboards.published.groups import class_of
from semibench_leaderboards.published.reproduced import MEAN, figure, in_units_of
from semibench_leaderboards.published.values import Value
from semibench_leaderboards.suites.coverage import table_of, why_unreproducible
from semibench_leaderboards.suites.expansion import SuiteCell
from semibench_leaderboards.suites.matching import Match, match
from semibench_leaderboards.suites.schema import MetricSource, Suite

if TYPE_CHECKING:
    from semibench.discovery.registry import Registry
    from semibench_leaderboards.reading.records import RunRecord


NOT_CHOSEN = "left out by the choice of methods or data sets"


@dataclass(frozen=True)
class ValueStatus:
    """A published value and what the runs give for it."""

    value: Value
    reproduced: float | None = None
    """Mean over the runs, in the unit of the value."""
    std: float | None = None
    """Standard deviation over the runs."""
    n: int = 0
    """Runs with a number."""
    wanted: int = 0
    """Runs that the suite asks for."""
    reason: str = ""
    """Why there is no reproduced value; empty where there is one."""

    @property
    def difference(self) -> float | None:
        """Reproduced minus published."""
        if self.reproduced is None or self.value.value is None:
            return None
        return self.reproduced - self.value.value

    @property
    def complete(self) -> bool:
        """Whether every run has a number."""
        return self.wanted > 0 and self.n == self.wanted


@dataclass(frozen=True)
class SuiteRow:
    """The cells of a competitor in a grid, each with its run."""

    grid: str
    name: str
    matches: tuple[Match, ...]

    @property
    def states(self) -> Mapping[str, int]:
        """State -> number of cells."""
        return Counter(item.state for item in self.matches)

    @property
    def runs(self) -> list[RunRecord]:
        """The runs that count."""
        return [item.run for item in self.matches if item.run is not None and item.run.counts]


@dataclass(frozen=True)
class SuiteStatus:
    """How far a suite is reproduced."""

    suite: Suite
    phantom: bool
    rows: tuple[SuiteRow, ...]
    entries: tuple[ValueStatus, ...]
    """Every value of the table, in its order."""
    warnings: tuple[str, ...] = field(default=())
    """What a reader must know."""

    @property
    def missing(self) -> list[Match]:
        """Cells that could run and have no finished run that counts."""
        unfinished = ("missing", "failed", "interrupted", "running", "stale")
        return [item for row in self.rows for item in row.matches if item.state in unfinished]

    @property
    def absent(self) -> dict[str, list[str]]:
        """What isn't in the harness -> rows that need it."""
        rows_by_name: dict[str, list[str]] = defaultdict(list)
        for row in self.rows:
            for name in dict.fromkeys(name for item in row.matches for name in item.cell.missing):
                if row.name not in rows_by_name[name]:
                    rows_by_name[name].append(row.name)
        return dict(rows_by_name)


def status(
    suite: Suite, cells: Sequence[SuiteCell], runs: Iterable[RunRecord], plugins: Registry | None = None
) -> SuiteStatus:
    """Compares runs with the table of a suite. cells: from `expand`; runs: from `records.read_runs`."""
    grouped: dict[tuple[str, str], list[Match]] = defaultdict(list)
    for item in match(cells, runs, plugins):
        grouped[item.cell.grid, item.cell.row].append(item)
    rows = tuple(SuiteRow(grid, name, tuple(members)) for (grid, name), members in grouped.items())
    by_value = {name: row for row in rows for item in row.matches for name in item.cell.fills}
    entries = tuple(_value_status(suite, value, by_value.get(value.id)) for value in table_of(suite))
    phantom = any(cell.on_phantom for cell in cells)
    return SuiteStatus(suite, phantom, rows, entries, tuple(_warnings(suite, rows, phantom)))


def _value_status(suite: Suite, value: Value, row: SuiteRow | None) -> ValueStatus:
    unreproducible = why_unreproducible(suite, value)
    if unreproducible is not None:
        return ValueStatus(value, reason=unreproducible)
    if row is None:
        return ValueStatus(value, reason=NOT_CHOSEN)
    matches = [item for item in row.matches if value.id in item.cell.fills]
    numbers: dict[str, list[float]] = defaultdict(list)
    unscored: set[str] = set()
    score = suite.score_of(row.grid)
    for item in matches:
        if item.run is None or not item.run.counts:
            continue
        source = source_of(suite, row.name, value)
        number = number_of(item.run, value, source, score)
        if number is None:
            unscored.add(source_text(source, score))
        else:
            numbers[item.cell.part].append(number)
    n = sum(map(len, numbers.values()))
    parts = {item.cell.part for item in matches}
    if not n:
        return ValueStatus(value, wanted=len(matches), reason=_why_none(matches, unscored))
    mean = statistics.fmean(statistics.fmean(members) for members in numbers.values())
    alone = next(iter(numbers.values()))
    std = statistics.stdev(alone) if len(parts) == 1 and len(alone) > 1 else None
    if len(numbers) < len(parts):  # an average over domains needs all of them
        return ValueStatus(value, n=n, wanted=len(matches), reason=f"runs of {len(numbers)} of {len(parts)} domains")
    return ValueStatus(value, reproduced=mean, std=std, n=n, wanted=len(matches))


def source_of(suite: Suite, row: str, value: Value) -> MetricSource:
    """Where the number for a value comes from."""
    competitor = suite.methods.get(row)
    own = competitor.metrics.get(value.metric) if competitor is not None else None
    return own or suite.metrics[value.metric]


def number_of(run: RunRecord, value: Value, source: MetricSource, score: Score) -> float | None:
    """A run's number for a value, in the value's unit; None where the run doesn't have it."""
    if source.figure is not None:
        part, _, name = source.figure.partition(".")
        value_of: Any = getattr(getattr(run, part, None), name, None)
        return None if value_of is None else float(value_of) * source.scale
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


def source_text(source: MetricSource, score: Score) -> str:
    """ "dice of ssl4mis" """
    return source.figure or f"{source.metric} of {source.convention or score.convention}"


def _why_none(matches: Sequence[Match], unscored: set[str]) -> str:
    if unscored:
        return f"the runs have no {', '.join(sorted(unscored))}"
    states = Counter(item.state for item in matches)
    state = states.most_common(1)[0][0]
    first = next(item for item in matches if item.state == state)
    if state == "absent":
        return f"not in the harness: {', '.join(first.cell.missing)}"
    if state == "lacking":
        return first.cell.lacking
    if state == "unresolved":
        return first.problem
    return {"missing": "not run", "stale": "run with other code"}.get(state, state)


def _warnings(suite: Suite, rows: Sequence[SuiteRow], phantom: bool) -> Iterable[str]:
    if phantom:
        yield "PHANTOM DATA: the reproduced numbers come from procedural stand-ins; differences from published ones mean nothing"
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
    """What the data digest of a run covers: the same for all published splits, draws and folds."""
    track = run.spec.track
    return track.dataset.name, track.protocol.name, str(track.protocol.options.get("datasets"))
