"""Looks up numbers of finished runs in the score summaries of their result.json."""

from __future__ import annotations

from collections.abc import Iterable

from semibench.runfolder.records import ScoreSummary
from semibench_leaderboards.published.values import Value

MEAN = "mean"


def figure(
    scores: Iterable[ScoreSummary],
    metric: str,
    *,
    convention: str,
    checkpoint: str = "last",
    predictor: str | None = None,
    group: str = MEAN,
) -> float | None:
    """Mean over cases of a metric; None where the run has no such number.

    Args:
        scores: the score summaries of the run.
        metric: name of the metric.
        convention: short or full name.
        checkpoint: which weights.
        predictor: which network; None for the method's default, which is listed first.
        group: "mean", or the name of a class.
    """
    for score in scores:
        if score.checkpoint != checkpoint or score.metric != metric:
            continue
        if convention.split(":", 1)[-1] != score.convention:
            continue
        if predictor not in (None, score.predictor):
            continue
        return score.mean if group == MEAN else score.per_class.get(group)
    return None


def in_units_of(value: Value, number: float) -> float:
    """Converts a number of the harness (overlaps in 0..1, distances as scored) to the unit of a published value."""
    return number * 100 if value.unit == "percent" else number
