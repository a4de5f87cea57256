"""Bootstrap over cases, clustered by group: groups (patients) are resampled with replacement, each with all of its cases.

All rows of a board use the same resamples, so that their resampled means are paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from semibench_leaderboards.reading.cases import CaseScores, nan_mean

RESAMPLES = 2000
SEED = 20230509
LEVEL = 0.95
"""Share of the resampled values that an interval covers."""


@lru_cache(maxsize=64)
def group_counts(groups: int, resamples: int = RESAMPLES, seed: int = SEED) -> NDArray[np.float64]:
    """How often each of G groups occurs in each of B resamples, (B, G). Deterministic."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(groups, np.full(groups, 1.0 / groups), size=resamples).astype(np.float64)


def groups_of(runs: Sequence[CaseScores]) -> tuple[str, ...]:
    """All groups among the test cases of the runs, sorted."""
    return tuple(sorted({group for run in runs for group in run.cases.groups}))


def resampled_means(
    runs: Sequence[CaseScores], groups: Sequence[str] | None = None, *, resamples: int = RESAMPLES, seed: int = SEED
) -> NDArray[np.float64]:
    """The mean of a row (over cases, then classes, then runs) in each of B resamples of groups.

    Args:
        runs: tables of one row, over draws, folds and seeds.
        groups: the groups to resample (default: those of the runs). A case counts as often as its group was drawn.
        resamples: B.
        seed: of the resamples.

    Returns:
        Means, (B,); NaN where a resample has no defined value.
    """
    names = tuple(groups) if groups is not None else groups_of(runs)
    counts = group_counts(len(names), resamples, seed)
    position = {name: number for number, name in enumerate(names)}
    weights: dict[str, NDArray[np.float64]] = {}
    means = []
    for run in runs:
        digest = run.cases.digest
        if digest not in weights:
            weights[digest] = counts[:, [position[group] for group in run.cases.groups]]
        defined = ~np.isnan(run.values)
        total = weights[digest] @ np.where(defined, run.values, 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            by_class = total / (weights[digest] @ defined.astype(np.float64))
        means.append(nan_mean(by_class, axis=1))
    return nan_mean(np.stack(means, axis=1), axis=1)


def interval(resampled: NDArray[np.float64], level: float = LEVEL) -> tuple[float, float] | None:
    """Percentile interval of resampled values; None where fewer than half of the values are defined."""
    defined = resampled[~np.isnan(resampled)]
    if len(defined) < max(2, len(resampled) / 2):
        return None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
