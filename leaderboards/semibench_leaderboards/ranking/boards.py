"""Boards: the rows of a track seen through one score, with everything a reader needs to judge them.

for board in boards(read_runs(Path("runs"), RunFilter(dataset="tus"))):
    for row in board.rows: ...
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from semibench.contracts.errors import SemibenchError, UnknownNameError
from semibench.contracts.identity import Score, Track
from semibench.discovery.registry import registry
from semibench.runfolder.records import ScoreSummary
from semibench_leaderboards.ranking.bounds import NO_LABEL_LEFT, bounds_by_family, family, fitting, role_of, roles
from semibench_leaderboards.ranking.doubts import board_warnings, row_notes
from semibench_leaderboards.ranking.resampling import interval, resampled_means
from semibench_leaderboards.ranking.rows import Role, Row, RowCosts, RowDoubts, RowIdentity, RowStates, RowStatistics
from semibench_leaderboards.ranking.score_request import ScoreRequest
from semibench_leaderboards.reading.cases import CaseScores, CasesError, ScoredMetric, case_scores, stored_mean
from semibench_leaderboards.reading.differences import differences, distinct_names, track_record
from semibench_leaderboards.reading.directions import more_is_better
from semibench_leaderboards.reading.installed_code import code_changes
from semibench_leaderboards.reading.records import RunRecord, by_row

__all__ = ["FEWEST", "Board", "board_differences", "boards"]

FEWEST = 3
"""Fewest replicates with which a row is ranked."""

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Board:
    """A track seen through one score."""

    track: Track
    digest: str
    """Digest of the track in full."""
    title: str
    phantom: bool
    recipe: str
    score: Score
    """Its predictor is None where each row shows its method's default, "all" where every predictor is a row."""
    metric: str
    higher: bool
    """Whether more is better."""
    unit: str
    rows: tuple[Row, ...]
    """Best first, those without a score last."""
    warnings: tuple[str, ...] = ()
    """What a reader must know: phantom data, changed code, different devices."""

    @property
    def own_rows(self) -> tuple[Row, ...]:
        """The rows of this track, without the bounds that another track lends."""
        return tuple(row for row in self.rows if not row.identity.borrowed)

    @property
    def score_record(self) -> dict[str, Any]:
        """The score and the metric as plain values."""
        return self.score.model_dump() | {"metric": self.metric}


def boards(
    records: Iterable[RunRecord], request: ScoreRequest | None = None, *, others: Iterable[RunRecord] = ()
) -> list[Board]:
    """One board for each track among the runs, ordered by title.

    Reads the per-case scores of finished runs. A run whose table of cases is damaged or contradicts its summary is left out;
    `left_out` names it. References with all labels are rows of the boards that have fewer labels and are the same otherwise. A
    track that has nothing but such references gets no board of its own, if each of them is shown on another one.

    Args:
        records: the runs of the tracks.
        request: which score; None: the default one.
        others: runs of further tracks, which may lend references with all labels.

    Raises:
        UnknownNameError: for a convention, metric or predictor that no run of any track has.
    """
    request = request or ScoreRequest()
    tracks: dict[str, list[RunRecord]] = {}
    for record in records:
        tracks.setdefault(record.track, []).append(record)
    every = {record.folder: record for runs in tracks.values() for record in runs}
    bounds = bounds_by_family({**every, **{record.folder: record for record in others}}.values())
    readable, unknown = [], []
    for track, runs in tracks.items():
        lent = [run for run in bounds.get(family(runs[0].spec.track), ()) if run.track != track]
        try:
            readable += _readable_board(runs, lent, request)
        except UnknownNameError as error:
            unknown.append(error)
    if unknown and not any(row.n for board in readable for row in board.rows):
        raise unknown[0]
    return sorted(_without_lenders(readable), key=lambda board: board.title)


def _without_lenders(every: Sequence[Board]) -> list[Board]:
    """The boards without those whose rows are all shown on boards with fewer labels."""
    lent = {row.key for board in every for row in board.rows if row.identity.borrowed}
    return [board for board in every if not all(row.key in lent for row in board.own_rows)]


def _readable_board(runs: Sequence[RunRecord], lent: Sequence[RunRecord], request: ScoreRequest) -> list[Board]:
    """The board of the runs whose cases can be read; empty where there is no such run."""
    while runs:
        try:
            return [_board(runs, lent, request)]
        except CasesError as error:
            runs, lent = ([record for record in some if record.folder not in error.faults] for some in (runs, lent))
    return []


def _board(runs: Sequence[RunRecord], lent: Sequence[RunRecord], request: ScoreRequest) -> Board:
    first = runs[0]
    shown, facts = _resolve(runs, request)
    higher = _higher(facts, shown)
    rows = _rows_of(by_row(runs), shown, higher)
    rows += fitting([row for row in _rows_of(by_row(lent), shown, higher, lent=True) if row.n], rows)
    track = first.spec.track
    recipe = track.recipe if isinstance(track.recipe, str) else first.recipe
    return Board(
        track=track,
        digest=first.track,
        title=track.title,
        phantom=first.phantom,
        recipe=recipe,
        score=shown.score,
        metric=shown.metric,
        higher=higher,
        unit=facts.unit if facts is not None else "",
        rows=tuple(sorted(rows, key=lambda row: _order(row, higher))),
        warnings=tuple(board_warnings(runs, [row for row in rows if not row.identity.borrowed])),
    )


def _rows_of(
    groups: Mapping[str, Sequence[RunRecord]], shown: ScoredMetric, higher: bool, *, lent: bool = False
) -> list[Row]:
    """The rows of some runs. lent: they are references with all labels, of another track."""
    by_method = roles()
    names = distinct_names(
        {key: members[0].spec.entry for key, members in groups.items()},
        {key: _newest(members).code for key, members in groups.items()},
    )
    of: dict[str, Role] = {key: role_of(members[0].spec.entry, by_method) for key, members in groups.items()}
    if lent:
        names, of = (
            {key: f"{name} (all labels)" for key, name in names.items()},
            {key: NO_LABEL_LEFT[role] for key, role in of.items()},
        )
    lines = [
        (key, predictor)
        for key, members in groups.items()
        for predictor in _predictors(members, shown.score, reference=of[key] not in ("", "control"))
    ]
    rows = _rows(groups, lines, names, shown, higher)
    return [replace(row, identity=replace(row.identity, role=of[row.key], borrowed=lent)) for row in rows]


def _order(row: Row, higher: bool) -> tuple[Any, ...]:
    if row.statistics.mean is None or math.isnan(row.statistics.mean):
        return (1, 0.0, row.name)
    return (0, -row.statistics.mean if higher else row.statistics.mean, row.name)


def _resolve(runs: Sequence[RunRecord], request: ScoreRequest) -> tuple[ScoredMetric, ScoreSummary | None]:
    """The score and metric with nothing left open, and the summary of one run that has them."""
    summaries = [summary for record in runs if record.counts for summary in record.scores]
    if not summaries:
        score = Score(checkpoint=request.checkpoint, predictor=request.predictor, convention=request.convention or "–")
        return ScoredMetric(score, request.metric or "–"), None
    conventions = Counter(summary.convention for summary in summaries)
    convention = request.convention
    if convention is None:
        convention = (
            "semibench-1"
            if "semibench-1" in conventions
            else min(conventions, key=lambda name: (-conventions[name], name))
        )
    convention = _as_recorded(convention, conventions)
    if convention not in conventions:
        raise UnknownNameError("convention among the scores of these runs", convention, conventions)
    summaries = [summary for summary in summaries if summary.convention == convention]
    metrics = dict.fromkeys(summary.metric for summary in summaries)
    metric = request.metric or next((summary.metric for summary in summaries if summary.main), next(iter(metrics)))
    if metric not in metrics:
        raise UnknownNameError(f"metric of convention {convention!r} in these runs", metric, metrics)
    predictors = {summary.predictor for summary in summaries}
    if request.predictor not in (None, "all", *predictors):
        raise UnknownNameError("predictor among the scores of these runs", str(request.predictor), predictors)
    score = Score(checkpoint=request.checkpoint, predictor=request.predictor, convention=convention)
    return ScoredMetric(score, metric), next(summary for summary in summaries if summary.metric == metric)


def _as_recorded(name: str, known: Collection[str]) -> str:
    """The name by which runs know a convention that a user names in full, by its file, or with an option written otherwise."""
    if name in known:
        return name
    plugins = registry()
    try:
        return plugins.label(plugins.get("conventions", name))
    except SemibenchError:  # one that isn't installed
        return name.split(":", 1)[-1]


def _higher(facts: ScoreSummary | None, shown: ScoredMetric) -> bool:
    """Whether more is better; true for a board without scores."""
    return True if facts is None else more_is_better(facts.convention, shown.metric, facts.higher)


def _predictors(members: Sequence[RunRecord], score: Score, *, reference: bool) -> list[str]:
    """The predictors of a row that the score shows; the first is the default. A reference always shows its default one."""
    scored: dict[str, None] = {}
    for record in members:
        if record.counts:
            scored.update(dict.fromkeys(summary.predictor for summary in record.scores))
    if not scored:
        return [score.predictor or "–"] if score.predictor != "all" else ["–"]
    if score.predictor is None or reference:
        return [next(iter(scored))]
    if score.predictor == "all":
        return list(scored)
    return [score.predictor] if score.predictor in scored else []


def _rows(
    groups: Mapping[str, Sequence[RunRecord]], lines: Sequence[tuple[str, str]], names: Mapping[str, str],
    shown: ScoredMetric, higher: bool,
) -> list[Row]:  # fmt: skip
    """One row for each (digest, predictor) of `lines`; the tables of all rows are read at once."""
    wanted: list[tuple[RunRecord, ScoredMetric]] = []
    counted: list[list[RunRecord]] = []
    metrics = [_of_predictor(shown, predictor) for _, predictor in lines]
    for (key, _), metric in zip(lines, metrics, strict=True):
        scored = [record for record in groups[key] if record.counts and stored_mean(record.scores, metric) is not None]
        counted.append(scored)
        wanted += [(record, metric) for record in scored]
    loaded = iter(case_scores(wanted))
    repeated = Counter(key for key, _ in lines)
    rows = []
    for (key, predictor), metric, scored in zip(lines, metrics, counted, strict=True):
        tables = tuple(next(loaded) for _ in scored)
        name = f"{names[key]} [{predictor}]" if repeated[key] > 1 else names[key]
        rows.append(_row(key, name, groups[key], scored, tables, metric, higher))
    return rows


def _of_predictor(shown: ScoredMetric, predictor: str) -> ScoredMetric:
    return ScoredMetric(shown.score.model_copy(update={"predictor": predictor}), shown.metric)


def _newest(runs: Sequence[RunRecord]) -> RunRecord:
    """A run with the row's current code."""
    return next((record for record in runs if record.counts), runs[0])


def _row(
    key: str, name: str, runs: Sequence[RunRecord], counted: Sequence[RunRecord], tables: Sequence[CaseScores],
    metric: ScoredMetric, higher: bool,
) -> Row:  # fmt: skip
    first = runs[0]
    current = [record for record in runs if not record.stale]
    states = Counter(record.state for record in current)
    facts = [fact for record in counted if (fact := stored_mean(record.scores, metric)) is not None]
    own_mean = any(fact.own_mean for fact in facts)
    resampled = resampled_means(tables) if tables and not own_mean else None
    costs = _costs(counted)
    newest = _newest(runs)
    changes = code_changes(newest.provenance)
    return Row(
        identity=RowIdentity(
            key, name, first.method, first.backbone, str(metric.score.predictor), first.tuning,
            next((record.study for record in runs if record.study), None), newest.code,
        ),
        statistics=_statistics(facts, counted, tables, resampled, higher),
        costs=costs,
        states=RowStates(
            tuple(current), tuple(counted), failed=states["failed"], running=states["running"],
            interrupted=states["interrupted"], stale=len(runs) - len(current),
        ),
        doubts=RowDoubts(
            empty_truth=sum(int(table.empty_truth.sum()) for table in tables),
            empty_prediction=sum(int(table.empty_prediction.sum()) for table in tables),
            undefined=sum(int(np.isnan(table.values).sum()) for table in tables),
            missing=sum(len(table.cases.missing) for table in tables),
            notes=tuple(row_notes(runs, current, counted, tables, costs.devices, changes)),
            code_changes=changes,
        ),
        scores=tuple(tables),
        resampled=resampled,
    )  # fmt: skip


def _statistics(
    facts: Sequence[ScoreSummary], counted: Sequence[RunRecord], tables: Sequence[CaseScores],
    resampled: NDArray[np.float64] | None, higher: bool,
) -> RowStatistics:  # fmt: skip
    means = [math.nan if fact.mean is None else fact.mean for fact in facts]
    defined = [value for value in means if not math.isnan(value)]
    span = interval(resampled) if resampled is not None else None
    per_class = _per_class(facts)
    draws, folds, seeds = (len({record.replicate[axis] for record in counted}) for axis in range(3))
    return RowStatistics(
        means=tuple(means),
        mean=float(np.mean(defined)) if defined else None,
        std=float(np.std(defined, ddof=1)) if len(defined) > 1 else None,
        low=span[0] if span else None,
        high=span[1] if span else None,
        per_class=per_class,
        worst=_worst(per_class, higher),
        cases=sum(len(table.cases) for table in tables),
        draws=draws,
        folds=folds,
        seeds=seeds,
    )


def _worst(per_class: Mapping[str, float], higher: bool) -> tuple[str, float] | None:
    defined = [(name, value) for name, value in per_class.items() if not math.isnan(value)]
    return (min if higher else max)(defined, key=lambda pair: pair[1]) if defined else None


def _costs(counted: Sequence[RunRecord]) -> RowCosts:
    return RowCosts(
        parameters=_most(record.model.parameters for record in counted),
        inference_parameters=_most(record.model.inference_parameters for record in counted),
        gflops=_most(record.model.gflops for record in counted),
        training_seconds=_mean_of(record.training.seconds for record in counted),
        peak_memory_mb=_most(record.training.peak_memory_mb for record in counted),
        seconds_per_case=_mean_of(record.inference.seconds_per_case for record in counted),
        devices=tuple(sorted({record.device for record in counted if record.device})),
        label_budget=max((record.label_budget for record in counted if record.label_budget), default=None),
    )


def _per_class(facts: Sequence[ScoreSummary]) -> dict[str, float]:
    """Means over runs of the class means."""
    by_class: dict[str, list[float]] = {}
    for fact in facts:
        for name, value in fact.per_class.items():
            if value is not None:
                by_class.setdefault(name, []).append(value)
    return {name: float(np.mean(values)) for name, values in by_class.items()}


def _mean_of(values: Iterable[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def _most(values: Iterable[Number | None]) -> Number | None:
    return max((value for value in values if value is not None), default=None)


def board_differences(first: Board, second: Board) -> list[tuple[str, Any, Any]]:
    """What differs between the tracks and scores of two boards: (name, value of the first, value of the second)."""
    return differences(
        {**track_record(first.track), "score": first.score_record},
        {**track_record(second.track), "score": second.score_record},
    )
