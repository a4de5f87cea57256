"""The heart and its surroundings, for the phantoms of la and mmwhs. Shapes are in mm, from the middle of the mitral valve.

Axes: x to the patient's left, y backwards, z up. Sizes are those of an adult and vary between patients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semibench.blocks import (
    FloatArray,
    Point,
    deform_points,
    ellipsoid,
    grid_points,
    random_rotation,
    rotate_points,
    shape_union,
    smooth_field,
    tube,
)

TISSUES = ("air", "lung", "fat", "muscle", "left blood", "right blood", "myocardium", "wall", "bone", "liver", "vessel")


@dataclass
class Heart:
    """One patient. tissues: indices into TISSUES. The float fields are shapes, positive inside; the bool fields are masks."""

    tissues: NDArray[np.int64]
    left_ventricle: FloatArray
    myocardium: NDArray[np.bool_]
    left_atrium: FloatArray
    veins: FloatArray
    appendage: FloatArray
    ascending_aorta: NDArray[np.bool_]


def _vary(rng: np.random.Generator, at: tuple[float, ...], sd: float) -> Point:
    moved = np.asarray(at) + sd * rng.standard_normal(3)
    return float(moved[0]), float(moved[1]), float(moved[2])


def heart(
    rng: np.random.Generator, shape: tuple[int, ...], spacing: tuple[float, ...], centre: Point, unevenness: float = 2.0
) -> Heart:
    """Draws one patient. centre: the point of the heart at the middle of the volume, in mm."""
    here = grid_points(shape, spacing)
    size = rng.normal(1.0, 0.08)
    at = rotate_points(here, random_rotation(rng, 0.12))
    at = deform_points(rng, at, shape, spacing, unevenness, 28.0)
    at = (at[0] / size + centre[0], at[1] / size + centre[1], at[2] / size + centre[2])
    x, y, z = at

    axis = np.array([0.62, -0.55, -0.56]) + 0.1 * rng.standard_normal(3)
    axis /= np.linalg.norm(axis)
    side = np.cross(axis, [0.0, 0.0, 1.0])
    side /= np.linalg.norm(side)
    frame = np.stack([axis, side, np.cross(axis, side)])
    along = axis[0] * x + axis[1] * y + axis[2] * z
    short, length, wall = rng.uniform(19, 25), rng.uniform(36, 44), rng.uniform(8, 12)
    middle = axis * length * 0.62
    ventricle_centre = (float(middle[0]), float(middle[1]), float(middle[2]))
    cavity = np.minimum(ellipsoid(at, ventricle_centre, (length, short, short * rng.uniform(0.9, 1.1)), frame), along)
    outer = ellipsoid(at, ventricle_centre, (length + wall, short + wall, short + wall), frame)
    outer = np.minimum(outer, along + 1.5)
    myocardium = (outer > 0) & (cavity <= 0)

    back = _vary(rng, tuple(-axis * rng.uniform(15, 19) + np.array([-1.0, 7.0, 2.0])), 1.5)
    radii = (rng.uniform(22, 29), rng.uniform(14, 20), rng.uniform(18, 25))
    body = ellipsoid(at, back, radii)
    veins = []
    for left in (-1.0, 1.0):
        for high in (-1.0, 1.0):
            root = (back[0] + left * 0.6 * radii[0], back[1] + 0.4 * radii[1], back[2] + high * 0.45 * radii[2])
            tip = _vary(rng, (root[0] + left * 30, root[1] + 12, root[2] + high * 14), 4.0)
            far = _vary(rng, (tip[0] + left * 25, tip[1] + 8, tip[2] + high * 22), 5.0)
            r = rng.uniform(4.2, 6.5)
            veins.append(tube(at, [root, tip, far], [r * 1.25, r, 0.6 * r]))
    vein = shape_union(veins)
    ear = _vary(rng, (back[0] + 0.85 * radii[0], back[1] - 0.9 * radii[1], back[2] + 0.35 * radii[2]), 2.0)
    appendage = ellipsoid(
        at, ear, (rng.uniform(8, 12), rng.uniform(9, 14), rng.uniform(6, 9)), random_rotation(rng, 0.5)
    )
    atrium = np.minimum(shape_union([body, appendage], 6.0), 1.0 - along)

    right_ventricle = ellipsoid(
        at,
        _vary(rng, (ventricle_centre[0] - 30, ventricle_centre[1] - 17, ventricle_centre[2] + 3), 3),
        (rng.uniform(26, 32), rng.uniform(20, 26), rng.uniform(30, 38)),
    )
    right_atrium = ellipsoid(
        at, _vary(rng, (-44, 2, 2), 3), (rng.uniform(17, 23), rng.uniform(19, 25), rng.uniform(22, 28))
    )
    root, bend = _vary(rng, (-6, -5, 8), 1.5), _vary(rng, (-20, -14, 38), 3)
    arch = _vary(rng, (-10, 4, 68), 3)
    aorta = rng.uniform(11, 15)
    ascending = tube(at, [root, bend, arch], [aorta * 1.1, aorta, aorta * 0.9])
    behind = _vary(rng, (20, 44, 0), 3)
    descending = tube(at, [arch, (18, 38, 66), (behind[0], behind[1], 30), (behind[0], behind[1], -110)], aorta * 0.8)
    trunk = _vary(rng, (12, -26, 14), 2)
    fork = _vary(rng, (10, -2, 40), 2)
    artery = shape_union(
        [tube(at, [trunk, fork, (44, 14, 44)], [12, 11, 7]), tube(at, [fork, (-22, 8, 36), (-52, 14, 36)], [11, 9, 6])],
        4.0,
    )
    cava = tube(at, [(-44, -2, 12), (-40, -6, 90)], rng.uniform(8, 11))
    lower = tube(at, [(-40, 8, -15), (-34, 16, -110)], rng.uniform(10, 13))
    gullet = tube(at, [(4, 36, 90), (2, back[1] + radii[1] + 7, back[2]), (10, 30, -100)], 6.0)
    spine = tube(at, [(0, 74, -120), (0, 74, 120)], 21.0)
    liver = ellipsoid(at, _vary(rng, (-55, -5, -105), 5), (100, 75, 62))

    bag = shape_union([outer, right_ventricle, right_atrium, body, appendage - 2, ascending, artery], 10.0)
    posterior = 24.0 - np.abs(x - 6.0) + 0.0 * z
    mediastinum = np.maximum(bag + rng.uniform(4, 10), np.minimum(posterior, y + 5.0))
    torso = ellipsoid(at, (0, 10, 0), (150, 102, 900))

    name = {n: i for i, n in enumerate(TISSUES)}
    out = np.full(shape, name["lung"])
    out[mediastinum > 0] = name["fat"]
    out[(bag > -1.0) & (bag < 2.0)] = name["muscle"]
    out[liver > 0] = name["liver"]
    out[torso < 18] = name["muscle"]
    out[torso < 10] = name["fat"]
    out[torso < 0] = name["air"]
    lungs = smooth_field(rng, shape, [max(2, round(n * s / 14.0)) for n, s in zip(shape, spacing, strict=True)])
    out[(out == name["lung"]) & (lungs > 1.7)] = name["vessel"]
    ribs = (np.abs(torso - 15) < 5) & (np.sin((z + 0.4 * y) * 2 * np.pi / 26.0) > 0.35)
    out[(spine > 0) | ribs] = name["bone"]
    out[gullet > 0] = name["muscle"]
    for field_, what in ((cava, "right blood"), (lower, "right blood"), (artery, "right blood")):
        out[field_ > -1.5] = name["wall"]
        out[field_ > 0] = name[what]
    out[descending > -1.5] = name["wall"]
    out[descending > 0] = name["left blood"]
    for chamber in (right_atrium, right_ventricle):
        out[(chamber > -2.5) & (outer <= 0)] = name["wall"]
        out[(chamber > 0) & (outer <= 0)] = name["right blood"]
    out[vein > -1.2] = name["wall"]
    out[vein > 0] = name["left blood"]
    out[(ascending > -1.8) & (along < 10)] = name["wall"]
    up = (ascending > 0) & (cavity <= 0)
    out[up] = name["left blood"]
    out[(atrium > -2.2) & (outer <= 0) & ~up] = name["wall"]
    out[myocardium & ~up] = name["myocardium"]
    out[(atrium > 0) & ~up] = name["left blood"]
    out[cavity > 0] = name["left blood"]
    papillary = ellipsoid(at, _vary(rng, ventricle_centre, 5), (14, 3.5, 3.5), frame)
    out[(papillary > 0) & (cavity > 0)] = name["myocardium"]

    atrium = np.where(up | (outer > 0), np.minimum(atrium, -0.01), atrium)
    return Heart(out, cavity, myocardium & ~up, atrium, vein, appendage, up & (z < 52) & (atrium <= 0))
