"""The numbers of the released CSC-PA code (shdkdh/CSC-PA) on breast ultrasound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from semibench import Convention, Inference
from semibench_plugins.datasets.breast.cards import CSC_PA

if TYPE_CHECKING:
    import numpy as np

SMOOTH = 1e-5
"""Added to numerator and denominator of both metrics."""


class CscPa(Convention):
    """Per image on the native grid: the image is resized to the patch (513 x 513 in the paper, aspect ratio not kept), the
    result back to the image's size; plain mean over images.

    Dice = (2 |P and T| + 1e-5) / (|P| + |T| + 1e-5), IoU = (|P and T| + 1e-5) / (|P or T| + 1e-5), so both are 1 where both
    masks are empty, and nearly 0 where one is. The code resizes logits with aligned corners; here probabilities are
    resized by voxel centres, which moves an outline by less than a pixel. The code's best epoch is chosen on the test
    fold; here never. BUSI's second masks are not read there: data set option `first_mask_only`.
    """

    card = CSC_PA
    inference = Inference(mode="whole")
    grid = "native"
    metrics: ClassVar[tuple[str, ...]] = ("dice", "iou")

    def score(
        self, prediction: np.ndarray, truth: np.ndarray, spacing: tuple[float, ...] | None, classes: int
    ) -> Mapping[int, Mapping[str, float]]:
        """See `Convention.score`; the spacing is not used."""
        return {index: _values(prediction == index, truth == index) for index in range(1, classes)}


def _values(predicted: np.ndarray, lesion: np.ndarray) -> dict[str, float]:
    common, both = float((predicted & lesion).sum()), float(predicted.sum()) + float(lesion.sum())
    return {
        "dice": (2 * common + SMOOTH) / (both + SMOOTH),
        "iou": (common + SMOOTH) / (both - common + SMOOTH),
    }
