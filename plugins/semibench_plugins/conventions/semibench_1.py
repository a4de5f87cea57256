"""The harness's own convention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from semibench import Convention, Inference, Metric
from semibench.blocks import OVERLAPS, UNITS, class_metrics, declared_metrics
from semibench_plugins.conventions.cards import SEMIBENCH_1

if TYPE_CHECKING:
    import numpy as np


class Semibench1(Convention):
    """Scores on the native grid. Predicts whole images in 2D, volumes slice by slice with 2D networks, and with a sliding
    window (half overlap, Gaussian weights) in 3D.

    The overlap of two empty masks is 1, and 0 if only one is empty. Distances are NaN if a mask is empty; those in mm also if
    the spacing is unknown. NaN values are counted and left out of means. Distances follow medpy 0.5: HD95 pools both
    directions, ASD goes from the prediction to the reference, ASSD pools both.
    """

    card = SEMIBENCH_1
    inference = Inference()
    grid = "native"
    metrics: ClassVar[Mapping[str, Metric]] = declared_metrics((*OVERLAPS, *UNITS))

    def score(
        self, prediction: np.ndarray, truth: np.ndarray, spacing: tuple[float, ...] | None, classes: int
    ) -> Mapping[int, Mapping[str, float]]:
        """See `Convention.score`."""
        return class_metrics(prediction, truth, classes, spacing, tuple(Semibench1.metrics))
