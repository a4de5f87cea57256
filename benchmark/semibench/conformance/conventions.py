"""Checks of conventions, one fact each, on label maps of boxes. A check raises AssertionError with a message that says what is
wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from semibench.contracts.cards import ConventionCard
from semibench.contracts.metric import Convention, undeclared

TOLERANCE = 1e-6
SIDES = {2: (24, 20), 3: (24, 20, 12)}
LENGTH = ("mm", "cm")
"""Units of metrics that grow with the spacing."""
VOXELS = ("voxel", "voxels", "pixel", "pixels", "px")
"""Units of metrics that don't depend on the spacing."""

Scores = Mapping[int, Mapping[str, float]]


@dataclass(frozen=True, eq=False)
class ConventionSubject:
    """A convention and what it scores: maps with one box for each class."""

    convention: type[Convention]
    card: ConventionCard

    def boxes(self, dims: int, *, classes: int = 2, shift: int = 0) -> np.ndarray:
        """Returns a label map; class k is a box at its own place along the first axis, moved by `shift` along the second."""
        labels = np.zeros(SIDES[dims], dtype=np.uint8)
        step = SIDES[dims][0] // (classes - 1)
        for index in range(1, classes):
            low = (index - 1) * step + 1
            box = (slice(low, low + step - 2), slice(3 + shift, 11 + shift), *(slice(2, 9) for _ in range(dims - 2)))
            labels[box] = index
        return labels

    def score(
        self, prediction: np.ndarray, truth: np.ndarray, *, spacing: float | None = 1.0, classes: int = 2
    ) -> dict[int, dict[str, float]]:
        """Scores a pair as the harness does. spacing: of every axis."""
        steps = None if spacing is None else (spacing,) * truth.ndim
        found = self.convention().score(prediction, truth, steps, classes)
        return {index: {name: float(value) for name, value in found[index].items()} for index in range(1, classes)}


Check = Callable[[ConventionSubject], None]


def _better(subject: ConventionSubject, metric: str, one: float, other: float) -> bool:
    """Whether a value is better than another by more than rounding."""
    gain = one - other if subject.convention.metrics[metric].higher else other - one
    return gain > TOLERANCE


def check_metrics_are_declared(subject: ConventionSubject) -> None:
    """Every metric declares direction, unit and range, and `main` is one of them."""
    lacking = undeclared(subject.convention)
    assert lacking is None, lacking


def check_score_returns_what_is_declared(subject: ConventionSubject) -> None:
    """`score` returns a number for every declared metric and every foreground class, with two classes and with four."""
    for dims in subject.card.dims:
        for classes in (2, 4):
            labels = subject.boxes(dims, classes=classes)
            found = subject.score(labels, labels, classes=classes)
            for index, values in found.items():
                missing = set(subject.convention.metrics) - set(values)
                assert not missing, f"{dims}D, {classes} classes: class {index} lacks {', '.join(sorted(missing))}"


def check_directions_are_right(subject: ConventionSubject) -> None:
    """By every metric, in its declared direction, no displaced prediction is better than a perfect one."""
    for dims in subject.card.dims:
        truth = subject.boxes(dims)
        perfect, near, far = (subject.score(subject.boxes(dims, shift=shift), truth)[1] for shift in (0, 3, 8))
        for metric, declared in subject.convention.metrics.items():
            worse = [value for value in (near[metric], far[metric]) if _better(subject, metric, value, perfect[metric])]
            assert not worse, (
                f"{metric} declares that {declared.direction}, but a perfect prediction in {dims}D scores {perfect[metric]:g} and "
                f"a displaced one {worse[0]:g}: correct Metric(higher=...)"
            )


def check_values_lie_in_their_range(subject: ConventionSubject) -> None:
    """All values lie in the declared range, also for empty masks; undefined ones are NaN."""
    for where, prediction, truth in _pairs(subject):
        for metric, value in subject.score(prediction, truth)[1].items():
            declared = subject.convention.metrics.get(metric)
            if declared is None or math.isnan(value):
                continue
            inside = declared.low - TOLERANCE <= value <= declared.high + TOLERANCE
            assert inside and math.isfinite(value), f"{metric} is {value:g} for {where}; declared: {declared.range}"


def check_empty_masks_are_scored(subject: ConventionSubject) -> None:
    """An empty reference, an empty prediction and both give numbers or NaN, no error; an empty prediction isn't better than a
    perfect one."""
    for where, prediction, truth in _pairs(subject):
        try:
            subject.score(prediction, truth)
        except Exception as error:
            raise AssertionError(f"score() raised {type(error).__name__} for {where}: {error}") from error
    for dims in subject.card.dims:
        truth = subject.boxes(dims)
        perfect, none = (subject.score(labels, truth)[1] for labels in (truth, np.zeros_like(truth)))
        for metric in subject.convention.metrics:
            assert not _better(subject, metric, none[metric], perfect[metric]), (
                f"{metric} of an empty prediction ({none[metric]:g}) is better than that of a perfect one ({perfect[metric]:g})"
            )


def check_units_are_right(subject: ConventionSubject) -> None:
    """A metric in mm doubles with the spacing and is NaN without one; a metric in voxels doesn't depend on it."""
    for dims in subject.card.dims:
        truth, moved = subject.boxes(dims), subject.boxes(dims, shift=3)
        once, twice, without = (subject.score(moved, truth, spacing=spacing)[1] for spacing in (1.0, 2.0, None))
        for metric, declared in subject.convention.metrics.items():
            if declared.unit in LENGTH:
                assert math.isclose(twice[metric], 2 * once[metric], rel_tol=1e-6), (
                    f"{metric} is in {declared.unit}, but {once[metric]:g} at 1 mm and {twice[metric]:g} at 2 mm in {dims}D"
                )
                assert math.isnan(without[metric]), (
                    f"{metric} is in {declared.unit}, but {without[metric]:g} where the spacing is unknown: return NaN"
                )
            if declared.unit in VOXELS:
                values = (once[metric], twice[metric], without[metric])
                assert all(math.isclose(value, once[metric], rel_tol=1e-6) for value in values), (
                    f"{metric} is in {declared.unit}, but depends on the spacing: {', '.join(f'{v:g}' for v in values)}"
                )


def check_mean_and_cases_agree(subject: ConventionSubject) -> None:
    """The mean of equal values is that value, a mean lies between its cases, and undefined cases don't make it undefined."""
    convention = subject.convention()
    for metric, declared in subject.convention.metrics.items():
        high = declared.high if math.isfinite(declared.high) else declared.low + 10
        low = declared.low if math.isfinite(declared.low) else high - 10
        values = [low + share * (high - low) for share in (0.2, 0.5, 0.9)]
        same = float(convention.aggregate([values[0]] * 3))
        assert math.isclose(same, values[0], rel_tol=1e-9), (
            f"{metric}: the mean of three times {values[0]:g} is {same:g}"
        )
        mean = float(convention.aggregate(values))
        assert values[0] <= mean <= values[2], f"{metric}: the mean of {values} is {mean:g}"
        defined = float(convention.aggregate([*values, math.nan]))
        assert math.isfinite(defined), f"{metric}: one undefined case makes the mean {defined:g}"


def check_scoring_changes_nothing(subject: ConventionSubject) -> None:
    """`score` leaves its arrays as they are and gives the same values again."""
    for dims in subject.card.dims:
        truth, moved = subject.boxes(dims), subject.boxes(dims, shift=3)
        copies = truth.copy(), moved.copy()
        first, second = subject.score(moved, truth), subject.score(moved, truth)
        assert np.array_equal(truth, copies[0]) and np.array_equal(moved, copies[1]), "score() changes its arrays"
        same = all(repr(first[1][metric]) == repr(second[1][metric]) for metric in first[1])
        assert same, "score() gave other values the second time"


def _pairs(subject: ConventionSubject) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yields pairs of prediction and reference, each with what it is in words."""
    for dims in subject.card.dims:
        truth, moved, far = (subject.boxes(dims, shift=shift) for shift in (0, 3, 8))
        empty, full = np.zeros_like(truth), np.ones_like(truth)
        yield f"a perfect prediction in {dims}D", truth, truth
        yield f"a displaced prediction in {dims}D", moved, truth
        yield f"a prediction far off in {dims}D", far, truth
        yield f"an empty prediction in {dims}D", empty, truth
        yield f"an empty reference in {dims}D", truth, empty
        yield f"two empty masks in {dims}D", empty, empty
        yield f"a full image in {dims}D", full, truth


CONVENTION_CHECKS: Mapping[str, Check] = {
    name.removeprefix("check_"): function for name, function in globals().items() if name.startswith("check_")
}
"""All checks of conventions, by name."""
