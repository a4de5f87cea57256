"""An abdomen with sixteen organs, for the phantoms of synapse, amos22 and pancreas. Shapes are in mm.

Axes: x to the patient's left, y backwards, z up. The origin is in front of the first lumbar vertebra. The trunk between the
kidneys and the bladder is shorter than a person's, so that it fits into a few slices; the adrenals and the oesophagus are a
little too thick.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semibench.blocks import (
    FloatArray,
    Point,
    Points,
    deform_points,
    ellipsoid,
    grid_points,
    random_rotation,
    rotate_points,
    shape_union,
    smooth_field,
    tube,
)

ORGANS = (
    "none", "spleen", "right kidney", "left kidney", "gallbladder", "esophagus", "liver", "stomach", "aorta",
    "inferior vena cava", "portal and splenic vein", "pancreas", "right adrenal gland", "left adrenal gland", "duodenum",
    "bladder", "prostate or uterus",
)  # fmt: skip
SURROUNDINGS = ("air", "lung", "fat", "muscle", "bone", "bowel", "gas")
TISSUES = (*ORGANS[1:], *SURROUNDINGS)


@dataclass
class Abdomen:
    """One patient, as maps of voxels. tissues: indices into TISSUES. organs: indices into ORGANS."""

    tissues: NDArray[np.int64]
    organs: NDArray[np.uint8]


def abdomen(rng: np.random.Generator, shape: tuple[int, ...], spacing: tuple[float, ...], centre: Point) -> Abdomen:
    """Draws one patient on a grid (x, y, z). centre: the point of the body at the middle of the volume, in mm."""
    size = rng.normal(1.0, 0.06)
    at = rotate_points(grid_points(shape, spacing), random_rotation(rng, 0.05))
    at = deform_points(rng, at, shape, spacing, 2.5, 45.0)
    at = (at[0] / size + centre[0], at[1] / size + centre[1], at[2] / size + centre[2])
    organs = _organs(rng, at)
    folds = smooth_field(rng, shape, [max(2, round(n * s / 26.0)) for n, s in zip(shape, spacing, strict=True)])
    tissues = _surroundings(rng, at, folds)
    inside = tissues != TISSUES.index("air")
    label = np.zeros(shape, np.uint8)
    for name in _ORDER:
        part = (organs[name] > 0) & inside
        label[part] = ORGANS.index(name)
    used = label > 0
    tissues[used] = label[used].astype(np.int64) - 1
    stomach_gas = (label == ORGANS.index("stomach")) & np.broadcast_to(at[1] < rng.uniform(-50, -38), shape)
    tissues[stomach_gas] = TISSUES.index("gas")
    return Abdomen(tissues, label)


_ORDER = (
    "liver", "stomach", "spleen", "right kidney", "left kidney", "duodenum", "gallbladder", "pancreas", "inferior vena cava",
    "aorta", "portal and splenic vein", "esophagus", "right adrenal gland", "left adrenal gland", "bladder",
    "prostate or uterus",
)  # fmt: skip
"""The order in which organs are painted: later ones cover earlier ones."""


def _near(rng: np.random.Generator, at: Point, sd: float = 3.0) -> Point:
    moved = np.asarray(at) + sd * rng.standard_normal(3)
    return float(moved[0]), float(moved[1]), float(moved[2])


def _path(rng: np.random.Generator, *stops: Point, sd: float = 2.0) -> list[Point]:
    """Returns a path that is shifted at random: by `sd` as a whole, and by half of that at each stop."""
    shift = sd * rng.standard_normal(3)
    return [
        _near(rng, (float(p[0] + shift[0]), float(p[1] + shift[1]), float(p[2] + shift[2])), 0.5 * sd) for p in stops
    ]


def _organs(rng: np.random.Generator, at: Points) -> dict[str, FloatArray]:
    z = at[2]
    liver = shape_union(
        [
            ellipsoid(
                at, _near(rng, (-62, -18, 50), 5), (rng.uniform(68, 82), rng.uniform(60, 72), rng.uniform(52, 66))
            ),
            ellipsoid(at, _near(rng, (0, -55, 62), 5), (rng.uniform(45, 65), rng.uniform(22, 30), rng.uniform(24, 34))),
        ],
        14.0,
    )
    spleen = ellipsoid(
        at,
        _near(rng, (96, 22, 58), 5),
        (rng.uniform(20, 28), rng.uniform(32, 44), rng.uniform(38, 54)),
        random_rotation(rng, 0.3),
    )
    kidneys = [
        ellipsoid(
            at, _near(rng, (side * 62, 34, height), 4), (rng.uniform(24, 29), rng.uniform(23, 27), rng.uniform(44, 54)),
            random_rotation(rng, 0.2),
        )
        for side, height in ((-1.0, -8.0), (1.0, 4.0))
    ]  # fmt: skip
    hilum = [ellipsoid(at, (side * 42.0, 28.0, height), (14, 9, 16)) for side, height in ((-1.0, -8.0), (1.0, 4.0))]
    kidneys = [np.minimum(kidney, -cut) for kidney, cut in zip(kidneys, hilum, strict=True)]
    fill = rng.uniform(0.8, 1.3)
    stomach = tube(
        at, _path(rng, (30, 2, 88), (56, -14, 74), (52, -44, 38), (14, -58, 14), (-14, -50, 8), sd=4),
        [20 * fill, 27 * fill, 24 * fill, 15 * fill, 10],
    )  # fmt: skip
    gullet = tube(at, _path(rng, (8, 2, 170), (10, -4, 108), (24, -2, 92)), rng.uniform(7, 9))
    gallbladder = ellipsoid(
        at,
        _near(rng, (-46, -58, 2), 3),
        (rng.uniform(12, 18), rng.uniform(18, 26), rng.uniform(12, 18)),
        random_rotation(rng, 0.4),
    )
    pancreas = tube(
        at, _path(rng, (-32, -26, -28), (-26, -32, -6), (-2, -40, 4), (34, -28, 18), (74, 0, 38), sd=3),
        [11, rng.uniform(15, 19), rng.uniform(9, 12), rng.uniform(10, 13), rng.uniform(8, 11)],
    )  # fmt: skip
    vein = rng.uniform(6.5, 8.5)
    confluence = _near(rng, (-6, -22, 4), 1.5)
    portal = shape_union(
        [
            tube(at, [_near(rng, (-44, -16, 44)), confluence], vein),
            tube(at, [confluence, _near(rng, (32, -12, 18)), _near(rng, (76, 14, 40))], 0.8 * vein),
        ]
    )
    duodenum = tube(
        at, _path(rng, (-18, -48, 8), (-48, -34, -4), (-50, -16, -44), (-14, -16, -58), (26, -16, -44), sd=2.5),
        rng.uniform(10, 13),
    )  # fmt: skip
    aorta = tube(at, _path(rng, (10, 8, 190), (7, 4, 60), (5, 2, -20), (4, 0, -84), sd=1.5), rng.uniform(9, 12))
    cava = tube(at, _path(rng, (-20, -6, 140), (-23, 0, 60), (-21, 4, -20), (-18, 4, -92), sd=1.5), rng.uniform(10, 13))
    glands = []
    for side, height in ((-1.0, 52.0), (1.0, 50.0)):
        top = _near(rng, (side * 34, 14, height), 2)
        limbs = [(top[0] + side * 8, top[1] + 14, top[2] - 14), (top[0] + side * 14, top[1] + 4, top[2] - 14)]
        glands.append(shape_union([tube(at, [top, limb], 4.6) for limb in limbs]))
    bladder = ellipsoid(
        at, _near(rng, (0, -34, -158), 3), (rng.uniform(28, 42), rng.uniform(22, 32), rng.uniform(18, 28))
    )
    below = ellipsoid(
        at, _near(rng, (0, -14, -188), 3), (rng.uniform(20, 30), rng.uniform(15, 22), rng.uniform(15, 22))
    )
    return {
        "liver": liver, "spleen": spleen, "right kidney": kidneys[0], "left kidney": kidneys[1], "stomach": stomach,
        "esophagus": np.minimum(gullet, z - 84.0), "gallbladder": gallbladder, "pancreas": pancreas,
        "portal and splenic vein": portal, "duodenum": duodenum, "aorta": aorta, "inferior vena cava": cava,
        "right adrenal gland": glands[0], "left adrenal gland": glands[1], "bladder": bladder, "prostate or uterus": below,
    }  # fmt: skip


def _surroundings(rng: np.random.Generator, at: Points, folds: FloatArray) -> NDArray[np.int64]:
    """Draws the subcutaneous fat, body wall, spine, ribs, lungs, bowel loops and the fat between them."""
    x, y, z = at
    name = {n: i for i, n in enumerate(TISSUES)}
    torso = ellipsoid(at, (0, -4, 0), (rng.uniform(150, 166), rng.uniform(98, 110), 4000))
    wall = rng.uniform(12, 24)
    out = np.full(folds.shape, name["fat"])
    loops = (folds > 0.15) & (z < 10 + 0.3 * y) & (y < 26)
    out[loops] = name["bowel"]
    out[loops & (folds > 1.2) & (y < -14)] = name["gas"]
    dome = 100.0 - 0.0035 * (np.abs(x) - 55.0) ** 2 + 6 * folds
    out[z > dome] = name["lung"]
    heart = ellipsoid(at, (16, -30, 140), (52, 40, 42))
    out[heart > 0] = name["muscle"]
    out[torso < wall + 14] = name["muscle"]
    ribs = (np.abs(torso - wall - 7) < 4) & (np.sin((z + 0.5 * y) * 2 * np.pi / 30.0) > 0.4) & (z > -30)
    out[ribs] = name["bone"]
    for side in (-1.0, 1.0):
        psoas = tube(at, [(side * 36, 30, 0), (side * 44, 26, -90), (side * 62, 0, -190)], 20.0)
        out[psoas > 0] = name["muscle"]
        hip = ellipsoid(at, (side * 104, 20, -150), (26, 46, 60))
        out[(hip > 0) & (hip < 7)] = name["bone"]
        out[hip > 7] = name["muscle"]
    back = (y > 44) & (torso > wall)
    out[back] = name["muscle"]
    spine = tube(at, [(0, 36, 260), (0, 34, 0), (0, 42, -110), (0, 62, -260)], 20.0)
    out[spine > 0] = name["bone"]
    rectum = tube(at, [(8, 30, -130), (0, 24, -180), (0, 34, -240)], 14.0)
    out[rectum > 0] = name["bowel"]
    out[torso < wall] = name["fat"]
    out[torso < 0] = name["air"]
    return out
