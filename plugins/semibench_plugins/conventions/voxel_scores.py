"""Scores in voxels with a quirk of several published codes: an empty prediction scores 0 in every metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from semibench.blocks import class_metrics

if TYPE_CHECKING:
    import numpy as np


def score_in_voxels(
    prediction: np.ndarray, truth: np.ndarray, classes: int, metrics: Sequence[str]
) -> Mapping[int, Mapping[str, float]]:
    """Computes the metrics of each foreground class without a spacing.

    Args:
        prediction: predicted classes, of any shape.
        truth: reference classes, of the same shape.
        classes: the number of classes, with the background.
        metrics: names of metrics of `class_metrics`.

    Returns:
        Class -> metric -> value; all values of a class that the prediction doesn't contain are 0, distances included.
    """
    table = class_metrics(prediction, truth, classes, None, metrics)
    for index, values in table.items():
        if not (prediction == index).any():
            values.update(dict.fromkeys(metrics, 0.0))
    return table
