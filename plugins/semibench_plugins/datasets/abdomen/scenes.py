"""Scenes cut from the abdomen: synapse and amos22 (axes z, y, x) and pancreas (axes x, y, z)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semibench.blocks import FloatArray, Point
from semibench_plugins.datasets.abdomen.anatomy import ORGANS, TISSUES, abdomen
from semibench_plugins.phantoms.radiology import Scanner, image
from semibench_plugins.phantoms.volume_parts import Label


@dataclass(frozen=True)
class Field:
    """A part of the abdomen. classes: the names of the labels 1, 2 ... centre: in mm. upright: True for the axes (z, y, x)
    instead of (x, y, z)."""

    classes: tuple[str, ...]
    centre: Point
    upright: bool


_COMMON = ORGANS[1:10]
ORGANS_OF = {
    "abdomen": Field((*_COMMON, *ORGANS[10:14]), (0.0, -4.0, 22.0), True),
    "abdomen-and-pelvis": Field((*_COMMON, *ORGANS[11:]), (0.0, -4.0, -38.0), True),
    "pancreas": Field(("pancreas",), (14.0, -18.0, 6.0), False),
}
"""Scene -> the part of the abdomen that it shows."""


def organs(
    rng: np.random.Generator,
    scanner: Scanner,
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    scene: str,
) -> tuple[FloatArray, Label]:
    """Draws one patient. Organs that aren't a class of the scene are visible but not labeled."""
    field = ORGANS_OF[scene]
    order = (2, 1, 0) if field.upright else (0, 1, 2)
    grid = (shape[order[0]], shape[order[1]], shape[order[2]])
    steps = (spacing[order[0]], spacing[order[1]], spacing[order[2]])
    shift = rng.normal(0, 4.0, 3)
    middle = (field.centre[0] + shift[0], field.centre[1] + shift[1], field.centre[2] + shift[2])
    patient = abdomen(rng, grid, steps, middle)
    values = np.zeros(len(ORGANS), np.uint8)
    for value, name in enumerate(field.classes, 1):
        values[ORGANS.index(name)] = value
    label, tissues = values[patient.organs].transpose(order), patient.tissues.transpose(order)
    return image(rng, scanner, np.ascontiguousarray(tissues), TISSUES, spacing), np.ascontiguousarray(label)
