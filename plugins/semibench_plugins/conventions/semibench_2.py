"""The harness's own convention with the surface Dice."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from semibench import Convention, Inference, Metric
from semibench.blocks import OVERLAPS, UNITS, class_metrics, declared_metrics, surface_dice
from semibench_plugins.conventions.cards import SEMIBENCH_2

if TYPE_CHECKING:
    import numpy as np

TOLERANCE = 2.0
"""Distance up to which two surfaces agree, in mm and in voxels."""

SHARE = Metric(higher=True, low=0.0, high=1.0)
NAMES: Mapping[str, Metric] = {"nsd_2mm": SHARE, "nsd_2voxel": SHARE}
STANDARD = (*OVERLAPS, *UNITS)


class Semibench2(Convention):
    """Scores as `semibench-1`, and adds the surface Dice, also called NSD, for each class on the native grid: the share of the
    surface voxels of prediction and reference that lie within 2 mm (`nsd_2mm`) or 2 voxels (`nsd_2voxel`) of the other surface.

    As the other overlaps, NSD is 1 if both masks are empty and 0 if only one is. In mm it is NaN if the spacing is unknown; NaN
    values are counted and left out of means. Surfaces and distances are those of HD95. All other metrics have the digits of
    `semibench-1`. Another tolerance is another convention: a subclass with its own card, `tolerance` and names.
    """

    card = SEMIBENCH_2
    inference = Inference()
    grid = "native"
    metrics: ClassVar[Mapping[str, Metric]] = {**declared_metrics(STANDARD), **NAMES}
    tolerance: ClassVar[float] = TOLERANCE

    def score(
        self, prediction: np.ndarray, truth: np.ndarray, spacing: tuple[float, ...] | None, classes: int
    ) -> Mapping[int, Mapping[str, float]]:
        """See `Convention.score`."""
        table = class_metrics(prediction, truth, classes, spacing, STANDARD)
        for index, values in table.items():
            mask, reference = prediction == index, truth == index
            in_mm = math.nan if spacing is None else surface_dice(mask, reference, spacing, self.tolerance)
            in_voxels = surface_dice(mask, reference, None, self.tolerance)
            values.update(zip(tuple(self.metrics)[len(STANDARD) :], (in_mm, in_voxels), strict=True))
        return table
