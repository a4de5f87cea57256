"""Stomach, oesophagus, gallbladder, pancreas and duodenum, as shapes in mm; see `anatomy`."""

from __future__ import annotations

import numpy as np

from semibench.blocks import FloatArray, Point, Points, ellipsoid, random_rotation, shape_union, tube
from semibench_plugins.datasets.abdomen.solid_organs import path
from semibench_plugins.phantoms.patients import chance, near

_PANCREAS: tuple[tuple[float, tuple[float, ...]], ...] = (
    (0.4, (-28.0, -6.0, 4.0, 18.0, 38.0)),  # rising to the left
    (0.2, (-22.0, -6.0, 2.0, 4.0, 6.0)),  # lying
    (0.2, (-30.0, -4.0, 16.0, 8.0, -8.0)),  # arched, its tail low
    (0.2, (-24.0, -2.0, -8.0, 16.0, 48.0)),  # S-shaped
)
"""Share of the patients and the heights of head, neck, body and tail, in mm."""


def bowel_side(rng: np.random.Generator, at: Points) -> dict[str, FloatArray]:
    """Draws the organs of this module. An organ that a patient lacks is left out."""
    z = at[2]
    fill = float(np.exp(rng.uniform(np.log(0.55), np.log(1.55))))
    hang = rng.uniform(-30, 6)
    stomach = tube(
        at, path(rng, (30, 2, 88), (56, -14, 74), (52, -44, 38 + hang), (14, -58, 14 + hang), (-14, -50, 8), sd=7),
        [20 * fill, 27 * fill, 24 * fill, 15 * fill, 10],
    )  # fmt: skip
    gullet = tube(at, path(rng, (8, 2, 170), (10, -4, 108), (24, -2, 92), sd=4), rng.uniform(6, 10))
    organs = {
        "stomach": stomach,
        "esophagus": np.minimum(gullet, z - 84.0),
        "pancreas": _pancreas(rng, at),
        "duodenum": tube(
            at, path(rng, (-18, -48, 8), (-48, -34, -4), (-50, -16, -44), (-14, -16, -58), (26, -16, -44), sd=6),
            [rng.uniform(8, 15) for _ in range(5)],
        ),
    }  # fmt: skip
    gallbladder = ellipsoid(
        at,
        near(rng, (-46, -58, 2), 8),
        (rng.uniform(9, 20), rng.uniform(14, 30), rng.uniform(9, 20)),
        random_rotation(rng, 0.6),
    )
    if not chance(rng, 0.15):  # removed
        organs["gallbladder"] = gallbladder
    return organs


def _pancreas(rng: np.random.Generator, at: Points) -> FloatArray:
    """Draws a pancreas: its course differs, and it is atrophic in some patients and swollen, or with a mass, in others."""
    kind = int(rng.choice(len(_PANCREAS), p=[share for share, _ in _PANCREAS]))
    heights = _PANCREAS[kind][1]
    stops: tuple[Point, ...] = (
        (-32.0, -26.0, heights[0]),
        (-26.0, -32.0, heights[1]),
        (-2.0, -40.0, heights[2]),
        (34.0, -28.0, heights[3]),
        (rng.uniform(52, 84), 0.0, heights[4]),
    )
    size = float(rng.choice([0.72, 1.0, 1.25], p=[0.25, 0.5, 0.25]))
    radii = size * np.array([11, rng.uniform(14, 19), rng.uniform(9, 12), rng.uniform(10, 13), rng.uniform(8, 11)])
    course = path(rng, *stops, sd=6)
    pancreas = tube(at, course, [float(r) for r in radii])
    if chance(rng, 0.15):
        radius = rng.uniform(12, 20)
        pancreas = shape_union(
            [pancreas, ellipsoid(at, course[int(rng.integers(0, 5))], (radius, radius, radius))], 5.0
        )
    return pancreas
