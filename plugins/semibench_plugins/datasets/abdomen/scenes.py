"""Scenes cut from the abdomen: synapse and amos22 (axes z, y, x) and pancreas (axes x, y, z)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semibench.blocks import Point
from semibench_plugins.datasets.abdomen.anatomy import ORGANS, TISSUES, abdomen
from semibench_plugins.phantoms.patients import Pose
from semibench_plugins.phantoms.volume_parts import Scene, Shape, Spacing


@dataclass(frozen=True)
class Field:
    """A part of the abdomen. classes: the names of the labels 1, 2 ... centre: in mm. upright: True for the axes (z, y, x)
    instead of (x, y, z). pose: how patients lie in it."""

    classes: tuple[str, ...]
    centre: Point
    upright: bool
    pose: Pose


_COMMON = ORGANS[1:10]
_WHOLE = Pose(shift=(20.0, 18.0, 28.0), tilt=0.1, size=(0.8, 1.14), stretch=0.07, bend=9.0, uneven=5.0, bump=70.0)
_UPPER = Pose(shift=(18.0, 16.0, 16.0), tilt=0.13, size=(0.8, 1.15), stretch=0.08, bend=8.0, uneven=4.0, bump=50.0)
ORGANS_OF = {
    "abdomen": Field((*_COMMON, *ORGANS[10:14]), (0.0, -4.0, 22.0), True, _WHOLE),
    "abdomen-and-pelvis": Field((*_COMMON, *ORGANS[11:]), (0.0, -4.0, -38.0), True, _WHOLE),
    "pancreas": Field(("pancreas",), (14.0, -18.0, 6.0), False, _UPPER),
}
"""Scene -> the part of the abdomen that it shows."""


def organs(rng: np.random.Generator, shape: Shape, spacing: Spacing, scene: str) -> Scene:
    """Draws one patient. Organs that aren't a class of the scene are visible but not labeled."""
    field = ORGANS_OF[scene]
    order = (2, 1, 0) if field.upright else (0, 1, 2)
    grid = (shape[order[0]], shape[order[1]], shape[order[2]])
    steps = (spacing[order[0]], spacing[order[1]], spacing[order[2]])
    patient = abdomen(rng, grid, steps, field.centre, field.pose)
    values = np.zeros(len(ORGANS), np.uint8)
    for value, name in enumerate(field.classes, 1):
        values[ORGANS.index(name)] = value
    label, tissues = values[patient.organs].transpose(order), patient.tissues.transpose(order)
    return Scene(np.ascontiguousarray(tissues), TISSUES, np.ascontiguousarray(label))
