"""Implicit shapes in three dimensions, of which the organs of volume phantoms are made.

A shape is a field on a grid of points: positive inside, about the distance to its surface in mm. Points are three arrays
(broadcastable) of mm from the middle of the volume.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from semibench.blocks.drawing.fields import FloatArray, smooth_field

Points = tuple[FloatArray, FloatArray, FloatArray]
Point = tuple[float, float, float]


def grid_points(shape: Sequence[int], spacing: Sequence[float]) -> Points:
    """Compute the coordinates of voxel centres.

    Args:
        shape: of the volume.
        spacing: mm per axis.

    Returns:
        Three arrays of mm from the middle that broadcast against each other.
    """
    axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)]
    return axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :]


def deform_points(
    rng: np.random.Generator, at: Points, shape: Sequence[int], spacing: Sequence[float], size: float, bump: float
) -> Points:
    """Move points by a smooth random displacement.

    Args:
        rng: the generator.
        at: the points.
        shape: of the volume.
        spacing: mm per axis.
        size: standard deviation of the displacement, mm.
        bump: size of its bumps, mm.

    Returns:
        Three arrays of `shape`.
    """
    cells = [max(1, round(n * s / bump)) for n, s in zip(shape, spacing, strict=True)]
    moved = [axis + size * smooth_field(rng, shape, cells) for axis in at]
    return moved[0], moved[1], moved[2]


def ellipsoid(at: Points, centre: Point, radii: Point, axes: FloatArray | None = None) -> FloatArray:
    """Make an ellipsoid.

    Args:
        at: the points.
        centre: mm.
        radii: half axes, mm.
        axes: (3, 3), rows are the directions of the half axes; None for axes along the grid.

    Returns:
        About the distance to the surface in mm, positive inside.
    """
    d = [a - c for a, c in zip(at, centre, strict=True)]
    if axes is None:
        local = d
    else:
        local = [sum(axes[i, j] * d[j] for j in range(3)) for i in range(3)]
    rho = np.sqrt(sum((u / r) ** 2 for u, r in zip(local, radii, strict=True)))
    return (1.0 - rho) * min(radii)


def tube(at: Points, path: Sequence[Point], radius: float | Sequence[float]) -> FloatArray:
    """Make a tube along straight pieces.

    Args:
        at: the points.
        path: the ends of the pieces, mm.
        radius: mm, one for all or one for each point of the path.

    Returns:
        About the distance to the surface in mm, positive inside.
    """
    ends = np.full(len(path), radius) if np.isscalar(radius) else np.asarray(radius, dtype=np.float64)
    best: FloatArray | None = None
    for a, b, ra, rb in zip(path[:-1], path[1:], ends[:-1], ends[1:], strict=True):
        step = np.subtract(b, a)
        length = float(step @ step) + 1e-9
        t = sum((x - p) * s for x, p, s in zip(at, a, step, strict=True)) / length
        t = np.clip(t, 0.0, 1.0)
        gap = np.sqrt(sum((x - p - t * s) ** 2 for x, p, s in zip(at, a, step, strict=True)))
        value = ra + t * (rb - ra) - gap
        best = value if best is None else np.maximum(best, value)
    assert best is not None
    return best


def shape_union(shapes: Sequence[FloatArray], blend: float = 0.0) -> FloatArray:
    """Unite shapes.

    Args:
        shapes: at least one.
        blend: mm over which the seam is rounded, by a polynomial smooth maximum.

    Returns:
        The shape that is inside where any of them is.
    """
    total = shapes[0]
    for shape in shapes[1:]:
        if blend > 0:
            h = np.clip(0.5 + 0.5 * (shape - total) / blend, 0.0, 1.0)
            total = total + h * (shape - total) + blend * h * (1.0 - h)
        else:
            total = np.maximum(total, shape)
    return total


def random_rotation(rng: np.random.Generator, spread: float) -> FloatArray:
    """Draw a rotation by small Euler angles.

    Args:
        rng: the generator.
        spread: standard deviation of the angles, radians.

    Returns:
        (3, 3) rotation matrix.
    """
    a, b, c = rng.normal(0, spread, 3)
    ca, sa, cb, sb, cc, sc = np.cos(a), np.sin(a), np.cos(b), np.sin(b), np.cos(c), np.sin(c)
    rx = np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
    ry = np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
    rz = np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]])
    return np.asarray(rz @ ry @ rx)


def rotate_points(at: Points, turn: FloatArray) -> Points:
    """See points from a rotated frame.

    Args:
        at: the points.
        turn: (3, 3) rotation matrix.

    Returns:
        The coordinates in the rotated frame.
    """
    moved = [turn[i, 0] * at[0] + turn[i, 1] * at[1] + turn[i, 2] * at[2] for i in range(3)]
    return moved[0], moved[1], moved[2]
