"""Surface Dice: worked numbers, a naive version, and MONAI's where it is installed."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from semibench.blocks import surface_dice


def naive(prediction: np.ndarray, reference: np.ndarray, spacing: tuple[float, ...], tolerance: float) -> float:
    """Compares every surface voxel with every other one."""

    def edge(mask: np.ndarray) -> list[tuple[int, ...]]:
        padded = np.pad(mask, 1)
        voxels = []
        for place in np.argwhere(padded):
            neighbours = [
                tuple(place + step * np.eye(mask.ndim, dtype=int)[axis])
                for axis in range(mask.ndim)
                for step in (-1, 1)
            ]
            if not all(padded[neighbour] for neighbour in neighbours):
                voxels.append(tuple(place))
        return voxels

    first, second = edge(prediction), edge(reference)

    def near(one: tuple[int, ...], others: list[tuple[int, ...]]) -> bool:
        return (
            min(math.dist(np.multiply(one, spacing), np.multiply(other, spacing)) for other in others)
            <= tolerance + 1e-12
        )

    hits = sum(near(one, second) for one in first) + sum(near(one, first) for one in second)
    return hits / (len(first) + len(second))


def blobs(shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two overlapping boxes with a few missing voxels."""
    random = np.random.default_rng(seed)
    masks = []
    for shift in (0, 1 + seed % 2):
        mask = np.zeros(shape, dtype=bool)
        mask[tuple(slice(2 + shift, side - 2) for side in shape)] = True
        mask &= random.random(shape) > 0.1
        masks.append(mask)
    return masks[0], masks[1]


def test_worked_numbers() -> None:
    square = np.zeros((8, 8), dtype=bool)
    square[2:6, 2:6] = True  # 12 of its 16 pixels are surface
    assert surface_dice(square, square, (1.0, 1.0), 0) == 1
    moved = np.roll(square, 1, axis=0)
    # rows 2..5 and 3..6: each square has 12 surface pixels; of each, the two sides overlap in 3 + 3 pixels but the corners ...
    assert surface_dice(square, moved, None, 0) == naive(square, moved, (1, 1), 0) == 12 / 24
    assert surface_dice(square, moved, None, 1) == 1
    assert surface_dice(square, moved, (2.0, 1.0), 1) < 1, "two mm apart along the first axis"
    assert surface_dice(square, moved, (2.0, 1.0), 2) == 1


def test_empty_masks_count_as_in_the_other_overlaps() -> None:
    empty, square = np.zeros((5, 5), dtype=bool), np.ones((5, 5), dtype=bool)
    assert surface_dice(empty, empty, None, 1) == 1
    assert surface_dice(square, empty, None, 1) == surface_dice(empty, square, (1.0, 2.0), 1) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((11, 9), (1.0, 1.0)), ((11, 9), (0.4, 1.3)), ((8, 9, 7), (1.0, 1.0, 1.0)), ((8, 9, 7), (3.0, 0.7, 0.7))],
)
def test_it_is_the_naive_version_and_monais(shape: tuple[int, ...], spacing: tuple[float, ...]) -> None:
    for seed, tolerance in itertools.product((0, 1), (0.5, 1.0, 2.0)):
        prediction, reference = blobs(shape, seed)
        value = surface_dice(prediction, reference, spacing, tolerance)
        assert value == pytest.approx(naive(prediction, reference, spacing, tolerance), abs=1e-12)
        metrics = pytest.importorskip("monai.metrics")
        one, other = (torch.from_numpy(np.stack([~mask, mask])[None]) for mask in (prediction, reference))
        theirs = metrics.compute_surface_dice(one, other, [tolerance], include_background=False, spacing=list(spacing))
        assert value == pytest.approx(float(theirs), abs=1e-6)


@pytest.mark.parametrize("tolerance", [-1.0, math.nan, math.inf])
def test_a_tolerance_is_a_finite_distance(tolerance: float) -> None:
    with pytest.raises(ValueError, match="tolerance of at least 0"):
        surface_dice(np.ones((3, 3), bool), np.ones((3, 3), bool), None, tolerance)
