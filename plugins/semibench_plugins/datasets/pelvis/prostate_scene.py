"""T2 MR of the prostate and its surroundings (promise12). Shapes are in mm; axes: z up, y backwards, x to the left."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semibench.blocks import FloatArray, Point, Points, ellipsoid, random_rotation, shape_union, smooth_field, tube
from semibench_plugins.phantoms.patients import Pose, body_points, chance, near
from semibench_plugins.phantoms.volume_parts import Mask, Scene, Shape, Spacing, Tissues, bumps

TISSUES = (
    "fat", "muscle", "bone", "urine", "bladder wall", "rectum wall", "gas", "peripheral zone", "transition zone", "nodule",
    "vesicles", "veins", "stroma",
)  # fmt: skip

_POSE = Pose(shift=(22.0, 20.0, 11.0), tilt=0.15, size=(0.85, 1.15), stretch=0.06, uneven=2.0, bump=28.0)


@dataclass
class _Gland:
    """A prostate, its centre at the origin. sizes: its half axes in mm. swollen: how much its inner part has grown, 0 to 1."""

    sizes: Point
    swollen: float
    gland: FloatArray
    inner: FloatArray


def prostate(rng: np.random.Generator, shape: Shape, spacing: Spacing) -> Scene:
    """Draws one patient on (z, y, x). The label covers the gland. The seminal vesicles and the venous plexus are as bright but
    not labeled, and the muscles at its sides are as dark as its centre."""
    grid, steps = (shape[2], shape[1], shape[0]), (spacing[2], spacing[1], spacing[0])
    at = body_points(rng, grid, steps, (0.0, -2.0, -2.0), _POSE)
    folds, fine = (smooth_field(rng, grid, bumps(grid, steps, size)) for size in (20.0, 9.0))
    gland = _gland(rng, at)
    out = _surroundings(rng, at, gland.sizes, folds, fine)
    mask = gland.gland > 0
    _paint(rng, at, out, gland, mask, fine)
    label = np.ascontiguousarray(mask.transpose(2, 1, 0)).astype(np.uint8)
    return Scene(np.ascontiguousarray(out.transpose(2, 1, 0)), TISSUES, label)


def _gland(rng: np.random.Generator, at: Points) -> _Gland:
    """Draws a small, average or swollen gland; a swollen one is rounder, and in some patients its middle lobe rises."""
    swollen = float(np.clip(rng.normal(0.4, 0.4), 0.0, 1.0))
    grown = 0.75 + 0.55 * swollen
    sizes = (
        grown * rng.uniform(20, 27),
        grown * rng.uniform(13, 17) * (1 + 0.2 * swollen),
        grown * rng.uniform(15, 22),
    )
    gland = ellipsoid(at, (0.0, 0.0, 0.0), sizes, random_rotation(rng, 0.2))
    share = 0.62 + 0.22 * swollen
    inner = ellipsoid(
        at, (rng.normal(0, 1.5), -0.28 * sizes[1], 0.15 * sizes[2]),
        (share * sizes[0], share * rng.uniform(0.8, 0.95) * sizes[1], (share + 0.05) * sizes[2]),
    )  # fmt: skip
    if swollen > 0.5 and chance(rng, 0.4):
        lobe = ellipsoid(at, (rng.normal(0, 4), -0.2 * sizes[1], 0.95 * sizes[2]), (12, 10, rng.uniform(8, 14)))
        gland, inner = shape_union([gland, lobe], 4.0), shape_union([inner, lobe - 2.0], 3.0)
    return _Gland(sizes, swollen, gland, inner)


def _surroundings(rng: np.random.Generator, at: Points, sizes: Point, folds: FloatArray, fine: FloatArray) -> Tissues:
    """Draws muscles, bones, veins, bladder, rectum and seminal vesicles."""
    name = {n: i for i, n in enumerate(TISSUES)}
    x, y, z = at
    out = np.full(folds.shape, name["fat"])
    side = np.abs(x)
    out[(folds > rng.uniform(0.5, 1.4)) & (side > 18)] = name["veins"]
    obturator = (side > rng.uniform(34, 44) + 3 * fine) & (side < rng.uniform(52, 62))
    out[obturator] = name["muscle"]
    out[side > 58] = name["bone"]
    pubis = ellipsoid(at, near(rng, (0, -sizes[1] - 20, -6), 3), (28, 10, 20))
    out[pubis > 0] = name["bone"]
    levator = np.abs(side - (rng.uniform(20, 28) + 0.35 * z)) < rng.uniform(1.6, 3.4)
    out[levator & (y > -6) & (z < 6)] = name["muscle"]
    plexus = ellipsoid(at, (0, -0.95 * sizes[1], 0), (rng.uniform(8, 20), rng.uniform(3, 8), 12))
    out[(plexus > 0) & (fine > -0.3)] = name["veins"]
    fill = rng.uniform(0.6, 1.25)
    bladder = ellipsoid(
        at, (rng.normal(0, 5), rng.normal(-12, 4), sizes[2] + 19 * fill),
        (fill * rng.uniform(26, 38), fill * rng.uniform(20, 28), fill * rng.uniform(17, 24)),
    )  # fmt: skip
    out[bladder > -rng.uniform(2.0, 6.5)] = name["bladder wall"]
    out[bladder > 0] = name["urine"]
    wide = rng.uniform(16, 21) if chance(rng, 0.25) else rng.uniform(7, 13)  # with a coil or much gas in some
    back = sizes[1] + wide + rng.uniform(0, 3)
    rectum = tube(at, [(rng.normal(0, 6), back + 10, 60), (0, back, 0), (rng.normal(0, 4), back + 6, -60)], wide)
    out[rectum > -3] = name["rectum wall"]
    out[rectum > 0] = name["gas"] if chance(rng, 0.5) else name["stroma"]
    size = rng.uniform(0.6, 1.3)
    vesicles = shape_union(
        [
            ellipsoid(at, (s * 15, 0.75 * sizes[1] + 3, sizes[2] + 2), (14 * size, 6 * size, 7 * size))
            for s in (-1.0, 1.0)
        ]
    )
    out[(vesicles > 0) & (fine > -0.8)] = name["vesicles"]
    return out


def _paint(rng: np.random.Generator, at: Points, out: Tissues, gland: _Gland, mask: Mask, fine: FloatArray) -> None:
    """Paints the gland with its zones and nodules, and in some patients a tumour or the cavity that a resection left."""
    name = {n: i for i, n in enumerate(TISSUES)}
    out[gland.gland > -1.3] = name["stroma"]
    out[mask] = name["peripheral zone"]
    centre = mask & (gland.inner > 0)
    out[centre] = name["transition zone"]
    out[centre & (fine > 0.9 - 0.9 * gland.swollen)] = name["nodule"]
    out[centre & (gland.inner < 1.4)] = name["stroma"]
    for _ in range(int(rng.integers(0, 3))):
        sizes, radius = gland.sizes, rng.uniform(4, 11)
        place = (rng.choice([-1, 1]) * 0.55 * sizes[0], 0.5 * sizes[1], rng.normal(0, 6))
        out[mask & (ellipsoid(at, place, (radius, 0.7 * radius, radius)) > 0)] = name["transition zone"]
    if chance(rng, 0.12):
        cavity = tube(at, [(0, -2, 2), (0, -0.2 * gland.sizes[1], gland.sizes[2] + 6)], [2.0, rng.uniform(4, 8)])
        out[mask & (cavity > 0)] = name["urine"]
