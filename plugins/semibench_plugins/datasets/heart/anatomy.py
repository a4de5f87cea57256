"""The heart and its surroundings, for the phantoms of la and mmwhs. Shapes are in mm, from the middle of the mitral valve.

Axes: x to the patient's left, y backwards, z up. Sizes are those of adults, of whom two thirds have a disease that changes the
shape of the heart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semibench.blocks import (
    FloatArray,
    Point,
    Points,
    ellipsoid,
    random_rotation,
    shape_union,
    smooth_field,
    tube,
)
from semibench_plugins.datasets.heart.diseases import HeartSizes, heart_sizes
from semibench_plugins.phantoms.patients import Pose, body_points, chance, near
from semibench_plugins.phantoms.volume_parts import Mask, Shape, Spacing, Tissues, bumps

TISSUES = (
    "air", "lung", "fat", "muscle", "left blood", "right blood", "myocardium", "wall", "bone", "liver", "vessel", "fluid",
)  # fmt: skip


@dataclass
class Heart:
    """One patient. tissues: indices into TISSUES. The float fields are shapes, positive inside; the bool fields are masks."""

    tissues: Tissues
    left_ventricle: FloatArray
    myocardium: Mask
    left_atrium: FloatArray
    veins: FloatArray
    ascending_aorta: Mask


@dataclass
class _LeftHeart:
    """Shapes of the left heart, and where its parts lie. along: mm from the valve plane towards the apex."""

    along: FloatArray
    frame: FloatArray
    ventricle: Point
    cavity: FloatArray
    outer: FloatArray
    back: Point
    atrium: FloatArray
    appendage: FloatArray
    vein: FloatArray


@dataclass
class _Vessels:
    """Shapes of the chambers of the right heart and of the large vessels."""

    right_ventricle: FloatArray
    right_atrium: FloatArray
    ascending: FloatArray
    descending: FloatArray
    artery: FloatArray
    cava: FloatArray


def heart(rng: np.random.Generator, shape: Shape, spacing: Spacing, centre: Point, pose: Pose) -> Heart:
    """Draws one patient. centre: the point of the heart at the middle of the average scan, in mm."""
    at = body_points(rng, shape, spacing, centre, pose)
    sizes = heart_sizes(rng)
    left = _left_heart(rng, at, sizes)
    vessels = _vessels(rng, at, sizes, left)
    out = _chest(rng, at, left, vessels, smooth_field(rng, shape, bumps(shape, spacing, 14.0)))
    return _paint(rng, at, out, left, vessels)


def _left_heart(rng: np.random.Generator, at: Points, sizes: HeartSizes) -> _LeftHeart:
    x, y, z = at
    axis = np.array([0.62, -0.55, -0.56]) + 0.2 * rng.standard_normal(3)  # from upright to lying hearts
    axis /= np.linalg.norm(axis)
    side = np.cross(axis, [0.0, 0.0, 1.0])
    side /= np.linalg.norm(side)
    frame = np.stack([axis, side, np.cross(axis, side)])
    along = axis[0] * x + axis[1] * y + axis[2] * z
    short, length, wall = sizes.short, sizes.length, sizes.wall
    middle = axis * length * 0.62
    ventricle = (float(middle[0]), float(middle[1]), float(middle[2]))
    cavity = np.minimum(ellipsoid(at, ventricle, (length, short, short * rng.uniform(0.85, 1.1)), frame), along)
    outer = ellipsoid(at, ventricle, (length + wall, short + wall, short + wall), frame)
    radii = sizes.atrium
    start = -axis * (0.55 * (radii[1] + radii[2]) / 2 + rng.uniform(4, 10)) + np.array([-1.0, 7.0, 2.0])
    back = near(rng, (float(start[0]), float(start[1]), float(start[2])), 2.5)
    body = ellipsoid(at, back, radii, random_rotation(rng, 0.25))
    lobe = near(rng, back, 0.45 * radii[1])
    body = shape_union([body, ellipsoid(at, lobe, (0.8 * radii[0], 0.8 * radii[1], 0.8 * radii[2]))], 5.0)
    ear = (back[0] + 0.85 * radii[0], back[1] - 0.9 * radii[1], back[2] + 0.35 * radii[2])
    lengths = rng.uniform(0.7, 1.5) * np.array([rng.uniform(8, 12), rng.uniform(9, 14), rng.uniform(6, 9)])
    appendage = ellipsoid(
        at, near(rng, ear, 3.0), (float(lengths[0]), float(lengths[1]), float(lengths[2])), random_rotation(rng, 0.6)
    )
    atrium = np.minimum(shape_union([body, appendage], 6.0), 1.0 - along)
    vein = _veins(rng, at, back, radii)
    return _LeftHeart(along, frame, ventricle, cavity, np.minimum(outer, along + 1.5), back, atrium, appendage, vein)


def _veins(rng: np.random.Generator, at: Points, back: Point, radii: Point) -> FloatArray:
    """Draws the pulmonary veins: two on each side, or on the left a common trunk, or on the right a third one."""
    trunk, third = chance(rng, 0.25), chance(rng, 0.25)
    heights = [(-1.0, high) for high in ((-1.0, 0.0, 1.0) if third else (-1.0, 1.0))]
    heights += [(1.0, high) for high in ((0.15,) if trunk else (-1.0, 1.0))]
    veins = []
    for left, high in heights:
        root = (back[0] + left * 0.6 * radii[0], back[1] + 0.4 * radii[1], back[2] + high * 0.45 * radii[2])
        tip = near(rng, (root[0] + left * 30, root[1] + 12, root[2] + high * 14), 7.0)
        far = near(rng, (tip[0] + left * 25, tip[1] + 8, tip[2] + high * 22), 8.0)
        r = rng.uniform(3.6, 7.5) * (1.4 if trunk and left > 0 else 1.0)
        veins.append(tube(at, [root, tip, far], [r * 1.25, r, 0.6 * r]))
    return shape_union(veins)


def _vessels(rng: np.random.Generator, at: Points, sizes: HeartSizes, left: _LeftHeart) -> _Vessels:
    right, place = sizes.right, left.ventricle
    ventricle = ellipsoid(
        at,
        near(rng, (place[0] - 12 - 18 * right, place[1] - 17, place[2] + 3), 4),
        (right * rng.uniform(26, 32), right * rng.uniform(20, 26), right * rng.uniform(30, 38)),
        random_rotation(rng, 0.3),
    )
    atrium = ellipsoid(
        at,
        near(rng, (-30 - 14 * right, 2, 2), 4),
        (right * rng.uniform(17, 23), right * rng.uniform(19, 25), right * rng.uniform(22, 28)),
    )
    wide = sizes.aorta
    lean = rng.normal(0, 8)
    root, bend = near(rng, (-6, -5, 8), 2), near(rng, (-20 + lean, -14, 38), 4)
    arch = near(rng, (-10, 4, 68), 5)
    ascending = tube(at, [root, bend, arch], [min(wide * 1.1, 17.0), wide, wide * 0.9])
    behind = near(rng, (20, 44, 0), 6)
    down = rng.uniform(8, 13)
    descending = tube(at, [arch, (18, 38, 66), (behind[0], behind[1], 30), (behind[0], behind[1], -110)], down)
    trunk, fork = near(rng, (12, -26, 14), 3), near(rng, (10, -2, 40), 3)
    thick = rng.uniform(0.85, 1.35)
    artery = shape_union(
        [
            tube(at, [trunk, fork, (44, 14, 44)], [12 * thick, 11 * thick, 7 * thick]),
            tube(at, [fork, (-22, 8, 36), (-52, 14, 36)], [11 * thick, 9 * thick, 6 * thick]),
        ],
        4.0,
    )
    upper = tube(at, [near(rng, (-44, -2, 12), 3), near(rng, (-40, -6, 90), 4)], rng.uniform(7, 12))
    lower = tube(at, [near(rng, (-40, 8, -15), 3), near(rng, (-34, 16, -110), 5)], rng.uniform(9, 15))
    return _Vessels(ventricle, atrium, ascending, descending, artery, shape_union([upper, lower]))


def _chest(rng: np.random.Generator, at: Points, left: _LeftHeart, vessels: _Vessels, folds: FloatArray) -> Tissues:
    """Draws what surrounds the heart: lungs, mediastinum, chest wall, spine, liver, and in some patients fluid around the heart
    or the lungs, or a collapsed part of a lung."""
    x, y, z = at
    name = {n: i for i, n in enumerate(TISSUES)}
    chambers = [left.outer, vessels.right_ventricle, vessels.right_atrium, left.atrium, left.appendage - 2]
    bag = shape_union([*chambers, vessels.ascending, vessels.artery], 10.0)
    posterior = np.minimum(rng.uniform(18, 30) - np.abs(x - 6.0) + 0.0 * z, y + 5.0)
    mediastinum = np.maximum(bag + rng.uniform(3, 18), posterior)
    torso = ellipsoid(at, (0, 10, 0), (rng.uniform(130, 165), rng.uniform(88, 112), 900))
    dome = rng.uniform(-125, -80)
    liver = ellipsoid(at, near(rng, (-55, -5, dome), 5), (100, 75, 62))
    out = np.full(folds.shape, name["lung"])
    if chance(rng, 0.25):
        out[folds > rng.uniform(0.6, 1.2)] = name["muscle"]
    if chance(rng, 0.3):
        sides = rng.choice([-1.0, 0.0, 1.0])
        out[(y > rng.uniform(28, 55) - 0.2 * z + 5 * folds) & (x * sides >= 0)] = name["fluid"]
    out[(out == name["lung"]) & (folds > 1.7)] = name["vessel"]
    out[mediastinum > 0] = name["fat"]
    around = rng.uniform(4, 13) if chance(rng, 0.25) else 2.0
    out[(bag > -1.0) & (bag < 2.0)] = name["muscle"]
    if around > 2.0:
        out[(bag > -around) & (bag < 2.0) & (z < rng.uniform(10, 60))] = name["fluid"]
    out[liver > 0] = name["liver"]
    skin = rng.uniform(4, 22)
    out[torso < skin + 8] = name["muscle"]
    out[torso < skin] = name["fat"]
    out[torso < 0] = name["air"]
    ribs = (np.abs(torso - skin - 5) < 5) & (np.sin((z + 0.4 * y) * 2 * np.pi / 26.0 + skin) > 0.35)
    spine = tube(at, [(0, 74, -120), (0, 74, 120)], rng.uniform(17, 23))
    out[(spine > 0) | ribs] = name["bone"]
    back = (left.back[0] * 0.3 + 4, left.back[1] + 26, left.back[2])
    gullet = tube(at, [(4, 36, 90), near(rng, back, 4), (10, 30, -100)], rng.uniform(4, 8))
    out[gullet > 0] = name["muscle"]
    return out


def _paint(rng: np.random.Generator, at: Points, out: Tissues, left: _LeftHeart, vessels: _Vessels) -> Heart:
    """Paints the chambers and vessels over their surroundings."""
    name = {n: i for i, n in enumerate(TISSUES)}
    for field in (vessels.cava, vessels.artery):
        out[field > -1.5] = name["wall"]
        out[field > 0] = name["right blood"]
    out[vessels.descending > -1.5] = name["wall"]
    out[vessels.descending > 0] = name["left blood"]
    for chamber in (vessels.right_atrium, vessels.right_ventricle):
        out[(chamber > -2.5) & (left.outer <= 0)] = name["wall"]
        out[(chamber > 0) & (left.outer <= 0)] = name["right blood"]
    out[left.vein > -1.2] = name["wall"]
    out[left.vein > 0] = name["left blood"]
    out[(vessels.ascending > -1.8) & (left.along < 10)] = name["wall"]
    up = (vessels.ascending > 0) & (left.cavity <= 0)
    out[up] = name["left blood"]
    room = np.minimum(left.atrium, -1.8 - vessels.ascending)  # the aorta presses into the atrium
    out[(room > -2.2) & (left.outer <= 0) & ~up] = name["wall"]
    myocardium = (left.outer > 0) & (left.cavity <= 0) & ~up
    out[myocardium] = name["myocardium"]
    out[room > 0] = name["left blood"]
    out[left.cavity > 0] = name["left blood"]
    papillary = ellipsoid(at, near(rng, left.ventricle, 5), (14, 3.5, 3.5), left.frame)
    out[(papillary > 0) & (left.cavity > 0)] = name["myocardium"]
    atrium = np.where(left.outer > 0, np.minimum(room, -0.01), room)
    return Heart(out, left.cavity, myocardium, atrium, left.vein, up & (at[2] < 52))
