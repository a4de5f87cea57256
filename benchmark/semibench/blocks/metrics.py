"""Metrics of one class in one case, with defined values for empty masks.

Overlap: both masks empty -> 1, one of them empty -> 0. Distances: NaN if either mask is empty, and NaN in mm if the
spacing is unknown. A NaN stays in the table and is counted, never replaced.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semibench.blocks.distances import EmptyMaskError, SurfaceDistances, measured

OVERLAPS = ("dice", "iou", "precision", "recall", "f1")
"""Names of the metrics of `Overlap`, without "accuracy"."""

DISTANCES = ("hd95", "asd", "assd")
"""Surface distances; in tables with their unit: "hd95_mm", "hd95_voxel" ..."""

UNITS: Mapping[str, str] = {f"{name}_{unit}": unit for name in DISTANCES for unit in ("mm", "voxel")}
"""Unit of each distance as it is called in tables."""


@dataclass(frozen=True)
class Overlap:
    """Voxel counts of a predicted and a reference mask, and the ratios that follow from them.

    A ratio is 1 if both masks are empty and 0 if one of them is.

    Args:
        true_positive: voxels in both masks.
        false_positive: voxels of the prediction only.
        false_negative: voxels of the reference only.
        true_negative: voxels of neither.

    Examples:
        >>> Overlap(true_positive=3, false_positive=1, false_negative=0, true_negative=4).iou()
        0.75
    """

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
        """Share of the reference that the prediction covers."""
        return self._ratio(self.true_positive, self.reference)

    def f1(self) -> float:
        """Harmonic mean of precision and recall; for one mask this equals Dice, even for empty masks."""
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
    """Counts the voxels of two masks.

    Args:
        prediction: bool (*spatial).
        reference: bool (*spatial).

    Returns:
        The counts, with Dice, IoU, precision, recall, F1 and accuracy as methods.

    Raises:
        ValueError: if the shapes differ.

    Examples:
        >>> overlap(np.array([True, True, False]), np.array([True, False, False])).precision()
        0.5
    """
    if prediction.shape != reference.shape:
        raise ValueError(f"expected two masks of the same shape; got {prediction.shape} and {reference.shape}")
    both = int(np.count_nonzero(prediction & reference))
    predicted, true = int(np.count_nonzero(prediction)), int(np.count_nonzero(reference))
    return Overlap(both, predicted - both, true - both, prediction.size - predicted - true + both)


def distances(
    prediction: NDArray[np.bool_], reference: NDArray[np.bool_], spacing: Sequence[float] | None, names: Iterable[str]
) -> dict[str, float]:
    """Surface distances of two masks by their names in tables ("hd95_mm", "asd_voxel" ...).

    Args:
        prediction: bool (*spatial).
        reference: bool (*spatial).
        spacing: size of a voxel along each axis in mm; None: unknown, and distances in mm are NaN.
        names: of UNITS.

    Returns:
        Name to value; all are NaN if a mask is empty.

    Raises:
        ValueError: if a name is unknown or the shapes differ.
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
    """Computes the metrics of each foreground class of two label maps.

    Overlaps are 1 if a class is absent from both maps and 0 if it is absent from one; distances are NaN in both cases.

    Args:
        prediction: integers (*spatial).
        truth: integers (*spatial).
        classes: K, background included.
        spacing: size of a voxel along each axis in mm; None: unknown, and distances in mm are NaN.
        names: names of OVERLAPS or UNITS, or "accuracy".

    Returns:
        Class (1 to K - 1) to name to value, in the order of `names`.

    Raises:
        ValueError: if a name is unknown or the shapes differ.

    Examples:
        >>> class_metrics(np.array([[0, 1, 1]]), np.array([[0, 0, 1]]), 2, (1.0, 0.5), ["dice", "hd95_mm"])[1]["dice"]
        0.6666666666666666
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
    """Returns one of OVERLAPS or "accuracy" by name.

    Raises:
        ValueError: if the name is unknown.
    """
    if name not in (*OVERLAPS, "accuracy"):
        raise ValueError(f"no metric is called {name!r}; known: {', '.join((*OVERLAPS, 'accuracy', *UNITS))}")
    value: float = getattr(counts, name)()
    return value
