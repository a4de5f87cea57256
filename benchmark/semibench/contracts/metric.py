"""The contract of a convention: how predictions are made and scored. Does not import torch or numpy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
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


class Convention(ABC):
    """A named, versioned way to score. A plugin sets the class attributes and writes `score`."""

    card: ClassVar[ConventionCard]
    """The card that the hook returns."""
    inference: ClassVar[Inference] = Inference()
    """How the network is applied to a case."""
    grid: ClassVar[Literal["native", "working"]] = "native"
    """Where cases are scored: "native" scores on the grid of the files, "working" on the data set's working grid."""
    metrics: ClassVar[tuple[str, ...]]
    """Names of the metrics that `score` returns."""
    higher: ClassVar[frozenset[str]] = frozenset({"dice", "iou", "precision", "recall", "f1", "accuracy"})
    """The metrics for which more is better."""
    main: ClassVar[str] = "dice"
    """The metric that boards sort by."""
    units: ClassVar[Mapping[str, str]] = {}
    """Metric -> unit."""
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
