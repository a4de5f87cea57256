"""Scores as in the left-atrium literature since UA-MT (test_3D scripts of UA-MT, SSL4MIS, MC-Net, CAML and others)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from semibench import Convention, Inference, Metric
from semibench.blocks import declared_metrics
from semibench_plugins.conventions.voxel_scores import score_in_voxels
from semibench_plugins.datasets.heart.cards import LA_SLIDING

if TYPE_CHECKING:
    import numpy as np


class LaSliding(Convention):
    """Predicts with a sliding window of the size of the patch and a stride of 18, 18, 4. The softmax outputs of the windows are
    averaged before the argmax.

    Windows begin at min(i * stride, size - patch), i < ceil((size - patch) / stride) + 1; a volume smaller than the
    patch is padded with 0 on both sides. Dice, Jaccard (`iou`), HD95 and ASD are those of medpy on the working grid (the
    preprocessed volumes); ASD is directed from the prediction to the reference.

    Published quirks, reproduced: spacing is ignored, so distances are in voxels (.625 mm in LA); **an empty prediction scores
    0 in all four, and an HD95 and ASD of 0 improve the mean**. If only the reference is empty, the scripts crash in medpy;
    here Dice and Jaccard are 0 and the distances are NaN, which is counted. The largest component isn't selected (most
    scripts don't either).
    """

    card = LA_SLIDING
    inference = Inference(mode="window", stride=(18, 18, 4), blend="constant")
    grid = "working"
    metrics: ClassVar[Mapping[str, Metric]] = declared_metrics(("dice", "iou", "hd95_voxel", "asd_voxel"))

    def score(
        self, prediction: np.ndarray, truth: np.ndarray, spacing: tuple[float, ...] | None, classes: int
    ) -> Mapping[int, Mapping[str, float]]:
        """See `Convention.score`. The spacing is ignored."""
        return score_in_voxels(prediction, truth, classes, tuple(self.metrics))
