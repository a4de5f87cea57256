"""The neck with the thyroid gland, as drawn for the ultrasound phantoms."""

from __future__ import annotations

import numpy as np

from semibench.blocks import Contour, Wave, smooth_field, soft_step
from semibench_plugins.phantoms.tissue import Canvas, Extent, Label, Lesion, add_distractors, patient_grid, pick_lesion
from semibench_plugins.phantoms.ultrasound import Tissue

LESIONS = (
    Lesion((-15, -9), (0.5, 0.9), (0.6, 1.0), (0.1, 0.4), (0, 2), (0.3, 1.0), 2.0, (0, 5), 4.0),  # solid, hypoechoic
    Lesion((-15, -9), (0.7, 1.2), (0.9, 1.35), (0.15, 0.4), (1, 6), (0.5, 1.4), 3.0, (-1, 2), 2.5),  # suspicious
    Lesion(
        (-2, 2), (0.6, 0.8), (0.55, 0.9), (0.05, 0.25), (0, 0), (0.3, 0.6), 1.5, (-15, -9), 0.8
    ),  # isoechoic, dark halo
    Lesion((-24, -14), (0.1, 0.4), (0.6, 0.95), (0.05, 0.3), (0, 0), (0.2, 0.6), 6.0, (0, 3), 1.5),  # partly cystic
    Lesion((4, 7), (0.6, 0.9), (0.6, 0.9), (0.05, 0.3), (0, 0), (0.3, 0.8), 2.0, (-9, -4), 0.3),  # hyperechoic
)


def thyroid(
    body: np.random.Generator, view: np.random.Generator, extent: Extent, lesions: int, shift: float = 0.04
) -> tuple[Tissue, Label]:
    """Draws a neck: skin, fat, strap muscles, a thyroid lobe with labeled nodules, trachea, carotid artery and deep muscle. A
    frame shows it in a transverse view (trachea, round vessels) or a longitudinal one (long lobe, no trachea)."""
    depth, width = extent.depth, extent.width
    z, x = patient_grid(extent, view, shift)
    c = Canvas(extent, z, x, view)
    transverse = body.random() < 0.65
    side = 1.0 if body.random() < 0.5 else -1.0
    offset = body.uniform(-0.25, 0.25) * width  # where the neck lies in the field
    x = x + offset
    tilt = body.normal(0, 0.08) * x
    skin = body.uniform(0.8, 1.6) + Wave(body, width, 0.12)(x)
    strap = skin + depth * body.uniform(0.02, 0.2) + Wave(body, width, 0.02 * depth)(x)
    lobe_top = strap + depth * body.uniform(0.04, 0.16) + Wave(body, width, 0.02 * depth)(x) + tilt
    lobe_top = np.maximum(lobe_top, strap + 0.6)
    deep = lobe_top + depth * body.uniform(0.3, 0.65) + Wave(body, width, 0.03 * depth)(x)

    c.echo += 4.0
    streaks = c.streaks(0.7, 9, strap)
    c.blend(soft_step(z - skin, 0.4), -6 + 2.5 * smooth_field(view, extent.shape, c.cells(2, 7)), 0.55)
    c.blend(soft_step(z - strap, 0.5), body.uniform(-14, -9) + 3.0 * streaks, 0.7)
    connective = -3 + 3 * smooth_field(view, extent.shape, c.cells(2.0, 6)) + 2 * streaks
    c.blend(soft_step(z - lobe_top, 0.5), connective, 0.7)
    c.blend(soft_step(z - deep, 0.8), body.uniform(-16, -10) + 3 * c.streaks(0.8, 8, deep), 0.7)
    c.interface(skin, 0.22, 6, 2.0)
    c.interface(strap, 0.25, body.uniform(3, 9), 1.5)
    c.interface(lobe_top, 0.25, body.uniform(1, 5), 0.5)
    c.interface(deep, 0.3, body.uniform(2, 8), 0.5)

    top, bottom = float(lobe_top.mean()), float(deep.mean())
    radii = (0.46 * (bottom - top) * body.uniform(0.8, 1.05), width * (body.uniform(0.22, 0.38) if transverse else 0.6))
    middle = ((top + bottom) / 2, side * width * 0.04 * body.normal())
    lobe = Contour(body, middle, radii, body.normal(0, 0.12), 0.2, order=5)
    inside = lobe.depth(z, x)
    grain = 1.2 * smooth_field(view, extent.shape, c.cells(3, 3)) + body.uniform(0, 3) * smooth_field(
        body, extent.shape, c.cells(7, 8)
    )
    inflamed = body.random() < 0.2  # thyroiditis: a dark, coarse gland
    gland = body.uniform(-10, -5) + 2.0 * grain if inflamed else body.uniform(-3, 4) + grain
    c.blend(soft_step(inside, 0.6), gland, 0.6)
    c.echo += body.uniform(1, 5) * np.exp(-(((inside + 0.2) / 0.35) ** 2))

    if transverse:
        trachea = (top + 0.45 * (bottom - top), -side * width * body.uniform(0.42, 0.56))
        ring = Contour(body, trachea, (0.4 * (bottom - top), width * body.uniform(0.15, 0.2)), 0.0, 0.05).depth(z, x)
        c.blend(soft_step(ring, 0.6), -9.0, 0.9)
        c.echo += 12 * np.exp(-(((ring - 1.0) / 0.5) ** 2)) * (z < trachea[0])
        below = soft_step(ring - 1.6, 0.8)
        c.blend(below, -18.0 + 5 * np.sin(z * body.uniform(2.5, 4.0)), 1.4)
        size = body.uniform(2.4, 3.6)
        carotid = (middle[0] + body.uniform(-0.1, 0.3) * (bottom - top), side * width * body.uniform(0.36, 0.45))
        c.vessel(body, carotid, (size, size * body.uniform(0.9, 1.15)), 6.0)
        if body.random() < 0.6:
            vein = (carotid[0] - size - body.uniform(0.5, 2), carotid[1] + side * body.uniform(0, 3))
            c.vessel(body, vein, (size * body.uniform(0.3, 0.7), size * body.uniform(1.0, 1.6)), 2.0)
    for _ in range(lesions):
        kind = pick_lesion(body, LESIONS)
        radius = float(np.clip(np.exp(body.normal(np.log(0.58), 0.45)), 0.3, 1.15)) * min(radii[0], radii[1])
        reach_z, reach_x = max(radii[0] - 0.8 * radius, 0.0), max(radii[1] - 0.8 * radius, 0.0)
        turn, share = body.uniform(0, 2 * np.pi), np.sqrt(body.random())
        across = middle[1] + np.cos(turn) * share * reach_x
        across = float(np.clip(across, offset - 0.4 * width, offset + 0.4 * width))
        at = (middle[0] + np.sin(turn) * share * reach_z, across)
        c.lesion(body, kind, at, radius)
    add_distractors(body, c, 0.2, 0.8, vessels=0.5, shadows=0.5)
    c.absorb(body.uniform(0.9, 1.2))
    return c.tissue(body.uniform(0.3, 1.0)), c.label
