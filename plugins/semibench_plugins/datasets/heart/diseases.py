"""The sizes of hearts, healthy and diseased, for the phantoms of the heart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semibench.blocks import Point


@dataclass(frozen=True)
class HeartSizes:
    """The sizes of one heart.

    Attributes:
        short: the short radius of the left ventricle's cavity, in mm.
        length: its long radius, in mm.
        wall: the thickness of its wall, in mm.
        atrium: the radii of the left atrium, in mm.
        right: the size of the right heart, as a factor on the average one.
        aorta: the radius of the ascending aorta, in mm.
    """

    short: float
    length: float
    wall: float
    atrium: Point
    right: float
    aorta: float


_CHANGES: tuple[tuple[float, tuple[float, float, float, float]], ...] = (
    (0.34, (1.0, 1.0, 1.0, 1.0)),  # healthy
    (0.20, (1.4, 0.7, 1.15, 1.1)),  # dilated left ventricle with a thin wall
    (0.18, (0.72, 1.75, 1.1, 0.9)),  # thick wall around a small cavity
    (0.16, (0.95, 1.0, 1.45, 1.1)),  # large left atrium, as in atrial fibrillation
    (0.12, (0.8, 0.9, 0.85, 1.4)),  # overloaded right heart
)
"""Share of the patients, and the factors on the left ventricle's radius and wall, on the left atrium and on the right heart."""


def heart_sizes(rng: np.random.Generator) -> HeartSizes:
    """Draws the sizes of one heart: those of an adult, changed by a disease in two thirds of the patients."""
    kind = int(rng.choice(len(_CHANGES), p=[share for share, _ in _CHANGES]))
    short, wall, atrium, right = (factor * np.exp(rng.normal(0, 0.07)) for factor in _CHANGES[kind][1])
    aneurysm = rng.uniform(1.25, 1.6) if rng.random() < 0.2 else 1.0
    return HeartSizes(
        short=float(short * rng.uniform(19, 25)),
        length=float(rng.uniform(33, 46) * short**0.4),
        wall=float(wall * rng.uniform(7.5, 11)),
        atrium=(
            float(atrium * rng.uniform(20, 29)),
            float(atrium * rng.uniform(13, 20)),
            float(atrium * rng.uniform(17, 25)),
        ),
        right=float(right),
        aorta=float(rng.uniform(10.5, 15) * aneurysm),
    )
