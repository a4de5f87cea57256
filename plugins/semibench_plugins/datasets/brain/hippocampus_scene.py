"""T1 MR of the hippocampus and its surroundings (msd-hippocampus)."""

from __future__ import annotations

import numpy as np

from semibench.blocks import FloatArray, Point, deform_points, ellipsoid, grid_points, smooth_field, tube
from semibench_plugins.phantoms.radiology import Scanner, image
from semibench_plugins.phantoms.volume_parts import Label, Shape, Spacing, bumps, largest_part

TISSUES = ("csf", "grey", "white", "hippocampus", "thalamus", "amygdala", "vessel")


def hippocampus(rng: np.random.Generator, scanner: Scanner, shape: Shape, spacing: Spacing) -> tuple[FloatArray, Label]:
    """Draws T1 MR around one hippocampus; axes x (to the right), y (forwards), z (up). Labels: 1 anterior (head), 2 posterior
    (body and tail), divided by a coronal plane. Amygdala and cortex have the same grey, and the temporal horn touches it."""
    extent = [n * s for n, s in zip(shape, spacing, strict=True)]
    here = grid_points(shape, spacing)
    at = deform_points(rng, here, shape, spacing, 1.0, 13.0)
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
    mask = largest_part(body > 0)

    name = {n: i for i, n in enumerate(TISSUES)}
    folds = smooth_field(rng, shape, bumps(shape, spacing, 13.0))
    fine = smooth_field(rng, shape, bumps(shape, spacing, 8.0))
    cortex = np.abs(folds + 0.5 * fine + 0.03 * (z - zc))  # a folded ribbon: fluid in the sulcus, grey on both sides
    tissues = np.full(shape, name["white"])
    tissues[cortex < rng.uniform(0.45, 0.65)] = name["grey"]
    tissues[cortex < rng.uniform(0.08, 0.18)] = name["csf"]
    deep = ellipsoid(at, (rng.normal(-6, 3), rng.normal(-4, 4), rng.uniform(15, 20)), (14, 18, 10))
    tissues[deep > 0] = name["thalamus"]
    band = (w < 0) & (cross < 1.6 + 0.3 * fine) & (t > -0.05) & (t < 1.05)
    tissues[band] = name["white"]
    horn = tube(at, _horn_path(rng, start, length, drop, lift, medial), rng.uniform(2.0, 3.6))
    tissues[horn + fine > 0] = name["csf"]
    fissure = (w > 0) & (cross < rng.uniform(1.2, 1.45) + 0.25 * fine) & (t > 0) & (t < 0.95)
    tissues[fissure & (folds > -0.7)] = name["csf"]
    subiculum = tube(at, _subiculum_path(start, length, drop, lift, medial), rng.uniform(2.0, 3.2))
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
    return image(rng, scanner, tissues, TISSUES, spacing, layers), label


def _subiculum_path(start: float, length: float, drop: float, lift: float, medial: float) -> list[Point]:
    """Returns the path of the subiculum: below the hippocampus on its medial side, equally grey but not labeled."""
    return [
        (medial * np.sin(np.pi * t) - medial / 2 - 5.5, start + length * t, lift + drop * (0.5 - t) - 3.0)
        for t in (0.15, 0.45, 0.8, 1.1)
    ]


def _horn_path(
    rng: np.random.Generator, start: float, length: float, drop: float, lift: float, medial: float
) -> list[Point]:
    """Returns the path of the temporal horn: beside and above the hippocampus."""
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
