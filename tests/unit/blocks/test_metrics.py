"""Metrics against medpy 0.5 as the oracle, and the laws they must obey."""

from __future__ import annotations

import functools
import importlib
import itertools
import math
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.ndimage import binary_erosion, gaussian_filter

from semibench.blocks.distances import EmptyMaskError, measured, surface, surface_distances, union_box
from semibench.blocks.metrics import (
    OVERLAPS,
    UNITS,
    Overlap,
    class_metrics,
    distances,
    overlap,
    overlap_value,
)


@functools.cache
def medpy() -> Any:
    """The oracle; imported by the tests that ask it, since it takes a second."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("medpy.metric.binary")


def blob(shape: tuple[int, ...], seed: int, level: float = 0.0) -> np.ndarray:
    """A random smooth mask; may touch the border and have several parts."""
    field = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 2)
    return field > level * field.std()


masks = st.one_of(
    arrays.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=9).flatmap(
        lambda shape: st.tuples(arrays.arrays(bool, shape), arrays.arrays(bool, shape))
    )
)
steps = st.floats(0.1, 8.0).map(lambda x: round(x, 3))


def off_from_medpy(a: np.ndarray, b: np.ndarray, spacing: tuple[float, ...] | None) -> float:
    """Largest difference to medpy over four distances and all engines."""
    wanted = [f(a, b, spacing) for f in (medpy().hd, medpy().hd95, medpy().asd, medpy().assd)]
    off = 0.0
    cubes = spacing is None or len(set(spacing)) == 1
    for engine in ("auto", "tree", "transform", *(("near",) if cubes else ())):
        found = surface_distances(a, b, spacing, engine=engine)
        ours = [found.hd(), found.hd95(), found.asd(), found.assd()]
        off = max(off, *np.abs(np.subtract(ours, wanted)))
    return off


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(pair=masks, sides=st.tuples(steps, steps, steps), use=st.booleans())
def test_distances_agree_with_medpy(pair, sides, use) -> None:
    a, b = pair
    spacing = sides[: a.ndim] if use else None
    if a.any() and b.any():
        assert off_from_medpy(a, b, spacing) < 1e-6
    else:
        with pytest.raises(EmptyMaskError, match="empty"):
            surface_distances(a, b, spacing)


@settings(max_examples=100, deadline=None)
@given(pair=masks)
def test_overlap_agrees_with_medpy_where_it_is_defined(pair) -> None:
    a, b = pair
    counts = overlap(a, b)
    if a.any() or b.any():
        assert counts.dice() == pytest.approx(medpy().dc(a, b), abs=1e-12)
        assert counts.iou() == pytest.approx(medpy().jc(a, b), abs=1e-12)
    if a.any():
        assert counts.precision() == pytest.approx(medpy().precision(a, b), abs=1e-12)
    if b.any():
        assert counts.recall() == pytest.approx(medpy().recall(a, b), abs=1e-12)
    assert counts.dice() == pytest.approx(2 * counts.iou() / (1 + counts.iou()), abs=1e-12)
    p, r = counts.precision(), counts.recall()
    assert counts.f1() == pytest.approx(2 * p * r / (p + r) if p + r else 0.0, abs=1e-12)
    assert counts.accuracy() == pytest.approx((a == b).mean(), abs=1e-12)


@pytest.mark.parametrize("shape", [(64, 48), (24, 20, 16)])
@pytest.mark.parametrize("level", [-1.0, 0.5, 1.5])
@pytest.mark.parametrize("spacing", [None, 1.25, "anisotropic"])
def test_blobs_agree_with_medpy(shape, level, spacing) -> None:
    sides = {None: None, 1.25: (1.25,) * len(shape), "anisotropic": (5.0, 0.7, 0.9)[: len(shape)]}[spacing]
    assert off_from_medpy(blob(shape, 1, level), blob(shape, 2, level), sides) < 1e-6


def test_special_masks_agree_with_medpy() -> None:
    full = np.ones((7, 6, 5), dtype=bool)
    corner, middle, edge = np.zeros_like(full), np.zeros_like(full), np.zeros_like(full)
    corner[0, 0, 0] = middle[3, 3, 2] = True
    edge[:, :, 0] = True
    for a, b in itertools.product((full, corner, middle, edge), repeat=2):
        assert off_from_medpy(a, b, (3.0, 1.0, 0.5)) < 1e-6


@settings(max_examples=60, deadline=None)
@given(mask=arrays.arrays(bool, arrays.array_shapes(min_dims=1, max_dims=3, max_side=8)))
def test_surface_is_what_an_erosion_takes_away(mask) -> None:
    assert np.array_equal(surface(mask), mask ^ binary_erosion(mask))


def test_union_box_is_tight() -> None:
    a, b = np.zeros((9, 9), dtype=bool), np.zeros((9, 9), dtype=bool)
    a[2, 3], b[5, 1] = True, True
    assert union_box(a, b) == (slice(2, 6), slice(1, 4))
    with pytest.raises(EmptyMaskError):
        union_box(a & b, a & b)


# --- laws ---


def test_symmetry_and_identity() -> None:
    a, b = blob((20, 18, 16), 3), blob((20, 18, 16), 4)
    one, other = surface_distances(a, b, (2, 1, 1)), surface_distances(b, a, (2, 1, 1))
    assert one.hd95() == pytest.approx(other.hd95()) and one.assd() == pytest.approx(other.assd())
    assert one.asd() == pytest.approx(other.backward.mean())
    assert one.assd() != pytest.approx(one.asd(), abs=1e-6)
    same = surface_distances(a, a)
    assert (same.hd(), same.hd95(), same.asd(), same.assd()) == (0, 0, 0, 0)
    assert all(overlap_value(overlap(a, a), name) == 1 for name in (*OVERLAPS, "accuracy"))


def test_distances_scale_with_the_spacing() -> None:
    a, b = blob((30, 26), 5), blob((30, 26), 6)
    one, thrice, mixed = measured(a, b, (None, (3.0, 3.0), (6.0, 3.0)))
    assert thrice.hd95() == pytest.approx(3 * one.hd95()) and thrice.assd() == pytest.approx(3 * one.assd())
    assert mixed.assd() == pytest.approx(3 * surface_distances(a, b, (2.0, 1.0)).assd())


@pytest.mark.parametrize("shift", [(3, 0, 0), (0, 0, 4)])
def test_a_shifted_plane_is_that_far_away(shift) -> None:
    a = np.zeros((12, 12, 12), dtype=bool)
    axis = int(np.flatnonzero(shift)[0])
    a[(slice(None),) * axis + (2,)] = True
    spacing = (2.0, 1.0, 0.5)
    found = surface_distances(a, np.roll(a, shift, axis=(0, 1, 2)), spacing)
    wanted = abs(shift[axis]) * spacing[axis]
    assert [found.hd(), found.hd95(), found.asd(), found.assd()] == pytest.approx([wanted] * 4)


def test_a_single_voxel_moved_along_a_diagonal() -> None:
    a, b = np.zeros((8, 8), dtype=bool), np.zeros((8, 8), dtype=bool)
    a[1, 1], b[4, 5] = True, True
    assert surface_distances(a, b).hd95() == 5.0


@pytest.mark.parametrize("shape", [(30,), (26, 31), (17, 23, 19)])
def test_near_and_far_meet_without_a_seam(shape) -> None:
    # few voxels, so that distances lie on both sides of what the bytes of the near engine can hold
    rng = np.random.default_rng(7)
    for count in (1, 2, 5, 20):
        a, b = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
        a.flat[rng.choice(a.size, count)] = b.flat[rng.choice(a.size, count)] = True
        near, tree = surface_distances(a, b, engine="near"), surface_distances(a, b, engine="tree")
        assert np.array_equal(near.forward, tree.forward) and np.array_equal(near.backward, tree.backward)


def test_hd95_pools_both_directions() -> None:
    # 100 near and 1 far voxel: the larger of two percentiles would be far from the pooled one
    a, b = np.zeros((200, 60), dtype=bool), np.zeros((200, 60), dtype=bool)
    a[50:150, 0] = True
    b[50:150, 1] = True
    b[::7, 55] = True
    found = surface_distances(a, b)
    pooled = np.percentile(np.concatenate([found.forward, found.backward]), 95)
    larger = max(np.percentile(found.forward, 95), np.percentile(found.backward, 95))
    assert found.hd95() == pooled == pytest.approx(medpy().hd95(a, b)) and larger > pooled


def test_mean_dice_and_mean_iou_are_consistent() -> None:
    # J = D / (2 - D) is convex: for means over the same cases mean D/(2 - mean D) <= mean J <= mean D
    pairs = [overlap(blob((16, 16), s), blob((16, 16), s + 1, 0.5)) for s in range(20)] + [Overlap(0, 0, 5, 5)]
    d, j = np.mean([p.dice() for p in pairs]), np.mean([p.iou() for p in pairs])
    assert d / (2 - d) <= j <= d


# --- empties and tables ---


def test_empties() -> None:
    none, some = np.zeros((4, 4), dtype=bool), np.eye(4, dtype=bool)
    for name in OVERLAPS:
        assert overlap_value(overlap(none, none), name) == 1.0
        assert overlap_value(overlap(some, none), name) == 0.0
        assert overlap_value(overlap(none, some), name) == 0.0
    for a, b in ((none, none), (some, none), (none, some)):
        assert all(math.isnan(v) for v in distances(a, b, (1.0, 1.0), UNITS).values())


def test_without_spacing_only_voxels() -> None:
    some = np.eye(4, dtype=bool)
    values = distances(some, some, None, UNITS)
    assert {name for name, v in values.items() if math.isnan(v)} == {"hd95_mm", "asd_mm", "assd_mm"}
    assert all(values[f"{n}_voxel"] == 0 for n in ("hd95", "asd", "assd"))


def test_class_metrics_by_class_and_name() -> None:
    truth = np.zeros((8, 8, 4), dtype=np.uint8)
    truth[1:5, 1:5] = 1
    truth[6:, 6:] = 2
    prediction = np.roll(truth, 1, axis=0)
    names = ("hd95_mm", "dice", "asd_voxel", "accuracy")
    table = class_metrics(prediction, truth, 4, (2.0, 1.0, 1.0), names)
    assert list(table) == [1, 2, 3] and all(tuple(row) == names for row in table.values())
    assert table[1]["dice"] == pytest.approx(0.75)
    assert table[1]["hd95_mm"] == medpy().hd95(prediction == 1, truth == 1, (2.0, 1.0, 1.0))
    assert table[3]["dice"] == 1.0 and math.isnan(table[3]["asd_voxel"])


def test_wrong_requests_say_what_was_expected() -> None:
    a = np.ones((3, 3), dtype=bool)
    with pytest.raises(ValueError, match="same shape"):
        surface_distances(a, a[:2])
    with pytest.raises(ValueError, match="same shape"):
        overlap(a, a[:2])
    with pytest.raises(ValueError, match="2 positive numbers"):
        surface_distances(a, a, (1.0, 0.0))
    with pytest.raises(ValueError, match="isotropic"):
        surface_distances(a, a, (2.0, 1.0), engine="near")
    with pytest.raises(ValueError, match="hd95_mm"):
        distances(a, a, None, ["hd95"])
    with pytest.raises(ValueError, match="precision"):
        overlap_value(overlap(a, a), "jaccard")
