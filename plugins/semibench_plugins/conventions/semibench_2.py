"""The harness's own convention with the surface Dice."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel, Field

from semibench import Metric
from semibench.blocks import surface_dice
from semibench_plugins.conventions.cards import SEMIBENCH_2
from semibench_plugins.conventions.semibench_1 import Semibench1

if TYPE_CHECKING:
    import numpy as np


class SurfaceOptions(BaseModel, frozen=True, extra="forbid"):
    """Options of `semibench-2`."""

    tolerance: float = Field(
        2.0,
        gt=0,
        le=1000,
        allow_inf_nan=False,
        description="distance up to which two surfaces agree, in mm and in voxels",
    )


class Semibench2(Semibench1):
    """Scores as `semibench-1`, and adds the surface Dice, also called NSD, for each class on the native grid: the share of the
    surface voxels of prediction and reference that lie within 2 mm (`nsd_2mm`) or 2 voxels (`nsd_2voxel`) of the other surface.
    `semibench-2@tolerance=1` is the same with 1 mm and 1 voxel (`nsd_1mm`, `nsd_1voxel`).

    As the other overlaps, NSD is 1 if both masks are empty and 0 if only one is. In mm it is NaN if the spacing is unknown; NaN
    values are counted and left out of means. Surfaces and distances are those of HD95. All other metrics have the digits of
    `semibench-1`.
    """

    Options = SurfaceOptions
    card = SEMIBENCH_2
    options: ClassVar[SurfaceOptions] = SurfaceOptions()
    metrics: ClassVar[Mapping[str, Metric]] = {
        **Semibench1.metrics, "nsd_2mm": Semibench1.metrics["dice"], "nsd_2voxel": Semibench1.metrics["dice"],
    }  # fmt: skip

    def __init_subclass__(cls) -> None:
        """Names the metrics of a subclass after its tolerance."""
        super().__init_subclass__()
        names = [f"nsd_{cls.options.tolerance:.12g}{unit}" for unit in ("mm", "voxel")]
        cls.metrics = {**Semibench1.metrics, **dict.fromkeys(names, Semibench1.metrics["dice"])}

    def score(
        self, prediction: np.ndarray, truth: np.ndarray, spacing: tuple[float, ...] | None, classes: int
    ) -> Mapping[int, Mapping[str, float]]:
        """See `Convention.score`."""
        table = super().score(prediction, truth, spacing, classes)
        return {
            index: {**values, **self._nsd(prediction == index, truth == index, spacing)}
            for index, values in table.items()
        }

    def _nsd(self, mask: np.ndarray, reference: np.ndarray, spacing: tuple[float, ...] | None) -> Mapping[str, float]:
        tolerance = self.options.tolerance
        in_mm = math.nan if spacing is None else surface_dice(mask, reference, spacing, tolerance)
        in_voxels = surface_dice(mask, reference, None, tolerance)
        names = [name for name in self.metrics if name not in Semibench1.metrics]
        return dict(zip(names, (in_mm, in_voxels), strict=True))
