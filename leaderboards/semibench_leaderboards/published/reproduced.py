"""A number of a finished run under some convention, from the records under "scores" of its result.json."""

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
    """The mean over cases of a metric (of one class where group isn't "mean"), None where the run has no such number.

    convention: short or full name; predictor: None takes the method's default one, which stands first."""
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
    """A number of the harness (overlaps in 0..1, distances as scored) in the unit a published value is printed in."""
    return number * 100 if value.unit == "percent" else number
