"""Scores as in the released MGCC code (FengheTan9/Multi-Level-Global-Context-Cross-Consistency, src/utils/metrics.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from semibench import Convention, Inference, Metric
from semibench.blocks import declared_metrics
from semibench_plugins.conventions.cards import MGCC_2023

if TYPE_CHECKING:
    import numpy as np

SMOOTH = 1e-5
"""Added to the numerator and the denominator of the IoU."""

EPSILON = 1e-6
"""Added to the denominators of recall, precision and F1."""


class Mgcc2023(Convention):
    """Scores each image on the working grid (256 x 256 in the paper) for one foreground class at p > .5, and averages over
    images.

    P is the prediction, T the reference, and R what the code uses as the reference in recall, precision, F1 and accuracy:

    - IoU = (|P and T| + 1e-5) / (|P or T| + 1e-5);
    - recall = |P and R| / (|R| + 1e-6), precision = |P and R| / (|P| + 1e-6), F1 = 2 r p / (r + p + 1e-6),
      accuracy = share of pixels where P and R agree;
    - R is where T equals its own maximum. **Published quirk, reproduced: in an image without a lesion that maximum is the
      background, and R becomes the whole image.** If both are empty, IoU is 1 and recall, precision, F1 and accuracy are 0.
      A lesion predicted on 16 of 64 pixels of such an image has IoU 0, precision 1, recall .25 and F1 .4. So F1 is below IoU
      in tables of data with normal images.

    Further foreground classes (the code has one) are scored separately in the same way. p > .5 is the same rule as argmax over
    two classes: both assign ties to the background.
    """

    card = MGCC_2023
    inference = Inference(mode="whole")
    grid = "working"
    metrics: ClassVar[Mapping[str, Metric]] = declared_metrics(("iou", "f1", "recall", "precision", "accuracy"))
    main: ClassVar[str] = "iou"

    def score(
        self, prediction: np.ndarray, truth: np.ndarray, spacing: tuple[float, ...] | None, classes: int
    ) -> Mapping[int, Mapping[str, float]]:
        """See `Convention.score`. The spacing is ignored."""
        return {index: _values(prediction == index, truth == index) for index in range(1, classes)}


def _values(predicted: np.ndarray, lesion: np.ndarray) -> dict[str, float]:
    reference = lesion == lesion.max()
    hits = float((predicted & reference).sum())
    recall = hits / (float(reference.sum()) + EPSILON)
    precision = hits / (float(predicted.sum()) + EPSILON)
    common, either = float((predicted & lesion).sum()), float((predicted | lesion).sum())
    return {
        "iou": (common + SMOOTH) / (either + SMOOTH),
        "f1": 2 * recall * precision / (recall + precision + EPSILON),
        "recall": recall,
        "precision": precision,
        "accuracy": float((predicted == reference).mean()),
    }
