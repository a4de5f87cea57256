"""Direction, unit and range of the standard metrics, for the declaration of a convention."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from semibench.blocks.metrics import OVERLAPS, UNITS
from semibench.contracts.metric import Metric

SHARE = Metric(higher=True, low=0.0, high=1.0)
"""An overlap: more is better, 0 to 1."""

STANDARD: Mapping[str, Metric] = {
    **dict.fromkeys((*OVERLAPS, "accuracy"), SHARE),
    **{name: Metric(higher=False, unit=unit) for name, unit in UNITS.items()},
}
"""Name of each metric of `class_metrics` -> its declaration."""


def declared_metrics(names: Iterable[str]) -> dict[str, Metric]:
    """Declares standard metrics: overlaps (more is better, 0 to 1) and surface distances (less is better, in mm or voxels).

    Args:
        names: of metrics of `class_metrics`, in the order of tables.

    Returns:
        Name to declaration, as `Convention.metrics` takes it.

    Raises:
        ValueError: if a name is unknown.

    Examples:
        >>> declared_metrics(["dice", "hd95_mm"])["hd95_mm"].direction
        'less is better'
    """
    wanted = list(names)
    unknown = [name for name in wanted if name not in STANDARD]
    if unknown:
        raise ValueError(f"no standard metric is called {unknown[0]!r}; known: {', '.join(STANDARD)}")
    return {name: STANDARD[name] for name in wanted}
