"""How patients and scans differ: poses, masses, and what a scanner does with one patient."""

from __future__ import annotations

import numpy as np
import pytest

from semibench.blocks import grid_points
from semibench_plugins.phantoms.patients import Pose, body_points, chance, push_points
from semibench_plugins.phantoms.radiology import Scanner, image_of, session
from semibench_plugins.phantoms.volume_parts import Scene

SHAPE, SPACING = (9, 11, 13), (4.0, 3.0, 2.0)
STILL = Pose(shift=(0.0, 0.0, 0.0), tilt=0.0, size=(1.0, 1.0), stretch=0.0, uneven=0.0)


def test_the_average_patient_lies_in_the_middle() -> None:
    at = body_points(np.random.default_rng(0), SHAPE, SPACING, (5.0, -2.0, 1.0), STILL)
    for axis, plain, start in zip(at, grid_points(SHAPE, SPACING), (5.0, -2.0, 1.0), strict=True):
        assert np.allclose(axis, plain + start)


def test_places_fill_their_range_and_large_patients_cover_more_voxels() -> None:
    pose = Pose(shift=(10.0, 0.0, 0.0), tilt=0.0, size=(1.0, 1.0), stretch=0.0, uneven=0.0)
    places = [
        float(body_points(np.random.default_rng(seed), SHAPE, SPACING, (0.0, 0.0, 0.0), pose)[0][4, 5, 6])
        for seed in range(200)
    ]
    assert -10 <= min(places) < -9 and 9 < max(places) <= 10
    twice = Pose(shift=(0.0, 0.0, 0.0), tilt=0.0, size=(2.0, 2.0), stretch=0.0, uneven=0.0)
    x, _, _ = body_points(np.random.default_rng(0), SHAPE, SPACING, (0.0, 0.0, 0.0), twice)
    assert np.ptp(x) == pytest.approx(4.0 * 8 / 2)


def test_a_bend_moves_both_ends_to_the_same_side() -> None:
    pose = Pose(shift=(0.0, 0.0, 0.0), tilt=0.0, size=(1.0, 1.0), stretch=0.0, uneven=0.0, bend=10.0)
    shape, spacing = (3, 3, 61), (5.0, 5.0, 5.0)
    x, _, _ = body_points(np.random.default_rng(3), shape, spacing, (0.0, 0.0, 0.0), pose)
    moved = x[1, 1]
    vertex = int(np.abs(moved).argmin())
    assert 0 < vertex < 60
    assert np.sign(moved[0]) == np.sign(moved[-1]) != 0


def test_a_mass_pushes_what_is_near_it() -> None:
    at = grid_points((41, 3, 3), (2.0, 2.0, 2.0))
    pushed, _, _ = push_points(at, (0.0, 0.0, 0.0), (4.0, 0.0, 0.0), 10.0)
    line = pushed[:, 1, 1]
    assert line[20] == pytest.approx(-4.0)
    assert line[0] == pytest.approx(-40.0, abs=1e-2)
    assert (np.diff(line) > 0).all()  # nothing folds over


def test_chance_is_the_share_of_patients() -> None:
    rng = np.random.default_rng(0)
    assert np.mean([chance(rng, 0.2) for _ in range(4000)]) == pytest.approx(0.2, abs=0.02)


CT = Scanner(
    "CT", {"air": -1000.0, "organ": 150.0, "fat": -100.0}, plain={"organ": 50.0}, spread=0.0, texture=0.0, noise=0.0,
    blur=(0.0, 0.0, 0.0),
)  # fmt: skip


def test_contrast_agent_differs_between_patients() -> None:
    half = session(np.random.default_rng(0), Scanner("CT", CT.values, plain=CT.plain, spread=0.0, agent=(0.5, 0.5)))
    assert half.values == pytest.approx({"air": -1000.0, "organ": 100.0, "fat": -100.0})
    scanner = Scanner("CT", CT.values, plain=CT.plain, spread=0.0, agent=(0.5, 1.3))
    found = [session(np.random.default_rng(seed), scanner).values["organ"] for seed in range(200)]
    assert 100.0 <= min(found) < 105.0 and 175.0 < max(found) <= 180.0


def test_settings_of_a_session_stay_in_their_range() -> None:
    scanner = Scanner("MR", {"water": 0.5}, noise=0.1, bias=0.2, curves=(0.5, 2.0), factors=(0.5, 2.0))
    found = [session(np.random.default_rng(seed), scanner) for seed in range(200)]
    for name, mean in (("noise", 0.1), ("bias", 0.2), ("curve", 1.0)):
        values = [getattr(settings, name) for settings in found]
        assert 0.5 * mean <= min(values) < 0.55 * mean and 1.8 * mean < max(values) <= 2.0 * mean


def test_an_image_shows_its_tissues_and_what_was_cleared() -> None:
    tissues = np.zeros((4, 5, 6), np.int64)
    tissues[1:3] = 1
    scene = Scene(tissues, ("air", "organ"), np.zeros((4, 5, 6), np.uint8))
    image = image_of(np.random.default_rng(0), session(np.random.default_rng(1), CT), scene, SPACING)
    assert (image[tissues == 1] == 150.0).all() and (image[tissues == 0] == -1000.0).all()
    scene.cleared = tissues == 0
    stripped = image_of(np.random.default_rng(0), Scanner("MR", {"air": 0.0, "organ": 0.8}), scene, SPACING)
    assert (stripped[scene.cleared] == 0).all() and (stripped[~scene.cleared] >= 1).all()
