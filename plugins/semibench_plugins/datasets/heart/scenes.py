"""Scenes of the left atrium (la) and of the whole heart (mmwhs)."""

from __future__ import annotations

import numpy as np

from semibench.blocks import smooth_field
from semibench_plugins.datasets.heart.anatomy import TISSUES, heart
from semibench_plugins.phantoms.patients import Pose
from semibench_plugins.phantoms.volume_parts import Scene, Shape, Spacing, bumps, largest_part

_LEFT_ATRIUM = Pose(shift=(24.0, 24.0, 13.0), tilt=0.2, stretch=0.07, uneven=4.0)
_WHOLE_HEART = Pose(shift=(22.0, 22.0, 20.0), tilt=0.25, size=(0.8, 1.18), stretch=0.08, uneven=4.0)


def left_atrium(rng: np.random.Generator, shape: Shape, spacing: Spacing) -> Scene:
    """Draws the surroundings of a left atrium for late-enhancement MR. The label covers the atrium, its appendage and the first
    centimetre of the veins; beyond, and across the mitral valve, the blood is as bright but not labeled. Patches of the wall
    enhance."""
    patient = heart(rng, shape, spacing, (-10.0, 14.0, 10.0), _LEFT_ATRIUM)
    stub = (
        (patient.veins > 0)
        & (patient.left_atrium > -rng.uniform(7.0, 12.0))
        & ~patient.ascending_aorta
        & ~patient.myocardium
    )
    mask = largest_part((patient.left_atrium > 0) | (stub & (patient.left_ventricle <= 0)))
    scar = np.abs(patient.left_atrium + 1.2) < 1.6
    patches = np.clip(smooth_field(rng, shape, bumps(shape, spacing, 14.0)) - 0.3, 0.0, 1.5)
    detail = scar * patches * rng.uniform(0.0, 0.45) * (~mask)
    return Scene(patient.tissues, TISSUES, mask.astype(np.uint8), detail)


def whole_heart(rng: np.random.Generator, shape: Shape, spacing: Spacing) -> Scene:
    """Draws a heart for CT angiography or MR. Labels: 1 myocardium of the left ventricle, 2 left atrium, 3 left ventricle,
    4 ascending aorta. The right heart, the pulmonary artery and the descending aorta are visible but not labeled."""
    patient = heart(rng, shape, spacing, (2.0, -4.0, 8.0), _WHOLE_HEART)
    label = np.zeros(shape, np.uint8)
    label[largest_part(patient.ascending_aorta)] = 4
    label[patient.myocardium] = 1
    label[patient.left_atrium > 0] = 2
    label[patient.left_ventricle > 0] = 3
    return Scene(patient.tissues, TISSUES, label)
