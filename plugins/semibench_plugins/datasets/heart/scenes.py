"""Heart scenes: left atrium (la), whole heart (mmwhs) and short-axis cine (mnms, acdc).

Each function draws one case on a grid of `shape` voxels with `spacing` in mm: grey values as stored (float64, whole numbers)
and labels (uint8).
"""

from __future__ import annotations

import numpy as np

from semibench.blocks import FloatArray, deform_points, grid_points, smooth_field
from semibench_plugins.datasets.heart.anatomy import TISSUES, heart
from semibench_plugins.phantoms.radiology import Scanner, image
from semibench_plugins.phantoms.volume_parts import Label, Shape, Spacing, bumps, largest_part


def left_atrium(rng: np.random.Generator, scanner: Scanner, shape: Shape, spacing: Spacing) -> tuple[FloatArray, Label]:
    """Draws late-enhancement MR around the left atrium. The label covers the atrium, its appendage and the first centimetre of
    the veins; beyond, and across the mitral valve, the blood is as bright but not labeled. Patches of the wall enhance."""
    centre = tuple(np.array([-10.0, 14.0, 10.0]) + rng.normal(0, 5.0, 3))
    patient = heart(rng, shape, spacing, (centre[0], centre[1], centre[2]), 3.0)
    stub = (
        (patient.veins > 0)
        & (patient.left_atrium > -rng.uniform(7.0, 12.0))
        & ~patient.ascending_aorta
        & ~patient.myocardium
    )
    mask = largest_part((patient.left_atrium > 0) | (stub & (patient.left_ventricle <= 0)))
    scar = np.abs(patient.left_atrium + 1.2) < 1.6
    patches = np.clip(smooth_field(rng, shape, bumps(shape, spacing, 14.0)) - 0.3, 0.0, 1.5)
    detail = scar * patches * rng.uniform(0.1, 0.5) * (~mask)
    return image(rng, scanner, patient.tissues, TISSUES, spacing, detail), mask.astype(np.uint8)


def whole_heart(rng: np.random.Generator, scanner: Scanner, shape: Shape, spacing: Spacing) -> tuple[FloatArray, Label]:
    """Draws CT angiography or MR of the heart. Labels: 1 myocardium of the left ventricle, 2 left atrium, 3 left ventricle,
    4 ascending aorta. The right heart, the pulmonary artery and the descending aorta are visible but not labeled."""
    centre = tuple(np.array([2.0, -4.0, 8.0]) + rng.normal(0, 5.0, 3))
    patient = heart(rng, shape, spacing, (centre[0], centre[1], centre[2]), 2.0)
    label = np.zeros(shape, np.uint8)
    label[largest_part(patient.ascending_aorta)] = 4
    label[patient.myocardium] = 1
    label[patient.left_atrium > 0] = 2
    label[patient.left_ventricle > 0] = 3
    return image(rng, scanner, patient.tissues, TISSUES, spacing), label


SHORT_AXIS_TISSUES = ("air", "lung", "fat", "muscle", "blood", "myocardium", "liver", "trabeculae")


def short_axis(
    body: np.random.Generator, view: np.random.Generator, scanner: Scanner, shape: Shape, spacing: Spacing, phase: int
) -> tuple[FloatArray, Label]:
    """Draws short-axis cine MR; axis 0 runs from the apex to the base. phase: 0 for end diastole, 1 for end systole. Labels:
    1 left ventricle (with the papillary muscles), 2 myocardium, 3 right ventricle; none above the base or below the apex."""
    squeeze = body.uniform(0.55, 0.85) if phase else 1.0
    if not phase:
        body.uniform()
    n = shape[0] * spacing[0]
    at = grid_points(shape, spacing)
    at = deform_points(body, at, shape, (spacing[0] / 2, *spacing[1:]), 1.6, 34.0)
    length, radius = body.uniform(70, 88) * (0.92 if phase else 1.0), body.uniform(20, 28)
    wall = body.uniform(7, 11)
    outer_radius = (radius + wall) * (0.96 if phase else 1.0)
    inner_radius = radius * squeeze
    base = 0.5 * n - body.uniform(8, 26)
    height = base - at[0]  # mm below the base
    reach = np.clip(height / length, -1.0, 2.0)
    taper = np.sqrt(np.clip(1.0 - np.clip(reach, 0, 1) ** 2.4, 0.0, 1.0))
    taper_in = np.sqrt(np.clip(1.0 - (np.clip(reach, 0, 1) * length / (length - wall)) ** 2.2, 0.0, 1.0))
    lean = body.normal(0, 0.12, 2)
    cy, cx = body.normal(0, 6) + lean[0] * height, 6.0 + body.normal(0, 6) + lean[1] * height
    dy, dx = at[1] - cy, at[2] - cx
    oval = body.uniform(0.92, 1.08)
    gap = np.hypot(dy * oval, dx / oval)
    thick = 1.0 + 0.12 * body.normal() * np.cos(np.arctan2(dy, dx) - body.uniform(0, 6.28))
    cavity = inner_radius * taper_in - gap
    outer = outer_radius * taper * thick - gap
    beating = (reach >= 0) & (reach <= 1)

    angle = body.normal(0.1, 0.25)
    away = outer_radius * body.uniform(0.75, 0.95)
    ry, rx = cy + away * np.sin(angle), cx - away * np.cos(angle)
    taper_right = np.sqrt(np.clip(1.0 - np.clip(reach * 1.12, 0, 1) ** 2.0, 0.0, 1.0)) * (0.9 if phase else 1.0)
    right = (body.uniform(24, 32) * taper_right) - np.hypot((at[1] - ry) * body.uniform(0.75, 0.95), at[2] - rx)
    right_inside = (right > 0) & (outer <= -1.0) & beating
    label = np.zeros(shape, np.uint8)
    label[right_inside] = 3
    label[(outer > 0) & beating] = 2
    label[(cavity > 0) & beating] = 1

    name = {t: i for i, t in enumerate(SHORT_AXIS_TISSUES)}
    tissues = np.full(shape, name["lung"])
    folds = smooth_field(body, shape, bumps(shape, spacing, 22.0))
    chest = at[2] + 0.7 * at[1] + 8 * folds  # chest wall on the upper left, liver below, lung on the right
    tissues[np.broadcast_to((at[1] > body.uniform(26, 40) + 6 * folds) & (at[2] < 30), shape)] = name["liver"]
    tissues[chest < -46] = name["fat"]
    tissues[chest < -58] = name["muscle"]
    tissues[chest < -70 + 6 * folds] = name["fat"]
    around = np.maximum(right, outer) > -body.uniform(4, 9) + 5 * folds
    tissues[around & (reach < 1.05)] = name["muscle"]
    tissues[around & (reach < 1.05) & (folds > -0.3)] = name["fat"]
    tissues[(right > -3.0) & beating] = name["myocardium"]
    tissues[right_inside] = name["blood"]
    trabecular = smooth_field(view, shape, bumps(shape, (spacing[0] / 2, *spacing[1:]), 7.0)) > 1.0
    tissues[right_inside & trabecular & (right < 8)] = name["trabeculae"]
    tissues[(outer > 0) & beating] = name["myocardium"]
    tissues[(cavity > 0) & beating] = name["blood"]
    for turn in body.uniform(0, 6.28) + np.array([0.0, 2.2]):
        spot = inner_radius * 0.62 * taper_in
        papillary = np.hypot(dy - spot * np.sin(turn), dx - spot * np.cos(turn)) < body.uniform(2.5, 4.5)
        tissues[papillary & (cavity > 0) & (reach > 0.25) & (reach < 0.75)] = name["trabeculae"]
    above = height < 0  # atria and great vessels: as bright, not labeled
    atria = np.maximum(0.95 * outer_radius - np.hypot(dy - 4, dx + 3), 17.0 - np.hypot(at[1] - ry, at[2] - rx))
    tissues[above & (atria > -3)] = name["myocardium"]
    tissues[above & (atria > 0)] = name["blood"]
    tissues[np.broadcast_to(np.hypot(at[1] - cy - 34, at[2] - cx + 14) < 8.5, shape)] = name[
        "blood"
    ]  # descending aorta
    return image(view, scanner, tissues, SHORT_AXIS_TISSUES, spacing), label
