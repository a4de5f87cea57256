"""Whether more of a metric is better: as its convention declares, or as the run recorded where the convention isn't installed."""

from __future__ import annotations

from functools import cache

from semibench.contracts.errors import PluginError, SemibenchError
from semibench.discovery.registry import registry


def more_is_better(convention: str, metric: str, recorded: bool | None) -> bool:
    """Whether more of a metric is better.

    Args:
        convention: name of the convention.
        metric: name of the metric.
        recorded: what the run recorded.

    Raises:
        PluginError: neither the convention nor the run says it.
    """
    declared = direction(convention, metric, recorded)
    if declared is None:
        raise PluginError(
            f"whether more or less {metric} is better isn't known: convention {convention!r} isn't installed and the run recorded "
            "nothing; install the package of the convention, or name another one with --convention"
        )
    return declared


def direction(convention: str, metric: str, recorded: bool | None) -> bool | None:
    """The same as `more_is_better`, but None where neither says it."""
    return _declared(convention).get(metric, recorded)


@cache
def _declared(convention: str) -> dict[str, bool]:
    """Metric -> whether more is better; empty where the convention isn't installed or doesn't load."""
    try:
        cls = registry().get("conventions", convention).resolve()
    except SemibenchError:
        return {}
    return {name: metric.higher for name, metric in cls.metrics.items()}
