"""How patients differ in a scan: where they lie in it, how they are turned, how large, stretched and bent they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semibench.blocks import (
    FloatArray,
    Point,
    Points,
    deform_points,
    grid_points,
    random_rotation,
    rotate_points,
)
from semibench_plugins.phantoms.volume_parts import Shape, Spacing


@dataclass(frozen=True)
class Pose:
    """The range of poses of a group of patients.

    Attributes:
        shift: the half range of the patient's place in the scan, in mm per axis.
        tilt: the standard deviation of the angles by which the patient is turned, in radians.
        size: the smallest and the largest patient, as factors on the average one.
        stretch: the standard deviation of the logarithm of a factor for each axis.
        bend: the standard deviation of the sideways deviation of the third axis at 100 mm from its vertex, in mm.
        uneven: the standard deviation of the smooth displacement, in mm.
        bump: the size of the bumps of that displacement, in mm.
    """

    shift: Point
    tilt: float = 0.15
    size: tuple[float, float] = (0.85, 1.18)
    stretch: float = 0.06
    bend: float = 0.0
    uneven: float = 3.0
    bump: float = 35.0


def body_points(rng: np.random.Generator, shape: Shape, spacing: Spacing, centre: Point, pose: Pose) -> Points:
    """Draws how one patient lies in the scan.

    Args:
        rng: the generator.
        shape: the shape of the volume.
        spacing: mm per axis.
        centre: the point of the average body that lies in the middle of the average scan, in mm.
        pose: how patients differ.

    Returns:
        For each voxel, the coordinates in the average body, in mm.
    """
    at = rotate_points(grid_points(shape, spacing), random_rotation(rng, pose.tilt))
    at = deform_points(rng, at, shape, spacing, pose.uneven, pose.bump)
    factors = np.exp(np.log(rng.uniform(*pose.size)) + pose.stretch * rng.standard_normal(3))
    middle = np.asarray(centre) + np.asarray(pose.shift) * rng.uniform(-1.0, 1.0, 3)
    x, y, z = (axis / factor + start for axis, factor, start in zip(at, factors, middle, strict=True))
    vertex, bends = centre[2] + rng.uniform(-60, 60), pose.bend * rng.standard_normal(2)
    curve = np.clip((z - vertex) / 100.0, -1.5, 1.5) ** 2
    return x + bends[0] * curve, y + bends[1] * curve, z


def near(rng: np.random.Generator, place: Point, sd: float) -> Point:
    """Draws a point near `place`. sd: the standard deviation of each coordinate, in mm."""
    moved = np.asarray(place) + sd * rng.standard_normal(3)
    return float(moved[0]), float(moved[1]), float(moved[2])


def chance(rng: np.random.Generator, share: float) -> bool:
    """Draws whether a patient has what `share` of the patients have."""
    return bool(rng.random() < share)


def push_points(at: Points, place: Point, push: Point, reach: float) -> Points:
    """Pushes the body aside near a place, as a mass does.

    Args:
        at: the points.
        place: where the push is strongest, in mm.
        push: by how much the body is displaced there, in mm; less than half of `reach`, or the body folds over.
        reach: the distance over which the push fades, in mm.

    Returns:
        The coordinates in the body before the push.
    """
    gap = sum(((axis - p) / reach) ** 2 for axis, p in zip(at, place, strict=True))
    fade: FloatArray = np.exp(-0.5 * np.asarray(gap))
    return at[0] - push[0] * fade, at[1] - push[1] * fade, at[2] - push[2] * fade
