"""The contract of a convention: how predictions are made and scored. Does not import torch or numpy."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from semibench.contracts.cards import ConventionCard
from semibench.contracts.identity import Frozen

if TYPE_CHECKING:
    import numpy as np


class Inference(Frozen):
    """How a network is applied to a case. Conventions with equal inference share one prediction."""

    mode: Literal["auto", "whole", "slices", "window"] = "auto"
    """Mode of inference. "whole" does not resize, and pads to the backbone's divisor; "slices" is for 2D networks on volumes;
    "window" slides. "auto" is whole for 2D cases, slices for 2D networks on volumes, and window for 3D networks."""
    overlap: float = 0.5
    """Overlap of neighbouring windows, as a share of the patch; `stride` overrides it."""
    stride: tuple[int, ...] | None = None
    """Stride of the window for each axis, in voxels."""
    blend: Literal["constant", "gaussian"] = "gaussian"
    """Weight of a window's voxels where windows overlap."""
    flips: bool = False
    """Average over axis flips."""
    resize: Literal["linear", "nearest"] = "linear"
    """How a case or slice is resized in-plane to the patch, and the result back: "linear" resizes image and probabilities,
    "nearest" image and label map."""


@dataclass(frozen=True)
class Metric:
    """What readers must know of a metric. Boards, statistics and plots use it; nothing is guessed from a name."""

    higher: bool
    """Whether more is better."""
    unit: str = ""
    """Unit, e.g. "mm"; empty for a pure number."""
    low: float = 0.0
    """Smallest possible value."""
    high: float = math.inf
    """Largest possible value."""

    def __post_init__(self) -> None:
        if not isinstance(self.higher, bool):
            raise TypeError(f"Metric(higher=...) is True where more is better, else False; found {self.higher!r}")
        if not self.low < self.high:
            raise ValueError(f"Metric: expected low < high, found {self.low!r} and {self.high!r}")

    @property
    def range(self) -> str:
        """The possible values: "0 to 1", "0 or more"."""
        if math.isinf(self.high):
            return "any" if math.isinf(self.low) else f"{self.low:g} or more"
        return f"{self.high:g} or less" if math.isinf(self.low) else f"{self.low:g} to {self.high:g}"

    @property
    def direction(self) -> str:
        """Which values are better, in words."""
        return "more is better" if self.higher else "less is better"


class Convention(ABC):
    """A named, versioned way to score. A plugin sets the class attributes and writes `score`."""

    card: ClassVar[ConventionCard]
    """The card that the hook returns."""
    inference: ClassVar[Inference] = Inference()
    """How the network is applied to a case."""
    grid: ClassVar[Literal["native", "working"]] = "native"
    """Where cases are scored: "native" scores on the grid of the files, "working" on the data set's working grid."""
    metrics: ClassVar[Mapping[str, Metric]]
    """The metrics that `score` returns, by name: direction, unit and range of each. `semibench.blocks.declared_metrics` declares
    the standard ones."""
    main: ClassVar[str] = "dice"
    """The metric that boards sort by."""
    largest_component: ClassVar[bool] = False
    """Keep only the largest component of each class before scoring."""

    @abstractmethod
    def score(
        self, prediction: np.ndarray, truth: np.ndarray, spacing: tuple[float, ...] | None, classes: int
    ) -> Mapping[int, Mapping[str, float]]:
        """Score one case.

        Args:
            prediction: integer label map (*spatial) on this convention's grid.
            truth: the reference, of the same shape.
            spacing: voxel size in mm, or None; metrics in mm are then NaN.
            classes: number of classes, background included.

        Returns:
            For each foreground class (1..classes-1): metric -> value, NaN where it is undefined.
        """

    def aggregate(self, values: Any) -> Any:
        """Average one metric over cases. By default NaN values are left out; they are counted elsewhere.

        Args:
            values: one value for each case.
        """
        import numpy as np

        array = np.asarray(values, dtype=float)
        return float(np.nanmean(array)) if np.isfinite(array).any() else float("nan")


def undeclared(convention: type[Convention]) -> str | None:
    """Return what a convention's class must declare and doesn't, as a sentence that says what to write; None if nothing lacks."""
    example = 'metrics = {"nsd": Metric(higher=True, unit="", low=0, high=1), ...}'
    metrics = getattr(convention, "metrics", None)
    if not isinstance(metrics, Mapping) or not metrics:
        found = ", ".join(map(str, metrics)) if isinstance(metrics, tuple | list) else repr(metrics)
        return (
            "every metric must say whether more or less of it is better, its unit and its range; write "
            f"{example} with semibench.Metric; found only the names {found}"
        )
    wrong = [str(name) for name, metric in metrics.items() if not isinstance(metric, Metric)]
    if wrong:
        return f"the metrics {', '.join(wrong)} must be a semibench.Metric each, with direction, unit and range; write {example}"
    if convention.main not in metrics:
        return (
            f"main is {convention.main!r}, which isn't among its metrics: {', '.join(metrics)}; set main to one of them"
        )
    return None
