"""The breast, as drawn for the ultrasound phantoms."""

from __future__ import annotations

import numpy as np

from semibench.blocks import Wave, ridge, smooth_field, soft_step
from semibench_plugins.phantoms.tissue import Canvas, Extent, Label, Lesion, add_distractors, patient_grid, pick_lesion
from semibench_plugins.phantoms.ultrasound import Tissue

LESIONS = (
    Lesion((-15, -8), (0.35, 0.7), (0.45, 0.8), (0.05, 0.3), (0, 1), (0.3, 0.9), 2.0, (0, 5), 4.0),  # fibroadenoma
    Lesion((-16, -9), (0.8, 1.6), (0.7, 1.25), (0.15, 0.4), (2, 8), (0.8, 2.2), 3.5, (0, 6), 3.0),  # carcinoma
    Lesion((-26, -17), (0.1, 0.3), (0.5, 0.95), (0.02, 0.2), (0, 1), (0.2, 0.6), 1.5, (0, 3), 1.2),  # complex cyst
    Lesion((-6, -3.5), (0.6, 0.9), (0.5, 0.9), (0.1, 0.4), (0, 2), (0.5, 1.2), 2.5, (1, 5), 0.7),  # nearly isoechoic
    Lesion((4, 7), (0.7, 1.0), (0.5, 0.9), (0.05, 0.3), (0, 1), (0.4, 1.0), 2.0, (-4, 0), 0.5),  # hyperechoic
)


def breast(
    body: np.random.Generator, view: np.random.Generator, extent: Extent, lesions: int, shift: float = 0.02
) -> tuple[Tissue, Label]:
    """Draws a breast: skin, fat with ligaments, gland, muscle and chest wall, with `lesions` labeled lesions and unlabeled
    structures that look similar."""
    depth, width = extent.depth, extent.width
    z, x = patient_grid(extent, view, shift)
    c = Canvas(extent, z, x, view)
    skin = body.uniform(0.9, 2.0) + Wave(body, width, 0.15)(x)
    fat_end = skin + depth * body.uniform(0.06, 0.3) + Wave(body, width, 0.025 * depth)(x)
    gland_end = depth * body.uniform(0.5, 0.8) + Wave(body, width, 0.02 * depth)(x)
    gland_end = np.maximum(gland_end, fat_end + 0.15 * depth)
    wall = gland_end + depth * body.uniform(0.12, 0.4) + Wave(body, width, 0.015 * depth)(x)
    fatty, fibrous = body.uniform(0, 7), body.uniform(2.5, 5)

    fat = body.uniform(-13, -8) + 2.0 * smooth_field(view, extent.shape, c.cells(4, 6))
    ligaments = ridge(smooth_field(body, extent.shape, c.cells(9, 14)) + 0.25 * c.streaks(3, 6, skin), 0.09)
    fat += body.uniform(5, 10) * ligaments
    streaks = 0.7 * c.streaks(body.uniform(0.7, 1.3), body.uniform(4, 10), fat_end)
    streaks += 0.7 * c.streaks(body.uniform(1.5, 3), body.uniform(8, 16), gland_end)
    gland = fibrous * streaks + 2.0 * smooth_field(view, extent.shape, c.cells(5, 7))
    lobules = soft_step(smooth_field(body, extent.shape, c.cells(body.uniform(5, 9), body.uniform(8, 14))) - 0.8, 0.5)
    gland = gland * (1 - 0.6 * lobules) - fatty * lobules
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
        area = float(np.clip(np.exp(body.normal(np.log(0.07), 0.65)), 0.015, 0.35)) * depth * width
        radius = np.sqrt(area / np.pi)
        low = min(max(float(fat_end.mean()) * 0.8, 0.75 * radius + 2.0), 0.5 * depth)
        at = (body.uniform(low, max(low + 1, 0.62 * depth)), body.uniform(-0.3, 0.3) * width)
        c.lesion(body, pick_lesion(body, LESIONS), at, radius)
    add_distractors(body, c, 0.25, 0.75)
    return c.tissue(body.uniform(0.25, 1.0)), c.label
