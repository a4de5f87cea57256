"""The numbers of the left-atrium literature since UA-MT (test_3D scripts of UA-MT, SSL4MIS, MC-Net, CAML and others)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from semibench import Convention, Inference
from semibench.blocks import class_metrics
from semibench_plugins.datasets.heart.cards import LA_SLIDING

if TYPE_CHECKING:
    import numpy as np


class LaSliding(Convention):
    """Sliding window of the size of the patch with stride 18, 18, 4; softmax summed and divided by the count; argmax.

    Windows begin at min(i * stride, size - patch), i < ceil((size - patch) / stride) + 1; a volume smaller than the
    patch is padded with 0 on both sides. Dice, Jaccard (`iou`), HD95 and ASD as in medpy, ASD directed from the
    prediction to the reference, on the working grid (the preprocessed volumes).

    Published quirks, reproduced: no spacing, so distances are in voxels (.625 mm in LA); **an empty prediction gives 0 in
    all four, and HD95 and ASD of 0 improve the mean**. On an empty reference with a prediction the scripts stop in medpy;
    here Dice and Jaccard are 0 and the distances NaN, which is counted. No largest component (off in most scripts).
    """

    card = LA_SLIDING
    inference = Inference(mode="window", stride=(18, 18, 4), blend="constant")
    grid = "working"
    metrics: ClassVar[tuple[str, ...]] = ("dice", "iou", "hd95_voxel", "asd_voxel")
    units: ClassVar[Mapping[str, str]] = {"hd95_voxel": "voxel", "asd_voxel": "voxel"}

    def score(
        self, prediction: np.ndarray, truth: np.ndarray, spacing: tuple[float, ...] | None, classes: int
    ) -> Mapping[int, Mapping[str, float]]:
        """See `Convention.score`; the spacing is not used."""
        table = class_metrics(prediction, truth, classes, None, self.metrics)
        for index, values in table.items():
            if not (prediction == index).any():
                values.update(dict.fromkeys(self.metrics, 0.0))
        return table
