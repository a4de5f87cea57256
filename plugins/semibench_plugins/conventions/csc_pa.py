"""Scores of breast ultrasound as the released CSC-PA code (shdkdh/CSC-PA) computes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from semibench import Convention, Inference, Metric
from semibench.blocks import declared_metrics
from semibench_plugins.datasets.breast.cards import CSC_PA

if TYPE_CHECKING:
    import numpy as np

SMOOTH = 1e-5
"""Added to the numerator and the denominator of both metrics."""


class CscPa(Convention):
    """Scores each image on its native grid and averages over images. The image is resized to the patch (513 x 513 in the paper,
    without keeping the aspect ratio), and the result is resized back.

    Dice = (2 |P and T| + 1e-5) / (|P| + |T| + 1e-5) and IoU = (|P and T| + 1e-5) / (|P or T| + 1e-5), so both are 1 if both
    masks are empty, and nearly 0 if only one is. The code resizes logits with aligned corners; here probabilities are
    resized by voxel centres, which moves an outline by less than a pixel. The code selects its best epoch on the test fold,
    which never happens here. It ignores further masks of BUSI: set the data set option `first_mask_only` to do so.
    """

    card = CSC_PA
    inference = Inference(mode="whole")
    grid = "native"
    metrics: ClassVar[Mapping[str, Metric]] = declared_metrics(("dice", "iou"))

    def score(
        self, prediction: np.ndarray, truth: np.ndarray, spacing: tuple[float, ...] | None, classes: int
    ) -> Mapping[int, Mapping[str, float]]:
        """See `Convention.score`. The spacing is ignored."""
        return {index: _values(prediction == index, truth == index) for index in range(1, classes)}


def _values(predicted: np.ndarray, lesion: np.ndarray) -> dict[str, float]:
    common, both = float((predicted & lesion).sum()), float(predicted.sum()) + float(lesion.sum())
    return {
        "dice": (2 * common + SMOOTH) / (both + SMOOTH),
        "iou": (common + SMOOTH) / (both - common + SMOOTH),
    }
