"""The volume phantoms: left atrium (la), whole heart (mmwhs), short-axis cine (mnms), hippocampus (msd-hippocampus).

Each function draws one case: stored grey values (float64, whole numbers) and labels (uint8) on `shape`, spacing in mm.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label as components

from semibench_plugins.phantoms.anatomy import Point, deform, ellipsoid, points, tube
from semibench_plugins.phantoms.fields import Array, smooth_field
from semibench_plugins.phantoms.heart import TISSUES, heart
from semibench_plugins.phantoms.radiology import Scanner, image

Label = NDArray[np.uint8]
Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The biggest connected part (6 neighbours in 3D)."""
    parts, count = components(mask)
    if count < 2:
        return mask
    return np.asarray(parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:])))


def _bumps(shape: Shape, spacing: Spacing, size: float) -> list[int]:
    return [max(2, round(n * s / size)) for n, s in zip(shape, spacing, strict=True)]


def left_atrium(rng: np.random.Generator, scanner: Scanner, shape: Shape, spacing: Spacing) -> tuple[Array, Label]:
    """Late-enhancement MR around the left atrium. Label: the atrium, its appendage and the first centimetre of the veins;
    beyond, and across the mitral valve, the blood is as bright but not labeled. Patches of the wall enhance."""
    centre = tuple(np.array([-10.0, 14.0, 10.0]) + rng.normal(0, 5.0, 3))
    found = heart(rng, shape, spacing, (centre[0], centre[1], centre[2]), 3.0)
    stub = (
        (found.veins > 0) & (found.left_atrium > -rng.uniform(7.0, 12.0)) & ~found.ascending_aorta & ~found.myocardium
    )
    mask = _largest((found.left_atrium > 0) | (stub & (found.left_ventricle <= 0)))
    scar = np.abs(found.left_atrium + 1.2) < 1.6
    patches = np.clip(smooth_field(rng, shape, _bumps(shape, spacing, 14.0)) - 0.3, 0.0, 1.5)
    detail = scar * patches * rng.uniform(0.1, 0.5) * (~mask)
    return image(rng, scanner, found.tissues, TISSUES, spacing, detail), mask.astype(np.uint8)


def whole_heart(rng: np.random.Generator, scanner: Scanner, shape: Shape, spacing: Spacing) -> tuple[Array, Label]:
    """CT angiography or MR of the heart. Labels: 1 myocardium of the left ventricle, 2 left atrium, 3 left ventricle,
    4 ascending aorta; the right heart, the pulmonary artery and the descending aorta are there without a label."""
    centre = tuple(np.array([2.0, -4.0, 8.0]) + rng.normal(0, 5.0, 3))
    found = heart(rng, shape, spacing, (centre[0], centre[1], centre[2]), 2.0)
    label = np.zeros(shape, np.uint8)
    label[_largest(found.ascending_aorta)] = 4
    label[found.myocardium] = 1
    label[found.left_atrium > 0] = 2
    label[found.left_ventricle > 0] = 3
    return image(rng, scanner, found.tissues, TISSUES, spacing), label


SHORT_AXIS_TISSUES = ("air", "lung", "fat", "muscle", "blood", "myocardium", "liver", "trabeculae")


def short_axis(
    body: np.random.Generator, view: np.random.Generator, scanner: Scanner, shape: Shape, spacing: Spacing, phase: int
) -> tuple[Array, Label]:
    """Short-axis cine MR, axis 0 from the apex to the base. phase: 0 end diastole, 1 end systole. Labels: 1 left
    ventricle (papillary muscles included), 2 myocardium, 3 right ventricle; none above the base and below the apex."""
    squeeze = body.uniform(0.55, 0.85) if phase else 1.0
    if not phase:
        body.uniform()
    n = shape[0] * spacing[0]
    at = points(shape, spacing)
    at = deform(body, at, shape, (spacing[0] / 2, *spacing[1:]), 1.6, 34.0)
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
    folds = smooth_field(body, shape, _bumps(shape, spacing, 22.0))
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
    trabecular = smooth_field(view, shape, _bumps(shape, (spacing[0] / 2, *spacing[1:]), 7.0)) > 1.0
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


BRAIN_TISSUES = ("csf", "grey", "white", "hippocampus", "thalamus", "amygdala", "vessel")


def hippocampus(rng: np.random.Generator, scanner: Scanner, shape: Shape, spacing: Spacing) -> tuple[Array, Label]:
    """T1 MR around one hippocampus; axes x (to the right), y (forwards), z (up). Labels: 1 anterior (head), 2 posterior
    (body and tail), divided by a coronal plane. Amygdala and cortex are as grey, the temporal horn lies against it."""
    extent = [n * s for n, s in zip(shape, spacing, strict=True)]
    here = points(shape, spacing)
    at = deform(rng, here, shape, spacing, 1.0, 13.0)
    x, y, z = at
    length = rng.uniform(0.72, 0.84) * extent[1]
    start = -0.5 * extent[1] + rng.uniform(0.06, 0.14) * extent[1]
    t = np.clip((y - start) / length, -0.2, 1.2)
    drop, bow = rng.uniform(10, 17), rng.uniform(1, 4)
    lift = rng.normal(1.0, 1.5)
    medial = rng.uniform(3, 8)
    xc = rng.normal(0, 1.5) + medial * np.sin(np.pi * np.clip(t, 0, 1)) - medial / 2
    zc = lift + drop * (0.5 - t) + bow * np.sin(np.pi * np.clip(t, 0, 1))
    head = 1.0 / (1.0 + np.exp(-(t - 0.62) / 0.09))
    rx, rz = rng.uniform(4.0, 5.2) + rng.uniform(2.0, 4.0) * head, rng.uniform(3.1, 3.9) + rng.uniform(0.8, 2.0) * head
    ends = np.sqrt(
        np.clip(1.0 - np.clip((0.12 - t) / 0.12, 0, 1) ** 2 - np.clip((t - 0.84) / 0.16, 0, 1) ** 2, 0.0, 1.0)
    )
    tilt = rng.normal(0.25, 0.15)
    u, w = (x - xc) + tilt * (z - zc), (z - zc) - tilt * (x - xc)
    cross = np.sqrt((u / rx) ** 2 + (w / rz) ** 2)
    body = (ends - cross) * 4.0
    body = np.where((t > 0) & (t < 1), body, -4.0)
    mask = _largest(body > 0)

    name = {n: i for i, n in enumerate(BRAIN_TISSUES)}
    folds = smooth_field(rng, shape, _bumps(shape, spacing, 13.0))
    fine = smooth_field(rng, shape, _bumps(shape, spacing, 8.0))
    cortex = np.abs(folds + 0.5 * fine + 0.03 * (z - zc))  # a folded ribbon: fluid in the sulcus, grey on both sides
    tissues = np.full(shape, name["white"])
    tissues[cortex < rng.uniform(0.45, 0.65)] = name["grey"]
    tissues[cortex < rng.uniform(0.08, 0.18)] = name["csf"]
    deep = ellipsoid(at, (rng.normal(-6, 3), rng.normal(-4, 4), rng.uniform(15, 20)), (14, 18, 10))
    tissues[deep > 0] = name["thalamus"]
    band = (w < 0) & (cross < 1.6 + 0.3 * fine) & (t > -0.05) & (t < 1.05)
    tissues[band] = name["white"]
    horn = tube(at, _horn(rng, start, length, drop, lift, medial), rng.uniform(2.0, 3.6))
    tissues[horn + fine > 0] = name["csf"]
    fissure = (w > 0) & (cross < rng.uniform(1.2, 1.45) + 0.25 * fine) & (t > 0) & (t < 0.95)
    tissues[fissure & (folds > -0.7)] = name["csf"]
    subiculum = tube(at, _beside(start, length, drop, lift, medial), rng.uniform(2.0, 3.2))
    tissues[subiculum + 0.8 * fine > 0] = name["grey"]
    amygdala = ellipsoid(
        at,
        (rng.normal(2, 1.5), start + length * rng.uniform(0.93, 1.0), lift - 0.25 * drop + rng.uniform(5, 8)),
        (rng.uniform(7, 9), rng.uniform(6, 9), rng.uniform(5, 7)),
    )
    tissues[amygdala > 0] = name["amygdala"]
    vessel = tube(at, [(-14, -20, rng.uniform(-8, 0)), (-10, 0, rng.uniform(-10, 0)), (-12, 25, -6)], 1.2)
    tissues[vessel > 0] = name["vessel"]
    tissues[mask] = name["hippocampus"]
    plane = start + length * rng.uniform(0.54, 0.64)
    label = np.zeros(shape, np.uint8)
    label[mask] = 2
    label[mask & np.broadcast_to(here[1] > plane, shape)] = 1
    layers = 0.05 * np.cos(2.5 * body) * mask
    return image(rng, scanner, tissues, BRAIN_TISSUES, spacing, layers), label


def _beside(start: float, length: float, drop: float, lift: float, medial: float) -> list[Point]:
    """Path of the subiculum: below the hippocampus on its medial side, as grey and not labeled."""
    return [
        (medial * np.sin(np.pi * t) - medial / 2 - 5.5, start + length * t, lift + drop * (0.5 - t) - 3.0)
        for t in (0.15, 0.45, 0.8, 1.1)
    ]


def _horn(
    rng: np.random.Generator, start: float, length: float, drop: float, lift: float, medial: float
) -> list[Point]:
    """Path of the temporal horn: beside and above the hippocampus."""
    path = []
    for t in (0.05, 0.4, 0.75, 1.0):
        path.append(
            (
                float(medial * np.sin(np.pi * t) - medial / 2 + 7.5 + rng.normal(0, 1)),
                float(start + length * t),
                float(lift + drop * (0.5 - t) + 3.5 + rng.normal(0, 1)),
            )
        )
    return path
