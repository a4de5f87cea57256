"""T1 MR of the hippocampus and its surroundings (msd-hippocampus)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semibench.blocks import FloatArray, Point, Points, ellipsoid, smooth_field, tube
from semibench_plugins.phantoms.patients import Pose, body_points, chance
from semibench_plugins.phantoms.volume_parts import Mask, Scene, Shape, Spacing, Tissues, bumps, largest_part

TISSUES = ("csf", "grey", "white", "hippocampus", "thalamus", "amygdala", "vessel")

_POSE = Pose(shift=(5.5, 4.0, 5.0), tilt=0.2, size=(0.85, 1.12), stretch=0.06, uneven=1.3, bump=15.0)


@dataclass
class _Course:
    """The course of one hippocampus from tail to head. t: 0 at the tail, 1 at the head. u, w: mm from its axis, towards the
    side and up. cross: distance from the axis in units of its radius. wasted: 0 healthy, 1 shrunken."""

    start: float
    length: float
    drop: float
    lift: float
    medial: float
    wasted: float
    t: FloatArray
    height: FloatArray
    w: FloatArray
    cross: FloatArray
    body: FloatArray


def hippocampus(rng: np.random.Generator, shape: Shape, spacing: Spacing) -> Scene:
    """Draws T1 MR around one hippocampus, left or right; axes x (to the right), y (forwards), z (up). Labels: 1 anterior (head),
    2 posterior (body and tail), divided by a plane. Amygdala and cortex have the same grey, and the temporal horn touches it."""
    at = body_points(rng, shape, spacing, (0.0, 0.0, 0.0), _POSE)
    if chance(rng, 0.5):
        at = (-at[0], at[1], at[2])
    course = _course(rng, at)
    mask = largest_part(course.body > 0)
    folds, fine = (smooth_field(rng, shape, bumps(shape, spacing, size)) for size in (13.0, 8.0))
    tissues = _surroundings(rng, at, course, folds, fine)
    tissues[mask] = TISSUES.index("hippocampus")
    label = np.zeros(shape, np.uint8)
    label[mask] = 2
    label[mask & (at[1] > course.start + course.length * rng.uniform(0.54, 0.64))] = 1
    return Scene(tissues, TISSUES, label, 0.05 * np.cos(2.5 * course.body) * mask)


def _course(rng: np.random.Generator, at: Points) -> _Course:
    x, y, z = at
    wasted = rng.uniform(0.4, 1.0) if chance(rng, 0.35) else 0.0
    length = rng.uniform(33, 44) * (1 - 0.1 * wasted)
    start = -0.5 * length + rng.normal(0, 2.0)
    t = np.clip((y - start) / length, -0.2, 1.2)
    drop, bow = rng.uniform(7, 19), rng.uniform(0, 6)
    lift, medial = rng.normal(1.0, 1.5), rng.uniform(1, 11)
    height = lift + drop * (0.5 - t) + bow * np.sin(np.pi * np.clip(t, 0, 1))
    beside = medial * np.sin(np.pi * np.clip(t, 0, 1)) - medial / 2
    head = 1.0 / (1.0 + np.exp(-(t - rng.uniform(0.58, 0.66)) / 0.09))
    thin = 1 - 0.32 * wasted
    rx = thin * (rng.uniform(3.9, 5.4) + rng.uniform(1.6, 4.4) * head)
    rz = thin * (rng.uniform(3.0, 4.1) + rng.uniform(0.6, 2.2) * head)
    ends = np.sqrt(
        np.clip(1.0 - np.clip((0.12 - t) / 0.12, 0, 1) ** 2 - np.clip((t - 0.84) / 0.16, 0, 1) ** 2, 0.0, 1.0)
    )
    tilt = rng.normal(0.25, 0.25)
    u, w = (x - beside) + tilt * (z - height), (z - height) - tilt * (x - beside)
    cross = np.sqrt((u / rx) ** 2 + (w / rz) ** 2)
    body = np.where((t > 0) & (t < 1), (ends - cross) * 4.0, -4.0)
    return _Course(start, length, drop, lift, medial, wasted, t, height, w, cross, body)


def _surroundings(
    rng: np.random.Generator, at: Points, course: _Course, folds: FloatArray, fine: FloatArray
) -> Tissues:
    """Draws cortex, thalamus, white matter, fluid, subiculum, amygdala and a vessel. Fluid fills the room of lost tissue."""
    _, _, z = at
    t, w, cross, wasted = course.t, course.w, course.cross, course.wasted
    name = {n: i for i, n in enumerate(TISSUES)}
    cortex = np.abs(
        folds + 0.5 * fine + 0.03 * (z - course.height)
    )  # a ribbon: fluid in the sulcus, grey on both sides
    tissues = np.full(folds.shape, name["white"])
    tissues[cortex < rng.uniform(0.35, 0.7)] = name["grey"]
    tissues[cortex < rng.uniform(0.06, 0.16) + 0.12 * wasted] = name["csf"]
    deep = ellipsoid(at, (rng.normal(-6, 3), rng.normal(-4, 4), rng.uniform(15, 21)), (14, 18, 10))
    tissues[deep > 0] = name["thalamus"]
    band: Mask = (w < 0) & (cross < 1.6 + 0.3 * fine) & (t > -0.05) & (t < 1.05)
    tissues[band] = name["white"]
    horn = tube(at, _horn_path(rng, course), rng.uniform(1.6, 3.6) + 2.2 * wasted)
    tissues[horn + fine > 0] = name["csf"]
    fissure = (w > 0) & (cross < rng.uniform(1.15, 1.45) + 0.3 * wasted + 0.25 * fine) & (t > 0) & (t < 0.95)
    tissues[fissure & (folds > -0.7)] = name["csf"]
    subiculum = tube(at, _subiculum_path(course), rng.uniform(1.8, 3.4))
    tissues[subiculum + 0.8 * fine > 0] = name["grey"]
    front = course.start + course.length * rng.uniform(0.93, 1.0)
    amygdala = ellipsoid(
        at, (rng.normal(2, 2), front, course.lift - 0.25 * course.drop + rng.uniform(5, 8)),
        (rng.uniform(6, 10), rng.uniform(5, 10), rng.uniform(4, 8)),
    )  # fmt: skip
    tissues[amygdala > 0] = name["amygdala"]
    vessel = tube(at, [(-14, -20, rng.uniform(-8, 0)), (-10, 0, rng.uniform(-10, 0)), (-12, 25, -6)], 1.2)
    tissues[vessel > 0] = name["vessel"]
    return tissues


def _subiculum_path(course: _Course) -> list[Point]:
    """Returns the path of the subiculum: below the hippocampus on its medial side, equally grey but not labeled."""
    return [
        (
            course.medial * np.sin(np.pi * t) - course.medial / 2 - 5.5,
            course.start + course.length * t,
            course.lift + course.drop * (0.5 - t) - 3.0,
        )
        for t in (0.15, 0.45, 0.8, 1.1)
    ]


def _horn_path(rng: np.random.Generator, course: _Course) -> list[Point]:
    """Returns the path of the temporal horn: beside and above the hippocampus."""
    path = []
    for t in (0.05, 0.4, 0.75, 1.0):
        path.append(
            (
                float(course.medial * np.sin(np.pi * t) - course.medial / 2 + 7.5 + rng.normal(0, 1.5)),
                float(course.start + course.length * t),
                float(course.lift + course.drop * (0.5 - t) + 3.5 + rng.normal(0, 1.5)),
            )
        )
    return path
