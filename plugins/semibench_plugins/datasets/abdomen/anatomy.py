"""An abdomen with sixteen organs, for the phantoms of synapse, amos22 and pancreas. Shapes are in mm.

Axes: x to the patient's left, y backwards, z up. The origin is in front of the first lumbar vertebra. The trunk between the
kidneys and the bladder is shorter than a person's, so that it fits into a few slices; the adrenals and the oesophagus are a
little too thick.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semibench.blocks import FloatArray, Point, Points, ellipsoid, smooth_field, tube
from semibench_plugins.datasets.abdomen.digestive_organs import bowel_side
from semibench_plugins.datasets.abdomen.solid_organs import kidney_side
from semibench_plugins.phantoms.patients import Pose, body_points, chance, near
from semibench_plugins.phantoms.volume_parts import Mask, Shape, Spacing, Tissues, bumps

ORGANS = (
    "none", "spleen", "right kidney", "left kidney", "gallbladder", "esophagus", "liver", "stomach", "aorta",
    "inferior vena cava", "portal and splenic vein", "pancreas", "right adrenal gland", "left adrenal gland", "duodenum",
    "bladder", "prostate or uterus",
)  # fmt: skip
SURROUNDINGS = ("air", "lung", "fat", "muscle", "bone", "bowel", "gas", "fluid", "mass")
TISSUES = (*ORGANS[1:], *SURROUNDINGS)


@dataclass
class Abdomen:
    """One patient, as maps of voxels. tissues: indices into TISSUES. organs: indices into ORGANS."""

    tissues: Tissues
    organs: NDArray[np.uint8]


_ORDER = (
    "liver", "stomach", "spleen", "right kidney", "left kidney", "duodenum", "gallbladder", "pancreas", "inferior vena cava",
    "aorta", "portal and splenic vein", "esophagus", "right adrenal gland", "left adrenal gland", "bladder",
    "prostate or uterus",
)  # fmt: skip
"""The order in which organs are painted: later ones cover earlier ones."""

_LESIONS = (
    ("liver", 0.35, ("mass", "fluid")), ("spleen", 0.1, ("mass", "fluid")), ("right kidney", 0.3, ("fluid", "mass")),
    ("left kidney", 0.3, ("fluid", "mass")), ("pancreas", 0.2, ("mass", "fluid")),
)  # fmt: skip
"""Organ, share of the patients with lesions in it, and of what these may consist. The organ's label includes them."""


def abdomen(rng: np.random.Generator, shape: Shape, spacing: Spacing, centre: Point, pose: Pose) -> Abdomen:
    """Draws one patient on a grid (x, y, z). centre: the point of the body at the middle of the average scan, in mm."""
    at = body_points(rng, shape, spacing, centre, pose)
    organs = {**kidney_side(rng, at), **bowel_side(rng, at)}
    folds = smooth_field(rng, shape, bumps(shape, spacing, 26.0))
    tissues = _surroundings(rng, at, folds)
    inside = tissues != TISSUES.index("air")
    if chance(rng, 0.25):
        _pour_ascites(rng, at, tissues, organs["liver"], folds)
    label = np.zeros(shape, np.uint8)
    for name in _ORDER:
        if name in organs:
            label[(organs[name] > 0) & inside] = ORGANS.index(name)
    used = label > 0
    tissues[used] = label[used].astype(np.int64) - 1
    _grow_lesions(rng, shape, spacing, tissues, label)
    stomach_gas = (label == ORGANS.index("stomach")) & (at[1] < rng.uniform(-62, -34))
    tissues[stomach_gas] = TISSUES.index("gas")
    return Abdomen(tissues, label)


def _grow_lesions(
    rng: np.random.Generator, shape: Shape, spacing: Spacing, tissues: Tissues, label: NDArray[np.uint8]
) -> None:
    """Paints cysts and tumours into the organs of some patients."""
    spots = smooth_field(rng, shape, bumps(shape, spacing, rng.uniform(26.0, 46.0)))
    for organ, share, kinds in _LESIONS:
        ill, kind, level = chance(rng, share), str(rng.choice(kinds)), rng.uniform(0.8, 1.5)
        if ill:
            tissues[(label == ORGANS.index(organ)) & (spots > level)] = TISSUES.index(kind)


def _pour_ascites(rng: np.random.Generator, at: Points, tissues: Tissues, liver: FloatArray, folds: FloatArray) -> None:
    """Fills the fat around the liver, and that between the loops, with fluid."""
    rim, depth = rng.uniform(6, 22), rng.uniform(-20, 30)
    room: Mask = (tissues == TISSUES.index("fat")) & (at[1] < 30)
    wet = (liver > -rim) | ((folds < -0.2) & (at[2] < depth))
    tissues[room & wet] = TISSUES.index("fluid")


def _surroundings(rng: np.random.Generator, at: Points, folds: FloatArray) -> Tissues:
    """Draws the subcutaneous fat, body wall, spine, ribs, lungs, bowel loops and the fat between them."""
    x, y, z = at
    name = {n: i for i, n in enumerate(TISSUES)}
    wall = rng.uniform(5, 42)  # from thin to obese patients
    torso = ellipsoid(at, (0, -4, 0), (rng.uniform(132, 148) + wall, rng.uniform(82, 94) + wall, 4000))
    out = np.full(folds.shape, name["fat"])
    loops = (folds > rng.uniform(-0.3, 0.6)) & (z < rng.uniform(-15, 30) + 0.3 * y) & (y < 26)
    out[loops] = name["bowel"]
    out[loops & (folds > rng.uniform(0.8, 1.6)) & (y < -14)] = name["gas"]
    dome = rng.uniform(90, 112) - 0.0035 * (np.abs(x) - 55.0) ** 2 + 6 * folds
    out[z > dome] = name["lung"]
    if chance(rng, 0.25):
        side = rng.choice([-1.0, 0.0, 1.0])
        out[(z > dome) & (y > rng.uniform(0, 40)) & (x * side >= 0)] = name["fluid"]
    heart = ellipsoid(at, near(rng, (16, -30, 140), 6), (52, 40, 42))
    out[heart > 0] = name["muscle"]
    out[torso < wall + rng.uniform(9, 18)] = name["muscle"]
    ribs = (np.abs(torso - wall - 7) < 4) & (np.sin((z + 0.5 * y) * 2 * np.pi / 30.0 + wall) > 0.4) & (z > -30)
    out[ribs] = name["bone"]
    psoas_size = rng.uniform(13, 24)
    for side in (-1.0, 1.0):
        psoas = tube(at, [(side * 36, 30, 0), (side * 44, 26, -90), (side * 62, 0, -190)], psoas_size)
        out[psoas > 0] = name["muscle"]
        hip = ellipsoid(at, (side * 104, 20, -150), (26, 46, 60))
        out[(hip > 0) & (hip < 7)] = name["bone"]
        out[hip > 7] = name["muscle"]
    back = (y > 44) & (torso > wall)
    out[back] = name["muscle"]
    spine = tube(at, [(0, 36, 260), (0, 34, 0), (0, 42, -110), (0, 62, -260)], rng.uniform(17, 22))
    out[spine > 0] = name["bone"]
    rectum = tube(at, [(8, 30, -130), (0, 24, -180), (0, 34, -240)], rng.uniform(10, 22))
    out[rectum > 0] = name["bowel"]
    out[torso < wall] = name["fat"]
    out[torso < 0] = name["air"]
    return out
