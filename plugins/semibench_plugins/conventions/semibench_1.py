"""The harness's own convention: what a number should mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from semibench import Convention, Inference
from semibench.blocks import OVERLAPS, UNITS, class_metrics
from semibench_plugins.conventions.cards import SEMIBENCH_1

if TYPE_CHECKING:
    import numpy as np


class Semibench1(Convention):
    """Native grid; whole images in 2D, slices for 2D networks on volumes, sliding window (half overlap, Gaussian) in 3D.

    Overlap of two empty masks is 1, of one empty mask 0. Distances are NaN where a mask is empty, those in mm also where
    the spacing is not known; NaN are left out of means and counted. Distances as in medpy 0.5: HD95 of both directions
    pooled, ASD from the prediction to the reference, ASSD of both pooled.
    """

    card = SEMIBENCH_1
    inference = Inference()
    grid = "native"
    metrics: ClassVar[tuple[str, ...]] = (*OVERLAPS, *UNITS)
    units: ClassVar[Mapping[str, str]] = UNITS

    def score(
        self, prediction: np.ndarray, truth: np.ndarray, spacing: tuple[float, ...] | None, classes: int
    ) -> Mapping[int, Mapping[str, float]]:
        """See `Convention.score`."""
        return class_metrics(prediction, truth, classes, spacing, self.metrics)
