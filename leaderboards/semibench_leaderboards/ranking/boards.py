"""Boards: the rows of a track seen through one score, with everything that is needed to trust or doubt them.

for board in boards(read_runs(Path("runs"), dataset="tus")):
    for row in board.rows: ...
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from semibench.contracts.errors import UnknownNameError
from semibench.contracts.identity import Score, Track
from semibench_leaderboards.ranking.doubts import board_warnings, row_notes
from semibench_leaderboards.ranking.resampling import interval, resampled_means
from semibench_leaderboards.ranking.rows import Row, RowCosts, RowDoubts, RowIdentity, RowStates, RowStatistics
from semibench_leaderboards.reading.cases import CaseScores, ScoredMetric, case_scores, stored_mean
from semibench_leaderboards.reading.differences import differences, tell_apart, track_record
from semibench_leaderboards.reading.records import RunRecord, by_row

__all__ = ["FEWEST", "Board", "ScoreRequest", "board_differences", "boards", "track_title"]

FEWEST = 3
"""Replicates that a row needs to be ranked."""


@dataclass(frozen=True)
class ScoreRequest:
    """Which score a reader asks for. Each board replaces a field that is None with what its runs have."""

    checkpoint: Literal["last", "best"] = "last"
    predictor: str | None = None
    """None: each method's default one. "all": every predictor as a row of its own."""
    convention: str | None = None
    """None: semibench-1 where the runs were scored so, else the convention that most of them have."""
    metric: str | None = None
    """None: the main metric of the convention."""


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
    def score_record(self) -> dict[str, Any]:
        """The score and the metric as plain values."""
        return self.score.model_dump() | {"metric": self.metric}


def boards(records: Iterable[RunRecord], request: ScoreRequest | None = None) -> list[Board]:
    """One board for each track among the runs, by title.

    Reads per-case scores of finished runs. Raises UnknownNameError for a convention, metric or predictor that no run of a
    track has (where several tracks are asked for: that none has), CasesError for tables that contradict themselves.
    """
    wanted = request or ScoreRequest()
    tracks: dict[str, list[RunRecord]] = {}
    for record in records:
        tracks.setdefault(record.track, []).append(record)
    made, unknown = [], []
    for runs in tracks.values():
        try:
            made.append(_board(runs, wanted))
        except UnknownNameError as error:
            unknown.append(error)
    if unknown and not any(row.n for board in made for row in board.rows):
        raise unknown[0]
    return sorted(made, key=lambda board: board.title)


def track_title(track: Track, phantom: bool, recipe: str) -> str:
    """ "tus (phantom) · self · quick · 3fa94b12"."""
    parts = [f"{track.dataset.short} (phantom)" if phantom else track.dataset.short, track.protocol.short, recipe]
    if track.tuning != "default":
        parts.append(f"tuned {track.tuning}")
    return " · ".join([*parts, track.digest()[:8]])


def _board(runs: Sequence[RunRecord], request: ScoreRequest) -> Board:
    first = runs[0]
    shown, facts = _resolve(runs, request)
    groups = by_row(runs)
    names = tell_apart({key: members[0].spec.entry for key, members in groups.items()})
    lines = [(key, predictor) for key, members in groups.items() for predictor in _predictors(members, shown.score)]
    higher = _higher(facts, shown)
    rows = _rows(groups, lines, names, shown, higher)
    track = first.spec.track
    recipe = track.recipe if isinstance(track.recipe, str) else first.recipe
    return Board(
        track=track,
        digest=first.track,
        title=track_title(track, first.phantom, recipe),
        phantom=first.phantom,
        recipe=recipe,
        score=shown.score,
        metric=shown.metric,
        higher=higher,
        unit=str(facts.get("unit", "")),
        rows=tuple(sorted(rows, key=lambda row: _order(row, higher))),
        warnings=tuple(board_warnings(runs, rows)),
    )


def _order(row: Row, higher: bool) -> tuple[Any, ...]:
    if row.statistics.mean is None or math.isnan(row.statistics.mean):
        return (1, 0.0, row.name)
    return (0, -row.statistics.mean if higher else row.statistics.mean, row.name)


def _resolve(runs: Sequence[RunRecord], request: ScoreRequest) -> tuple[ScoredMetric, Mapping[str, Any]]:
    """The score and metric with nothing left open, and the summary record of one run that has them."""
    scores = [score for record in runs if record.counts for score in record.scores]
    if not scores:
        score = Score(checkpoint=request.checkpoint, predictor=request.predictor, convention=request.convention or "–")
        return ScoredMetric(score, request.metric or "–"), {}
    conventions = Counter(str(score["convention"]) for score in scores)
    convention = request.convention
    if convention is None:
        convention = (
            "semibench-1"
            if "semibench-1" in conventions
            else min(conventions, key=lambda name: (-conventions[name], name))
        )
    convention = convention.split(":", 1)[-1]
    if convention not in conventions:
        raise UnknownNameError("convention among the scores of these runs", convention, conventions)
    scores = [score for score in scores if score["convention"] == convention]
    metrics = dict.fromkeys(str(score["metric"]) for score in scores)
    metric = request.metric or next(
        (str(score["metric"]) for score in scores if score.get("main")), next(iter(metrics))
    )
    if metric not in metrics:
        raise UnknownNameError(f"metric of convention {convention!r} in these runs", metric, metrics)
    predictors = {str(score["predictor"]) for score in scores}
    if request.predictor not in (None, "all", *predictors):
        raise UnknownNameError("predictor among the scores of these runs", str(request.predictor), predictors)
    facts = next(score for score in scores if score["metric"] == metric)
    score = Score(checkpoint=request.checkpoint, predictor=request.predictor, convention=convention)
    return ScoredMetric(score, metric), facts


def _higher(facts: Mapping[str, Any], shown: ScoredMetric) -> bool:
    """Whether more is better: as the run noted it; for runs that didn't, as the convention says."""
    if "higher" in facts or not facts:
        return bool(facts.get("higher", True))
    from semibench.registry import registry

    convention = registry().get("conventions", shown.score.convention).resolve()
    return shown.metric in convention.higher


def _predictors(members: Sequence[RunRecord], score: Score) -> list[str]:
    """The predictors of a row that the score shows; the first is the default."""
    known: dict[str, None] = {}
    for record in members:
        if record.counts:
            known.update(dict.fromkeys(str(score["predictor"]) for score in record.scores))
    if not known:
        return [score.predictor or "–"] if score.predictor != "all" else ["–"]
    if score.predictor is None:
        return [next(iter(known))]
    if score.predictor == "all":
        return list(known)
    return [score.predictor] if score.predictor in known else []


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


def _row(
    key: str, name: str, runs: Sequence[RunRecord], counted: Sequence[RunRecord], tables: Sequence[CaseScores],
    metric: ScoredMetric, higher: bool,
) -> Row:  # fmt: skip
    first = runs[0]
    current = [record for record in runs if not record.stale]
    states = Counter(record.state for record in current)
    facts = [fact for record in counted if (fact := stored_mean(record.scores, metric)) is not None]
    own_mean = any(fact.get("own_mean") for fact in facts)
    resampled = resampled_means(tables) if tables and not own_mean else None
    costs = _costs(counted)
    return Row(
        identity=RowIdentity(
            key, name, first.method, first.backbone, str(metric.score.predictor), first.tuning,
            next((record.study for record in runs if record.study), None),
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
            notes=tuple(row_notes(runs, current, counted, tables, costs.devices)),
        ),
        scores=tuple(tables),
        resampled=resampled,
    )  # fmt: skip


def _statistics(
    facts: Sequence[Mapping[str, Any]], counted: Sequence[RunRecord], tables: Sequence[CaseScores],
    resampled: NDArray[np.float64] | None, higher: bool,
) -> RowStatistics:  # fmt: skip
    means = [float(fact["mean"]) if fact["mean"] is not None else math.nan for fact in facts]
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
        parameters=_most(counted, "model", "parameters", int),
        inference_parameters=_most(counted, "model", "inference_parameters", int),
        gflops=_most(counted, "model", "gflops", float),
        training_seconds=_mean_of(counted, "training", "seconds"),
        peak_memory_mb=_most(counted, "training", "peak_memory_mb", float),
        seconds_per_case=_mean_of(counted, "inference", "seconds_per_case"),
        devices=tuple(sorted({record.device for record in counted if record.device})),
        label_budget=max((record.label_budget for record in counted if record.label_budget), default=None),
    )


def _per_class(facts: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Means over runs of the class means."""
    found: dict[str, list[float]] = {}
    for fact in facts:
        for label, value in (fact.get("per_class") or {}).items():
            if value is not None and not math.isnan(float(value)):
                found.setdefault(str(label), []).append(float(value))
    return {label: float(np.mean(values)) for label, values in found.items()}


def _figures(runs: Sequence[RunRecord], part: str, name: str) -> list[float]:
    values = [getattr(record, part).get(name) for record in runs]
    return [float(value) for value in values if isinstance(value, int | float) and not math.isnan(value)]


def _mean_of(runs: Sequence[RunRecord], part: str, name: str) -> float | None:
    values = _figures(runs, part, name)
    return float(np.mean(values)) if values else None


def _most(runs: Sequence[RunRecord], part: str, name: str, kind: type) -> Any:
    values = _figures(runs, part, name)
    return kind(max(values)) if values else None


def board_differences(first: Board, second: Board) -> list[tuple[str, Any, Any]]:
    """What differs between the tracks and scores of two boards: (name, there, here)."""
    return differences(
        {**track_record(first.track), "score": first.score_record},
        {**track_record(second.track), "score": second.score_record},
    )
