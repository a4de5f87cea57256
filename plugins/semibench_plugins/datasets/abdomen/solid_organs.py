"""Liver, spleen, kidneys, adrenals, large vessels and the organs of the pelvis, as shapes in mm; see `anatomy`."""

from __future__ import annotations

import numpy as np

from semibench.blocks import FloatArray, Point, Points, ellipsoid, random_rotation, shape_union, tube
from semibench_plugins.phantoms.patients import chance, near

_SIDES = ((-1.0, -8.0, "right"), (1.0, 4.0, "left"))
"""Sign of x, height of the kidney in mm, name."""


def path(rng: np.random.Generator, *stops: Point, sd: float = 2.0) -> list[Point]:
    """Returns a path that is shifted at random: by `sd` as a whole, and by half of that at each stop."""
    shift = sd * rng.standard_normal(3)
    return [
        near(rng, (float(p[0] + shift[0]), float(p[1] + shift[1]), float(p[2] + shift[2])), 0.5 * sd) for p in stops
    ]


def kidney_side(rng: np.random.Generator, at: Points) -> dict[str, FloatArray]:
    """Draws the organs of this module. An organ that a patient lacks is left out."""
    organs = {"liver": _liver(rng, at)}
    spleen = _spleen(rng, at)
    if not chance(rng, 0.07):  # removed
        organs["spleen"] = spleen
    lost = int(rng.choice([-1, 0, 1], p=[0.88, 0.06, 0.06]))
    for side, (sign, height, name) in enumerate(_SIDES):
        kidney = _kidney(rng, at, sign, height, 1.2 if lost == 1 - side else 1.0)
        if lost != side:
            organs[f"{name} kidney"] = kidney
        organs[f"{name} adrenal gland"] = _adrenal(rng, at, sign)
    return {**organs, **_vessels(rng, at), **_pelvis(rng, at)}


def _liver(rng: np.random.Generator, at: Points) -> FloatArray:
    """Draws a right and a left lobe: small and with a large left lobe in cirrhosis, large or with a long right lobe in others."""
    kind = int(rng.choice(4, p=[0.45, 0.2, 0.2, 0.15]))
    right = (1.0, 0.8, 1.18, 0.95)[kind]
    left = (1.0, 1.3, 1.1, 0.8)[kind] * rng.uniform(0.8, 1.2)
    down = (0.0, 8.0, -8.0, -22.0)[kind]
    radii = (right * rng.uniform(62, 82), right * rng.uniform(56, 72), right * rng.uniform(50, 64) + abs(down) * 0.4)
    lobes = [
        ellipsoid(at, near(rng, (-62, -18, 50 + down), 7), radii, random_rotation(rng, 0.15)),
        ellipsoid(
            at, near(rng, (0, -55, 62), 8), (left * rng.uniform(45, 65), rng.uniform(20, 32), left * rng.uniform(22, 34)),
            random_rotation(rng, 0.2),
        ),
    ]  # fmt: skip
    return shape_union(lobes, 14.0)


def _spleen(rng: np.random.Generator, at: Points) -> FloatArray:
    size = rng.uniform(1.3, 1.6) if chance(rng, 0.25) else rng.uniform(0.75, 1.15)
    radii = (size * rng.uniform(20, 28), size * rng.uniform(30, 42), size * rng.uniform(36, 50))
    place = near(rng, (96 - 10 * (size - 1), 22 - 8 * (size - 1), 58 - 22 * (size - 1)), 8)
    return ellipsoid(at, place, radii, random_rotation(rng, 0.4))


def _kidney(rng: np.random.Generator, at: Points, sign: float, height: float, size: float) -> FloatArray:
    """Draws a kidney with its hilum: sometimes shrunken, sometimes lower than usual."""
    size *= rng.uniform(0.6, 0.8) if chance(rng, 0.12) else rng.uniform(0.88, 1.15)
    low = rng.uniform(20, 40) if chance(rng, 0.15) else 0.0
    place = near(rng, (sign * 62, 34 - 0.3 * low, height - low), 7)
    radii = (size * rng.uniform(24, 29), size * rng.uniform(22, 27), size * rng.uniform(42, 54))
    kidney = ellipsoid(at, place, radii, random_rotation(rng, 0.3))
    hilum = ellipsoid(at, (place[0] - sign * 20 * size, place[1] - 6, place[2]), (14, rng.uniform(7, 12), 16))
    return np.minimum(kidney, -hilum)


def _adrenal(rng: np.random.Generator, at: Points, sign: float) -> FloatArray:
    """Draws an adrenal gland of two limbs, sometimes with an adenoma."""
    top = near(rng, (sign * 34, 14, 51 + sign), 5)
    size = rng.uniform(0.8, 1.3)
    limbs = [
        (top[0] + sign * 8 * size, top[1] + 14 * size, top[2] - 14 * size),
        (top[0] + sign * 14 * size, top[1] + 4 * size, top[2] - 14 * size),
    ]
    parts = [tube(at, [top, near(rng, limb, 2)], rng.uniform(4.2, 5.4)) for limb in limbs]
    if chance(rng, 0.15):
        radius = rng.uniform(9, 18)
        parts.append(ellipsoid(at, near(rng, top, 4), (radius, radius, radius)))
    return shape_union(parts)


def _vessels(rng: np.random.Generator, at: Points) -> dict[str, FloatArray]:
    """Draws the aorta, sometimes with an aneurysm or winding, the inferior vena cava, and the portal and splenic veins."""
    wide = rng.uniform(8, 12)
    bulge = rng.uniform(16, 27) if chance(rng, 0.15) else wide * rng.uniform(0.8, 1.0)
    winding = 8.0 if chance(rng, 0.3) else 3.0
    stops = ((10.0, 8.0, 190.0), (7.0, 4.0, 60.0), (5.0, 2.0, -20.0), (4.0, -2.0, -55.0), (4.0, 0.0, -84.0))
    aorta = tube(at, [near(rng, stop, 0.6 * winding) for stop in stops], [wide, wide, wide * 0.9, bulge, wide * 0.85])
    cava = tube(
        at, path(rng, (-20, -6, 140), (-23, 0, 60), (-21, 4, -20), (-18, 4, -92), sd=3),
        [rng.uniform(8, 15) for _ in range(4)],
    )  # fmt: skip
    vein = rng.uniform(5.5, 10.0)
    confluence = near(rng, (-6, -22, 4), 4)
    portal = shape_union(
        [
            tube(at, [near(rng, (-44, -16, 44), 5), confluence], vein),
            tube(at, [confluence, near(rng, (32, -12, 18), 5), near(rng, (76, 14, 40), 6)], 0.8 * vein),
        ]
    )
    return {"aorta": aorta, "inferior vena cava": cava, "portal and splenic vein": portal}


def _pelvis(rng: np.random.Generator, at: Points) -> dict[str, FloatArray]:
    """Draws the bladder, empty to full, and below it a prostate, or behind it a uterus."""
    fill = rng.uniform(0.6, 1.4)
    uterus = chance(rng, 0.5)
    bladder = ellipsoid(
        at,
        near(rng, (0, -34, -165 + 12 * fill), 6),
        (fill * rng.uniform(28, 42), rng.uniform(20, 32), fill * rng.uniform(18, 28)),
    )
    place, size = ((0, 0, -166), rng.uniform(0.9, 1.5)) if uterus else ((0, -14, -194), rng.uniform(0.7, 1.35))
    radii = (size * rng.uniform(20, 30), size * rng.uniform(14, 21), size * rng.uniform(15, 22))
    below = ellipsoid(at, near(rng, place, 6), radii, random_rotation(rng, 0.4 if uterus else 0.1))
    return {"bladder": bladder, "prostate or uterus": below}
