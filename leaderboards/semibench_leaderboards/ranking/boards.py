"""Boards: the rows of a track seen through one score, with everything that is needed to trust or doubt them.

for board in boards(read_runs(Path("runs"), dataset="tus")):
    for row in board.rows: ...
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from semibench.contracts.errors import UnknownNameError
from semibench.contracts.identity import Track
from semibench.runfolder.records import ScoreSummary
from semibench_leaderboards.ranking.doubts import board_warnings, row_notes
from semibench_leaderboards.ranking.resampling import interval, resampled_means
from semibench_leaderboards.reading.cases import CaseScores, CasesError, ScoreName, case_scores, stored_mean
from semibench_leaderboards.reading.differences import differences, tell_apart, track_record
from semibench_leaderboards.reading.records import RunRecord, by_row

__all__ = ["FEWEST", "Board", "Row", "View", "board_differences", "boards"]

FEWEST = 3
"""Replicates that a row needs to be ranked."""

N = TypeVar("N", int, float)

Place = tuple[int | None, int | None]
"""(draw, fold)."""


@dataclass(frozen=True)
class View:
    """Which score a board shows. convention, metric None: semibench-1 where the runs have it, and its main metric.
    predictor None: each method's default one; "all": each predictor is a line of its own."""

    checkpoint: Literal["last", "best"] = "last"
    predictor: str | None = None
    convention: str | None = None
    metric: str | None = None


@dataclass(frozen=True)
class Row:
    """One entry on a board (with predictor "all": one of its predictors).

    key: digest of the row. name: method, and backbone and options where needed to tell rows apart. runs: all of its runs that
    aren't stale; counted: those that are done and scored. means: of the counted runs, each over its cases; mean,
    std: over those (n - 1; None for one run). low, high: 95 % bootstrap interval over cases, clustered by group. draws, folds,
    seeds: how many different ones were counted. worst: the class with the worst mean, and that. per_class: means.
    empty_truth, empty_prediction, undefined: (case, class) pairs, summed over runs; missing: cases without score. devices: names
    of what computed. failed, running, interrupted: runs in these states. stale: runs made with other code.
    """

    key: str
    name: str
    method: str
    backbone: str
    predictor: str
    runs: tuple[RunRecord, ...]
    counted: tuple[RunRecord, ...]
    means: tuple[float, ...]
    mean: float | None
    std: float | None
    low: float | None
    high: float | None
    draws: int
    folds: int
    seeds: int
    worst: tuple[str, float] | None
    per_class: Mapping[str, float]
    empty_truth: int
    empty_prediction: int
    undefined: int
    missing: int
    cases: int
    parameters: int | None
    inference_parameters: int | None
    gflops: float | None
    training_seconds: float | None
    peak_memory_mb: float | None
    seconds_per_case: float | None
    devices: tuple[str, ...]
    failed: int
    running: int
    interrupted: int
    stale: int
    label_budget: int | None
    tuning: str = "default"
    study: str | None = None
    notes: tuple[str, ...] = ()
    scores: tuple[CaseScores, ...] = field(default=(), repr=False, compare=False)
    resampled: NDArray[np.float64] | None = field(default=None, repr=False, compare=False)

    @property
    def n(self) -> int:
        """Counted runs."""
        return len(self.counted)

    @property
    def tried(self) -> int:
        """Runs that ended, well or not."""
        return self.n + self.failed

    @property
    def mixed_devices(self) -> bool:
        return len(self.devices) > 1

    @property
    def tuned(self) -> bool:
        return self.tuning != "default"

    @property
    def places(self) -> frozenset[Place]:
        """(draw, fold) of the counted runs."""
        return frozenset(record.place for record in self.counted)

    @property
    def runs_text(self) -> str:
        """ "3", or "3/5" where two of five failed; "+2" for runs that haven't ended."""
        text = str(self.n) if not self.failed else f"{self.n}/{self.tried}"
        waiting = self.running + self.interrupted
        return f"{text}+{waiting}" if waiting else text


@dataclass(frozen=True)
class Board:
    """A track seen through one score. rows: best first, those without a score last. higher: more is better.
    warnings: what a reader must know: phantom data, changed code, differing test cases."""

    track: Track
    digest: str
    title: str
    phantom: bool
    recipe: str
    view: View
    higher: bool
    unit: str
    rows: tuple[Row, ...]
    warnings: tuple[str, ...] = ()

    @property
    def score(self) -> str:
        """ "dice · semibench-1 · last · default predictor"."""
        predictor = self.view.predictor
        shown = "default predictor" if predictor is None else ("all predictors" if predictor == "all" else predictor)
        return f"{self.view.metric} · {self.view.convention} · {self.view.checkpoint} · {shown}"


def boards(records: Iterable[RunRecord], view: View | None = None) -> list[Board]:
    """One board for each track among the runs, by title.

    Reads per-case scores of finished runs. Raises UnknownNameError for a convention, metric or predictor that no run of a
    track has (where several tracks are asked for: that none has). A run whose table of cases is damaged or contradicts its
    summary is left out; `left_out` names it.
    """
    wanted = view or View()
    tracks: dict[str, list[RunRecord]] = {}
    for record in records:
        tracks.setdefault(record.track, []).append(record)
    made, unknown = [], []
    for runs in tracks.values():
        try:
            made += _readable_board(runs, wanted)
        except UnknownNameError as error:
            unknown.append(error)
    if unknown and not any(row.n for board in made for row in board.rows):
        raise unknown[0]
    return sorted(made, key=lambda board: board.title)


def _readable_board(runs: Sequence[RunRecord], wanted: View) -> list[Board]:
    """The board of the runs whose cases can be read; none where no run can be."""
    while runs:
        try:
            return [_board(runs, wanted)]
        except CasesError as error:
            runs = [record for record in runs if record.folder not in error.faults]
    return []


def _board(runs: Sequence[RunRecord], wanted: View) -> Board:
    first = runs[0]
    view, facts = _settle(runs, wanted)
    groups = by_row(runs)
    names = tell_apart({key: members[0].spec.entry for key, members in groups.items()})
    lines = [(key, predictor) for key, members in groups.items() for predictor in _predictors(members, view)]
    higher = _higher(facts, view)
    rows = _rows(groups, lines, names, view, higher)
    track = first.spec.track
    recipe = track.recipe if isinstance(track.recipe, str) else first.recipe
    return Board(
        track=track,
        digest=first.track,
        title=track.title,
        phantom=first.phantom,
        recipe=recipe,
        view=view,
        higher=higher,
        unit=facts.unit if facts is not None else "",
        rows=tuple(sorted(rows, key=lambda row: _order(row, higher))),
        warnings=tuple(board_warnings(runs, rows)),
    )


def _order(row: Row, higher: bool) -> tuple[Any, ...]:
    if row.mean is None or math.isnan(row.mean):
        return (1, 0.0, row.name)
    return (0, -row.mean if higher else row.mean, row.name)


def _settle(runs: Sequence[RunRecord], wanted: View) -> tuple[View, ScoreSummary | None]:
    """The view with nothing left open, and the summary of one run that has this score."""
    scores = [score for record in runs if record.counts for score in record.scores]
    if not scores:
        return replace(wanted, convention=wanted.convention or "–", metric=wanted.metric or "–"), None
    conventions = Counter(score.convention for score in scores)
    convention = wanted.convention
    if convention is None:
        convention = (
            "semibench-1"
            if "semibench-1" in conventions
            else min(conventions, key=lambda name: (-conventions[name], name))
        )
    convention = convention.split(":", 1)[-1]
    if convention not in conventions:
        raise UnknownNameError("convention among the scores of these runs", convention, conventions)
    scores = [score for score in scores if score.convention == convention]
    metrics = dict.fromkeys(score.metric for score in scores)
    metric = wanted.metric or next((score.metric for score in scores if score.main), next(iter(metrics)))
    if metric not in metrics:
        raise UnknownNameError(f"metric of convention {convention!r} in these runs", metric, metrics)
    predictors = {score.predictor for score in scores}
    if wanted.predictor not in (None, "all", *predictors):
        raise UnknownNameError("predictor among the scores of these runs", str(wanted.predictor), predictors)
    facts = next(score for score in scores if score.metric == metric)
    return View(wanted.checkpoint, wanted.predictor, convention, metric), facts


def _higher(facts: ScoreSummary | None, view: View) -> bool:
    """Whether more is better: as the run noted it; for runs that didn't, as the convention says."""
    if facts is None:
        return True
    if facts.higher is not None:
        return facts.higher
    from semibench.registry import registry

    convention = registry().get("conventions", str(view.convention)).resolve()
    return view.metric in convention.higher


def _predictors(members: Sequence[RunRecord], view: View) -> list[str]:
    """The predictors of a row that the view shows; the first is the default."""
    known: dict[str, None] = {}
    for record in members:
        if record.counts:
            known.update(dict.fromkeys(score.predictor for score in record.scores))
    if not known:
        return [view.predictor or "–"] if view.predictor != "all" else ["–"]
    if view.predictor is None:
        return [next(iter(known))]
    if view.predictor == "all":
        return list(known)
    return [view.predictor] if view.predictor in known else []


def _rows(
    groups: Mapping[str, Sequence[RunRecord]], lines: Sequence[tuple[str, str]], names: Mapping[str, str], view: View,
    higher: bool,
) -> list[Row]:  # fmt: skip
    wanted: list[tuple[RunRecord, ScoreName]] = []
    counted: list[list[RunRecord]] = []
    for key, predictor in lines:
        name = ScoreName(view.checkpoint, predictor, str(view.convention), str(view.metric))
        scored = [record for record in groups[key] if record.counts and stored_mean(record.scores, name) is not None]
        counted.append(scored)
        wanted += [(record, name) for record in scored]
    loaded = iter(case_scores(wanted))
    several = Counter(key for key, _ in lines)
    made = []
    for (key, predictor), scored in zip(lines, counted, strict=True):
        tables = tuple(next(loaded) for _ in scored)
        shown = f"{names[key]} [{predictor}]" if several[key] > 1 else names[key]
        made.append(_row(key, shown, predictor, groups[key], scored, tables, view, higher))
    return made


def _row(
    key: str, name: str, predictor: str, runs: Sequence[RunRecord], counted: Sequence[RunRecord],
    tables: Sequence[CaseScores], view: View, higher: bool,
) -> Row:  # fmt: skip
    fresh = [record for record in runs if not record.stale]
    states = Counter(record.state for record in fresh)
    score = ScoreName(view.checkpoint, predictor, str(view.convention), str(view.metric))
    facts = [fact for record in counted if (fact := stored_mean(record.scores, score)) is not None]
    means = [math.nan if fact.mean is None else fact.mean for fact in facts]
    defined = [value for value in means if not math.isnan(value)]
    per_class = _per_class(facts)
    own_mean = any(fact.own_mean for fact in facts)
    resampled = resampled_means(tables) if tables and not own_mean else None
    span = interval(resampled) if resampled is not None else None
    ranked = [(label, value) for label, value in per_class.items() if not math.isnan(value)]
    worst = (min if higher else max)(ranked, key=lambda pair: pair[1]) if ranked else None
    devices = tuple(sorted({record.device for record in counted if record.device}))
    return Row(
        key=key, name=name, method=runs[0].method, backbone=runs[0].backbone, predictor=predictor,
        runs=tuple(fresh), counted=tuple(counted), means=tuple(means),
        mean=float(np.mean(defined)) if defined else None,
        std=float(np.std(defined, ddof=1)) if len(defined) > 1 else None,
        low=span[0] if span else None, high=span[1] if span else None,
        draws=len({record.replicate[0] for record in counted}), folds=len({record.replicate[1] for record in counted}),
        seeds=len({record.replicate[2] for record in counted}),
        worst=worst, per_class=per_class,
        empty_truth=sum(int(table.empty_truth.sum()) for table in tables),
        empty_prediction=sum(int(table.empty_prediction.sum()) for table in tables),
        undefined=sum(int(np.isnan(table.values).sum()) for table in tables),
        missing=sum(len(table.cases.missing) for table in tables), cases=sum(len(table.cases) for table in tables),
        parameters=_most(record.model.parameters for record in counted),
        inference_parameters=_most(record.model.inference_parameters for record in counted),
        gflops=_most(record.model.gflops for record in counted),
        training_seconds=_mean_of(record.training.seconds for record in counted),
        peak_memory_mb=_most(record.training.peak_memory_mb for record in counted),
        seconds_per_case=_mean_of(record.inference.seconds_per_case for record in counted),
        devices=devices, failed=states["failed"], running=states["running"], interrupted=states["interrupted"],
        stale=len(runs) - len(fresh), label_budget=max((r.label_budget for r in counted if r.label_budget), default=None),
        tuning=runs[0].tuning, study=next((record.study for record in runs if record.study), None),
        notes=tuple(row_notes(runs, fresh, counted, tables, devices)), scores=tuple(tables), resampled=resampled,
    )  # fmt: skip


def _per_class(facts: Sequence[ScoreSummary]) -> dict[str, float]:
    """Means over runs of the class means."""
    found: dict[str, list[float]] = {}
    for fact in facts:
        for label, value in fact.per_class.items():
            if value is not None:
                found.setdefault(label, []).append(value)
    return {label: float(np.mean(values)) for label, values in found.items()}


def _mean_of(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _most(values: Iterable[N | None]) -> N | None:
    return max((value for value in values if value is not None), default=None)


def board_differences(first: Board, second: Board) -> list[tuple[str, Any, Any]]:
    """What differs between the tracks and scores of two boards: (name, there, here)."""
    return differences(
        {**track_record(first.track), "score": vars(first.view)},
        {**track_record(second.track), "score": vars(second.view)},
    )
