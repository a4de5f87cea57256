"""How a study proposes values and stops unpromising trials: Optuna's samplers and pruners."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import optuna

    from semibench.tuning.spec import StudySpec


def sampler_of(spec: StudySpec, number: int) -> optuna.samplers.BaseSampler:
    """Return a new sampler for a trial, seeded by the trial's number.

    A continued study therefore does not repeat the same random numbers, and a study run by a single process always gives
    the same trials.
    """
    from optuna import samplers

    seed = spec.seed * 100003 + number
    match spec.sampler:
        case "tpe":
            return samplers.TPESampler(seed=seed, n_startup_trials=min(10, 2 * len(spec.space) + 2), constant_liar=True)
        case "cmaes":
            return samplers.CmaEsSampler(seed=seed)
        case "gp":
            return samplers.GPSampler(seed=seed)
        case "random" | "grid":  # the points of a grid are queued when the study is created
            return samplers.RandomSampler(seed=seed)


def pruner_of(spec: StudySpec) -> optuna.pruners.BasePruner:
    """Return the pruner of a study."""
    from optuna import pruners

    match spec.pruner:
        case "median":
            return pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=spec.iterations // 4)
        case "hyperband":
            return pruners.HyperbandPruner(min_resource=max(1, spec.iterations // 9), max_resource=spec.iterations)
        case "none":
            return pruners.NopPruner()
