"""The breast, as drawn for the ultrasound phantoms."""

from __future__ import annotations

import numpy as np

from semibench.blocks import FloatArray, Wave, ridge, smooth_field, soft_step
from semibench_plugins.phantoms.tissue import Canvas, Extent, Label, Lesion, add_distractors, patient_grid, pick_lesion
from semibench_plugins.phantoms.ultrasound import Tissue

LESIONS = (
    Lesion((-15, -8), (0.43, 0.7), (0.4, 0.8), (0.05, 0.3), (0, 1), (0.3, 0.9), 1.5, (2, 8), 3.5),  # fibroadenoma
    Lesion((-15, -8), (0.65, 1.2), (0.65, 1.25), (0.15, 0.4), (2, 8), (0.8, 2.2), 3.0, (2, 8), 3.5),  # carcinoma
    Lesion((-25, -15), (0.1, 0.3), (0.45, 0.95), (0.02, 0.2), (0, 1), (0.2, 0.6), 1.5, (0, 3), 0.6),  # complex cyst
    Lesion(
        (-7, -2), (0.5, 0.9), (0.4, 0.8), (0.05, 0.3), (0, 2), (0.3, 0.8), 1.0, (4, 9), 0.9
    ),  # isoechoic, with a capsule
    Lesion((-10, -3), (0.5, 1.0), (0.45, 0.95), (0.1, 0.4), (0, 3), (0.4, 1.2), 4.0, (2, 8), 0.8),  # of mixed echo
    Lesion((4, 8), (0.6, 1.0), (0.4, 0.9), (0.05, 0.3), (0, 1), (0.4, 1.0), 2.0, (-4, 0), 0.2),  # hyperechoic
)


def breast(
    body: np.random.Generator, view: np.random.Generator, extent: Extent, lesions: int, shift: float = 0.02
) -> tuple[Tissue, Label]:
    """Draws a breast: skin, fat with ligaments, gland, muscle and chest wall, with `lesions` labeled lesions and unlabeled
    structures that look similar. Breasts range from fatty (lobules between septa down to the muscle) to dense."""
    depth, width = extent.depth, extent.width
    z, x = patient_grid(extent, view, shift)
    c = Canvas(extent, z, x, view)
    tilt = body.normal(0, 0.06) * x
    skin = body.uniform(0.9, 2.0) + Wave(body, width, 0.15)(x)
    fat_end = skin + depth * body.uniform(0.04, 0.36) + Wave(body, width, 0.04 * depth)(x) + tilt
    fat_end = np.maximum(fat_end, skin + 0.8)
    gland_end = depth * body.uniform(0.4, 0.85) + Wave(body, width, 0.02 * depth)(x) + tilt
    gland_end = np.maximum(gland_end, fat_end + 0.15 * depth)
    wall = gland_end + depth * body.uniform(0.12, 0.4) + Wave(body, width, 0.015 * depth)(x)

    streaks = 0.7 * c.streaks(body.uniform(0.7, 1.3), body.uniform(4, 10), fat_end)
    streaks += 0.7 * c.streaks(body.uniform(1.5, 3), body.uniform(8, 16), gland_end)
    fat, gland = _fat(body, c, skin), _gland(body, c, streaks, skin)
    muscle = body.uniform(-12, -6) + 3.5 * c.streaks(0.7, 10, gland_end)

    c.echo += 5.0
    c.blend(soft_step(z - skin, 0.4), fat, 0.55)
    c.blend(soft_step(z - fat_end, 0.8), gland, 0.75)
    c.blend(soft_step(z - gland_end, 0.8), muscle, 0.7)
    sheets = soft_step(streaks - 0.9, 1.0) * soft_step(z - fat_end, 1.0)
    c.echo += body.uniform(1, 6) * sheets
    c.mirror += body.uniform(0.3, 1.5) * sheets * np.exp(c.echo / 8.7).clip(0, 2)
    c.interface(skin, 0.25, 6, 2.0)
    c.interface(gland_end, 0.35, body.uniform(4, 11), 2.0)
    c.blend(soft_step(z - wall, 0.8), body.uniform(-24, -14) + 2 * streaks, 0.8)
    c.interface(wall, 0.5, body.uniform(8, 22), 4.0)

    for _ in range(lesions):
        area = float(np.clip(np.exp(body.normal(np.log(0.06), 0.75)), 0.012, 0.4)) * depth * width
        radius = np.sqrt(area / np.pi)
        low = min(0.75 * radius + 2.0, 0.5 * depth)
        at = (body.uniform(low, max(low + 1, 0.55 * depth)), np.clip(body.normal(0, 0.15), -0.36, 0.36) * width)
        c.lesion(body, pick_lesion(body, LESIONS), at, radius)
    add_distractors(body, c, 0.2, 0.75, vessels=0.6, shadows=0.6)
    c.absorb(body.uniform(0.9, 1.2))
    return c.tissue(body.uniform(0.25, 1.0)), c.label


def _fat(body: np.random.Generator, c: Canvas, skin: FloatArray) -> FloatArray:
    """Draws the echo of fat: dark lobules between bright ligaments."""
    shape = c.extent.shape
    echo = body.uniform(-14, -7) + 2.0 * smooth_field(c.view, shape, c.cells(4, 6))
    size = body.uniform(0.6, 1.3)
    septa = ridge(smooth_field(body, shape, c.cells(9 * size, 14 * size)) + 0.25 * c.streaks(3, 6, skin), 0.09)
    return echo + body.uniform(5, 10) * septa


def _gland(body: np.random.Generator, c: Canvas, streaks: FloatArray, skin: FloatArray) -> FloatArray:
    """Draws the echo of the gland: fibres along the layers, with dark lobules of fat. In a fatty breast, fat takes its place."""
    shape = c.extent.shape
    fatty, fibrous = body.uniform(0, 11), body.uniform(2.0, 5)
    gland = fibrous * streaks + 2.0 * smooth_field(c.view, shape, c.cells(5, 7))
    cells = c.cells(body.uniform(4, 10), body.uniform(7, 16))
    lobules = soft_step(smooth_field(body, shape, cells) - body.uniform(0.3, 1.0), 0.5)
    gland = gland * (1 - 0.6 * lobules) - fatty * lobules
    if body.random() < 0.3:
        return _fat(body, c, skin) + 0.3 * gland
    return gland
