"""FLAIR of a skull-stripped brain with a glioma (brats19). Shapes are in mm; axes: z up, y backwards, x to the left."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semibench.blocks import FloatArray, Point, Points, ellipsoid, random_rotation, shape_union, smooth_field, tube
from semibench_plugins.phantoms.patients import Pose, body_points, chance, near, push_points
from semibench_plugins.phantoms.volume_parts import Mask, Scene, Shape, Spacing, Tissues, bumps

TISSUES = ("outside", "csf", "grey", "white", "caps", "edema", "faint edema", "core", "necrosis")

_POSE = Pose(shift=(8.0, 6.0, 6.0), tilt=0.15, size=(0.9, 1.08), stretch=0.04, uneven=2.0, bump=35.0)


@dataclass
class _Fields:
    """Smooth random fields over the volume, with bumps of 8, 16 and 22 mm."""

    fine: FloatArray
    folds: FloatArray
    rough: FloatArray


@dataclass
class _Focus:
    """One focus of the tumour. kind: "high" grade (ring, necrosis, wide edema), "low" grade (even, hardly a core) or "cystic"."""

    kind: str
    centre: Point
    radius: float


def glioma(rng: np.random.Generator, shape: Shape, spacing: Spacing) -> Scene:
    """Draws one patient on (z, y, x), cleared outside the brain. The label covers the whole tumour (edema, core and necrosis).
    The caps of the ventricles, an old infarct's rim and spots in the white matter are as bright but not labeled."""
    grid, steps = (shape[2], shape[1], shape[0]), (spacing[2], spacing[1], spacing[0])
    still = body_points(rng, grid, steps, (0.0, 0.0, 0.0), _POSE)
    fields = _Fields(*(smooth_field(rng, grid, bumps(grid, steps, size)) for size in (8.0, 16.0, 22.0)))
    foci = _foci(rng)
    at = still
    for focus in foci:  # the mass pushes the brain aside
        away = np.array(focus.centre) / (np.linalg.norm(focus.centre) + 1e-9)
        push = -away * min(7.0, 0.3 * focus.radius) * rng.uniform(0.0, 1.0)
        at = push_points(at, focus.centre, (float(push[0]), float(push[1]), float(push[2])), 1.8 * focus.radius)
    out, brain, horns = _healthy(rng, at, _brain(still), fields)
    label = np.zeros(grid, bool)
    for focus in foci:
        label |= _grow(rng, still, out, focus, brain, horns, fields)
    outside = brain <= 0
    out[outside] = TISSUES.index("outside")
    label &= ~outside

    def turned(array: FloatArray | Mask | Tissues) -> FloatArray:
        return np.ascontiguousarray(array.transpose(2, 1, 0))

    return Scene(
        turned(out).astype(np.int64), TISSUES, turned(label).astype(np.uint8), cleared=turned(outside).astype(bool)
    )


def _foci(rng: np.random.Generator) -> list[_Focus]:
    """Draws one to three foci on one side, or across the corpus callosum; most tumours have one."""
    side = float(rng.choice([-1.0, 1.0]))
    kind = str(rng.choice(["high", "low", "cystic"], p=[0.55, 0.3, 0.15]))
    place = (side * rng.uniform(4, 46), rng.uniform(-58, 56), rng.uniform(-24, 42))
    radius = float(np.exp(rng.uniform(np.log(8), np.log(28))))
    foci = [_Focus(kind, place, radius)]
    for _ in range(int(rng.choice(3, p=[0.7, 0.2, 0.1]))):
        foci.append(_Focus(kind, near(rng, place, 22.0), float(radius * rng.uniform(0.3, 0.8))))
    return foci


def _brain(at: Points) -> FloatArray:
    return shape_union(
        [
            ellipsoid(at, (0, 0, 6), (66, 82, 56)),
            ellipsoid(at, (0, 44, -44), (46, 32, 22)),
            tube(at, [(0, 22, -30), (0, 30, -80)], 12.0),
        ],
        8.0,
    )


def _healthy(
    rng: np.random.Generator, at: Points, brain: FloatArray, fields: _Fields
) -> tuple[Tissues, FloatArray, FloatArray]:
    """Draws the brain of a young or an old patient: cortex, fluid, ventricles with caps, spots. Returns the tissues and the
    shapes of brain and ventricles."""
    x, _, z = at
    grid = brain.shape
    old = rng.uniform(0, 1)
    name = {n: i for i, n in enumerate(TISSUES)}
    out = np.full(grid, name["white"])
    ribbon = np.abs(fields.folds)
    out[(brain < 26) & (ribbon < 0.55)] = name["grey"]
    out[brain < 6 + 2 * fields.fine] = name["grey"]
    out[(brain < 24) & (ribbon < 0.08 + 0.14 * old)] = name["csf"]
    out[(np.abs(x) < 1.2 + 0.8 * old) & (brain < 34)] = name["csf"]
    for side in (-1.0, 1.0):
        out[ellipsoid(at, (side * 20, 2, 2), (10, 18, 12)) > 0] = name["grey"]
    wide = rng.uniform(4, 7) + 5 * old
    horns = shape_union(
        [
            tube(at, [(s * 10, -34, 14), (s * 13, 0, 20), (s * 22, 30, 12)], [0.7 * wide, wide, wide])
            for s in (-1.0, 1.0)
        ]
    )
    rim = rng.uniform(0.5, 2.5) + (rng.uniform(2, 8) if chance(rng, 0.7 * old) else 0.0)
    out[(horns > -rim + 1.5 * fields.fine) & (horns <= 0)] = name["caps"]
    out[horns > 0] = name["csf"]
    out[(fields.fine > 2.4 - old) & (out == name["white"]) & (z > 0)] = name["caps"]
    if chance(rng, 0.25 * old):  # an old infarct: fluid with a bright rim
        scar = ellipsoid(
            at, (rng.choice([-1, 1]) * rng.uniform(30, 50), rng.uniform(-40, 50), rng.uniform(0, 40)), (9, 12, 9)
        )
        out[(scar + 2 * fields.fine > -3) & (brain > 0)] = name["caps"]
        out[(scar + 2 * fields.fine > 0) & (brain > 0)] = name["csf"]
    return out, brain, horns


def _grow(
    rng: np.random.Generator,
    at: Points,
    out: Tissues,
    focus: _Focus,
    brain: FloatArray,
    horns: FloatArray,
    fields: _Fields,
) -> Mask:
    """Paints one focus and returns its extent. Edema spares the ventricles and, far from the core, the fluid and the cortex."""
    name = {n: i for i, n in enumerate(TISSUES)}
    frame, radius, kind = random_rotation(rng, 0.8), focus.radius, focus.kind
    stretch = (
        float(radius * rng.uniform(0.65, 1.4)), float(radius * rng.uniform(0.65, 1.4)), float(radius * rng.uniform(0.65, 1.3)),
    )  # fmt: skip
    body = ellipsoid(at, focus.centre, stretch, frame)
    spread = rng.uniform(3, 11) if kind == "high" else rng.uniform(0, 3)
    edema = (body + rng.uniform(2, 6) * fields.rough + 2.0 * fields.fine > -spread) & (brain > 2) & (body > -18)
    edema &= (horns <= 0) & ((out != name["csf"]) | (body > 0.3 * radius))
    edema &= (out != name["grey"]) | (body > -0.2 * spread)
    share = {"high": rng.uniform(0.35, 0.75), "low": rng.uniform(0.0, 0.3), "cystic": rng.uniform(0.7, 0.85)}[kind]
    sizes = (share * stretch[0] + 0.1, share * stretch[1] + 0.1, share * stretch[2] + 0.1)
    core = np.where(edema, ellipsoid(at, focus.centre, sizes, frame) + 2.0 * fields.rough * share, -1.0)
    out[edema] = name["faint edema"] if kind == "low" else name["edema"]
    out[core > 0] = name["core"]
    if kind == "cystic" or (kind == "high" and chance(rng, 0.7)):
        out[core > (1.5 if kind == "cystic" else rng.uniform(2.5, 6.0))] = name["necrosis"]
    return np.asarray(edema)
