"""Scores as in SSL4MIS's validation on slices (HiLab-git/SSL4MIS, code/val_2D.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from semibench import Convention, Inference, Metric
from semibench.blocks import declared_metrics
from semibench_plugins.conventions.cards import SSL4MIS
from semibench_plugins.conventions.voxel_scores import score_in_voxels

if TYPE_CHECKING:
    import numpy as np


class Ssl4mis(Convention):
    """Scores each volume and class, with a 2D network. Each slice is zoomed to the patch with scipy's nearest neighbour, the
    label map is zoomed back the same way, the slices are stacked, and medpy's Dice and HD95 are computed on the volume.

    Published quirks, reproduced: spacing is ignored, so HD95 is in voxels and a step between slices counts as much as one in
    plane; **an empty prediction scores (0, 0)**, whatever the reference, and an HD95 of 0 improves the mean. If only the
    reference is empty, the code crashes in medpy; here Dice is 0 and HD95 is NaN, which is counted.

    The grid is the data set's working grid (SSL4MIS's files keep the native in-plane size).
    """

    card = SSL4MIS
    inference = Inference(mode="slices", resize="nearest")
    grid = "working"
    metrics: ClassVar[Mapping[str, Metric]] = declared_metrics(("dice", "hd95_voxel"))

    def score(
        self, prediction: np.ndarray, truth: np.ndarray, spacing: tuple[float, ...] | None, classes: int
    ) -> Mapping[int, Mapping[str, float]]:
        """See `Convention.score`. The spacing is ignored."""
        return score_in_voxels(prediction, truth, classes, tuple(self.metrics))
