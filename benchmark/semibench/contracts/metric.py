"""What a metric and a convention are: how predictions are made and become numbers. Light: torch and numpy only by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from semibench.contracts.cards import ConventionCard
from semibench.contracts.identity import Frozen

if TYPE_CHECKING:
    import numpy as np


class Inference(Frozen):
    """How a network is applied to a case; conventions with equal inference share one prediction.

    mode: "whole" resizes nothing and pads to the divisor; "slices" for 2D networks on volumes; "window" slides.
    "auto": whole for 2D cases, slices for 2D networks on volumes, window for 3D networks.
    stride: of the window, in voxels, or overlap: as a share of the patch. blend: "constant" or "gaussian".
    flips: average over axis flips. resize: how a case or slice is brought to the patch in-plane and the result back
    ("linear": image and probabilities; "nearest": image and label map).
    """

    mode: Literal["auto", "whole", "slices", "window"] = "auto"
    overlap: float = 0.5
    stride: tuple[int, ...] | None = None
    blend: Literal["constant", "gaussian"] = "gaussian"
    flips: bool = False
    resize: Literal["linear", "nearest"] = "linear"


class Convention(ABC):
    """A named, versioned way to score. A plugin sets the class attributes and writes `score`.

    grid: "native" scores on the grid of the files, "working" on the data set's working grid. metrics: names of what
    `score` returns; higher: the metrics for which more is better; main: the metric boards sort by.
    largest_component: keep the largest component of each class before scoring.
    """

    card: ClassVar[ConventionCard]
    inference: ClassVar[Inference] = Inference()
    grid: ClassVar[Literal["native", "working"]] = "native"
    metrics: ClassVar[tuple[str, ...]]
    higher: ClassVar[frozenset[str]] = frozenset({"dice", "iou", "precision", "recall", "f1", "accuracy"})
    main: ClassVar[str] = "dice"
    units: ClassVar[Mapping[str, str]] = {}
    largest_component: ClassVar[bool] = False

    @abstractmethod
    def score(
        self, prediction: np.ndarray, truth: np.ndarray, spacing: tuple[float, ...] | None, classes: int
    ) -> Mapping[int, Mapping[str, float]]:
        """Per foreground class (1..classes-1): metric -> value, NaN where undefined. prediction, truth: integer label maps
        (*spatial) on this convention's grid; spacing in mm, or None (then mm metrics are NaN)."""

    def aggregate(self, values: Any) -> Any:
        """Mean over cases of one metric's values; default: NaN are left out and counted elsewhere."""
        import numpy as np

        array = np.asarray(values, dtype=float)
        return float(np.nanmean(array)) if np.isfinite(array).any() else float("nan")
