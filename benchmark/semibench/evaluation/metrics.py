"""Metrics of one class in one case, with correct empties.

Overlap: both masks empty -> 1, one of them empty -> 0. Distances: NaN where either mask is empty, and NaN in mm where the
spacing is not known; a NaN is kept in the table and counted, never replaced.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semibench.evaluation.distances import EmptyMaskError, SurfaceDistances, measured

OVERLAPS = ("dice", "iou", "precision", "recall", "f1")
"""Metrics that `Overlap` gives by name ("accuracy" is another one)."""

DISTANCES = ("hd95", "asd", "assd")
"""Surface distances; in tables with their unit: "hd95_mm", "hd95_voxel" ..."""

UNITS: Mapping[str, str] = {f"{name}_{unit}": unit for name in DISTANCES for unit in ("mm", "voxel")}
"""Unit of each distance as it is called in tables."""


SMOOTHING = 2e-5
"""How far conventions that add 1e-5 to numerator and denominator may be from Dice = 2 IoU / (1 + IoU)."""


def violates_dice_of_iou(dice: NDArray[np.float64], iou: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where Dice = 2 IoU / (1 + IoU), which holds for any two masks, is violated; never where one of them is NaN.

    Args:
        dice, iou: of the same masks, (N,).
    """
    return np.abs(dice - 2 * iou / (1 + iou)) > SMOOTHING


@dataclass(frozen=True)
class Overlap:
    """Voxel counts of a predicted against a reference mask, and the ratios that follow from them."""

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    @property
    def prediction(self) -> int:
        """Voxels of the predicted mask."""
        return self.true_positive + self.false_positive

    @property
    def reference(self) -> int:
        """Voxels of the reference mask."""
        return self.true_positive + self.false_negative

    def dice(self) -> float:
        """2 |A and B| / (|A| + |B|)."""
        return self._ratio(2 * self.true_positive, self.prediction + self.reference)

    def iou(self) -> float:
        """|A and B| / |A or B| (Jaccard)."""
        return self._ratio(self.true_positive, self.prediction + self.false_negative)

    def precision(self) -> float:
        """Share of the prediction that is right."""
        return self._ratio(self.true_positive, self.prediction)

    def recall(self) -> float:
        """Share of the reference that is found."""
        return self._ratio(self.true_positive, self.reference)

    def f1(self) -> float:
        """Harmonic mean of precision and recall; for one mask this is Dice, also in the empty cases."""
        return self.dice()

    def accuracy(self) -> float:
        """Share of all voxels, background included, that are right."""
        total = self.prediction + self.false_negative + self.true_negative
        return (self.true_positive + self.true_negative) / total if total else math.nan

    def _ratio(self, part: int, whole: int) -> float:
        if self.prediction == 0 and self.reference == 0:
            return 1.0
        return part / whole if whole else 0.0


def overlap(prediction: NDArray[np.bool_], reference: NDArray[np.bool_]) -> Overlap:
    """Counts two masks (*spatial). Raises ValueError where their shapes differ."""
    if prediction.shape != reference.shape:
        raise ValueError(f"two masks of one shape expected; got {prediction.shape} and {reference.shape}")
    both = int(np.count_nonzero(prediction & reference))
    predicted, wanted = int(np.count_nonzero(prediction)), int(np.count_nonzero(reference))
    return Overlap(both, predicted - both, wanted - both, prediction.size - predicted - wanted + both)


def distances(
    prediction: NDArray[np.bool_], reference: NDArray[np.bool_], spacing: Sequence[float] | None, names: Iterable[str]
) -> dict[str, float]:
    """Surface distances of two masks (*spatial) by their names in tables ("hd95_mm", "asd_voxel" ...).

    spacing: mm along each axis, or None; then those in mm are NaN. All are NaN where a mask is empty.
    """
    wanted = list(names)
    unknown = [name for name in wanted if name not in UNITS]
    if unknown:
        raise ValueError(f"no surface distance is called {unknown[0]!r}; known: {', '.join(UNITS)}")
    units = {UNITS[name] for name in wanted} - ({"mm"} if spacing is None else set())
    found: dict[str, SurfaceDistances] = {}
    if units:
        order = sorted(units)
        try:
            each = measured(prediction, reference, [spacing if unit == "mm" else None for unit in order])
        except EmptyMaskError:
            each = []
        found = dict(zip(order, each, strict=False))
    values: dict[str, float] = {}
    for name in wanted:
        pair = found.get(UNITS[name])
        values[name] = math.nan if pair is None else getattr(pair, name.split("_")[0])()
    return values


def class_metrics(
    prediction: NDArray[np.integer],
    truth: NDArray[np.integer],
    classes: int,
    spacing: Sequence[float] | None,
    names: Sequence[str],
) -> dict[int, dict[str, float]]:
    """Metrics with correct empties for each foreground class of two label maps (*spatial).

    classes: K, the background included. names: of OVERLAPS, "accuracy", or of UNITS. Returns class (1..K-1) -> name ->
    value in the order of `names`.
    """
    apart = [name for name in names if name in UNITS]
    table: dict[int, dict[str, float]] = {}
    for index in range(1, classes):
        mask, reference = prediction == index, truth == index
        counts = overlap(mask, reference)
        values = distances(mask, reference, spacing, apart) if apart else {}
        table[index] = {name: values[name] if name in values else overlap_value(counts, name) for name in names}
    return table


def overlap_value(counts: Overlap, name: str) -> float:
    """One of OVERLAPS or "accuracy" by name; raises ValueError for another name."""
    if name not in (*OVERLAPS, "accuracy"):
        raise ValueError(f"no metric is called {name!r}; known: {', '.join((*OVERLAPS, 'accuracy', *UNITS))}")
    value: float = getattr(counts, name)()
    return value
