"""Metrics of one class in one case, with defined values for empty masks.

Overlap: both masks empty -> 1, one of them empty -> 0. Distances: NaN if either mask is empty, and NaN in mm if the spacing is
unknown. A NaN stays in the table and is counted, never replaced.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semibench.evaluation.distances import EmptyMaskError, SurfaceDistances, distances_by_spacing

OVERLAPS = ("dice", "iou", "precision", "recall", "f1")
"""Names of the metrics of `Overlap`, without "accuracy"."""

DISTANCES = ("hd95", "asd", "assd")
"""Surface distances; tables add the unit: "hd95_mm", "hd95_voxel" ..."""

UNITS: Mapping[str, str] = {f"{name}_{unit}": unit for name in DISTANCES for unit in ("mm", "voxel")}
"""Name in tables -> unit."""


@dataclass(frozen=True)
class Overlap:
    """Voxel counts of a predicted mask against a reference, and the ratios that follow from them."""

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
        """Share of the prediction that is correct."""
        return self._ratio(self.true_positive, self.prediction)

    def recall(self) -> float:
        """Share of the reference that is found."""
        return self._ratio(self.true_positive, self.reference)

    def f1(self) -> float:
        """Harmonic mean of precision and recall; for one mask this equals Dice, even for empty masks."""
        return self.dice()

    def accuracy(self) -> float:
        """Share of all voxels, background included, that are correct."""
        total = self.prediction + self.false_negative + self.true_negative
        return (self.true_positive + self.true_negative) / total if total else math.nan

    def _ratio(self, part: int, whole: int) -> float:
        if self.prediction == 0 and self.reference == 0:
            return 1.0
        return part / whole if whole else 0.0


def overlap(prediction: NDArray[np.bool_], reference: NDArray[np.bool_]) -> Overlap:
    """Count the voxels of two masks (*spatial). Raise ValueError if their shapes differ."""
    if prediction.shape != reference.shape:
        raise ValueError(f"expected two masks of the same shape; got {prediction.shape} and {reference.shape}")
    common = int(np.count_nonzero(prediction & reference))
    predicted, true = int(np.count_nonzero(prediction)), int(np.count_nonzero(reference))
    return Overlap(common, predicted - common, true - common, prediction.size - predicted - true + common)


def distances(
    prediction: NDArray[np.bool_], reference: NDArray[np.bool_], spacing: Sequence[float] | None, names: Iterable[str]
) -> dict[str, float]:
    """Measure surface distances of two masks by their names in tables ("hd95_mm", "asd_voxel" ...).

    Args:
        prediction: bool (*spatial).
        reference: bool (*spatial).
        spacing: voxel size along each axis in mm, or None; distances in mm are then NaN.
        names: names in tables.

    Returns:
        Name -> distance; NaN if a mask is empty.
    """
    names = list(names)
    unknown = [name for name in names if name not in UNITS]
    if unknown:
        raise ValueError(f"no surface distance is called {unknown[0]!r}; known: {', '.join(UNITS)}")
    units = {UNITS[name] for name in names} - ({"mm"} if spacing is None else set())
    by_unit: dict[str, SurfaceDistances] = {}
    if units:
        order = sorted(units)
        try:
            results = distances_by_spacing(prediction, reference, [spacing if unit == "mm" else None for unit in order])
        except EmptyMaskError:
            results = []
        by_unit = dict(zip(order, results, strict=False))
    values: dict[str, float] = {}
    for name in names:
        surface_distances = by_unit.get(UNITS[name])
        values[name] = math.nan if surface_distances is None else getattr(surface_distances, name.split("_")[0])()
    return values


def class_metrics(
    prediction: NDArray[np.integer],
    truth: NDArray[np.integer],
    classes: int,
    spacing: Sequence[float] | None,
    names: Sequence[str],
) -> dict[int, dict[str, float]]:
    """Compute metrics for each foreground class of two label maps.

    Args:
        prediction: integers (*spatial).
        truth: integers (*spatial).
        classes: number of classes K, background included.
        spacing: voxel size along each axis in mm, or None.
        names: names from OVERLAPS, UNITS, or "accuracy".

    Returns:
        Class (1..K-1) -> name -> value, in the order of `names`.
    """
    distance_names = [name for name in names if name in UNITS]
    table: dict[int, dict[str, float]] = {}
    for index in range(1, classes):
        mask, reference = prediction == index, truth == index
        counts = overlap(mask, reference)
        values = distances(mask, reference, spacing, distance_names) if distance_names else {}
        table[index] = {name: values[name] if name in values else overlap_value(counts, name) for name in names}
    return table


def overlap_value(counts: Overlap, name: str) -> float:
    """Return a metric of OVERLAPS or "accuracy" by name; raise ValueError for other names."""
    if name not in (*OVERLAPS, "accuracy"):
        raise ValueError(f"no metric is called {name!r}; known: {', '.join((*OVERLAPS, 'accuracy', *UNITS))}")
    value: float = getattr(counts, name)()
    return value
