"""Implicit 3D shapes from which volume phantoms build their organs.

A shape is a field on a grid of points: approximately the distance to its surface in mm, positive inside. Points are three
arrays that broadcast against each other, in mm from the middle of the volume.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from semibench.blocks.drawing.fields import FloatArray, smooth_field

Points = tuple[FloatArray, FloatArray, FloatArray]
Point = tuple[float, float, float]


def grid_points(shape: Sequence[int], spacing: Sequence[float]) -> Points:
    """Computes the coordinates of voxel centres.

    Args:
        shape: the shape of the volume.
        spacing: mm per axis.

    Returns:
        Three arrays that broadcast against each other, in mm from the middle of the volume.

    Examples:
        >>> [axis.shape for axis in grid_points((4, 6, 8), spacing=(3.0, 1.0, 1.0))]
        [(4, 1, 1), (1, 6, 1), (1, 1, 8)]
    """
    axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)]
    return axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :]


def deform_points(
    rng: np.random.Generator, at: Points, shape: Sequence[int], spacing: Sequence[float], size: float, bump: float
) -> Points:
    """Moves points by a smooth random displacement.

    Args:
        rng: the generator.
        at: the points.
        shape: the shape of the volume.
        spacing: mm per axis.
        size: the standard deviation of the displacement, in mm.
        bump: the size of its bumps, in mm.

    Returns:
        Three arrays of `shape`.

    Examples:
        >>> points = grid_points((4, 6, 8), (3.0, 1.0, 1.0))
        >>> deform_points(np.random.default_rng(0), points, (4, 6, 8), (3.0, 1.0, 1.0), size=0.5, bump=4.0)[0].shape
        (4, 6, 8)
    """
    cells = [max(1, round(n * s / bump)) for n, s in zip(shape, spacing, strict=True)]
    moved = [axis + size * smooth_field(rng, shape, cells) for axis in at]
    return moved[0], moved[1], moved[2]


def ellipsoid(at: Points, centre: Point, radii: Point, axes: FloatArray | None = None) -> FloatArray:
    """Evaluates an ellipsoid at points.

    Args:
        at: the points.
        centre: the centre, in mm.
        radii: the half axes, in mm.
        axes: (3, 3); its rows are the directions of the half axes. None: the axes of the grid.

    Returns:
        The approximate distance to the surface in mm, positive inside.

    Examples:
        >>> float(ellipsoid(grid_points((3, 3, 3), (1.0, 1.0, 1.0)), (0.0, 0.0, 0.0), (2.0, 2.0, 2.0))[1, 1, 1])
        2.0
    """
    d = [a - c for a, c in zip(at, centre, strict=True)]
    if axes is None:
        local = d
    else:
        local = [sum(axes[i, j] * d[j] for j in range(3)) for i in range(3)]
    rho = np.sqrt(sum((u / r) ** 2 for u, r in zip(local, radii, strict=True)))
    return (1.0 - rho) * min(radii)


def tube(at: Points, path: Sequence[Point], radius: float | Sequence[float]) -> FloatArray:
    """Evaluates a tube along straight segments at points.

    Args:
        at: the points.
        path: the ends of the segments, in mm.
        radius: in mm: one number, or one per point of the path.

    Returns:
        The approximate distance to the surface in mm, positive inside.

    Examples:
        >>> inside = tube(grid_points((3, 3, 3), (1.0, 1.0, 1.0)), [(-9.0, 0.0, 0.0), (9.0, 0.0, 0.0)], radius=2.0)
        >>> round(float(inside[1, 1, 1]), 3)
        2.0
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
    """Computes the union of shapes.

    Args:
        shapes: at least one shape.
        blend: the width in mm over which a polynomial smooth maximum rounds the seam.

    Returns:
        A shape whose inside is the union of theirs.

    Examples:
        >>> shape_union([np.array([1.0, -1.0]), np.array([-2.0, -2.0])])
        array([ 1., -1.])
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
    """Draws a rotation by small Euler angles.

    Args:
        rng: the generator.
        spread: the standard deviation of the angles, in radians.

    Returns:
        The rotation matrix, (3, 3).

    Examples:
        >>> random_rotation(np.random.default_rng(0), spread=0.1).shape
        (3, 3)
    """
    a, b, c = rng.normal(0, spread, 3)
    ca, sa, cb, sb, cc, sc = np.cos(a), np.sin(a), np.cos(b), np.sin(b), np.cos(c), np.sin(c)
    rx = np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
    ry = np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
    rz = np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]])
    return np.asarray(rz @ ry @ rx)


def rotate_points(at: Points, turn: FloatArray) -> Points:
    """Rotates points.

    Args:
        at: the points.
        turn: the rotation matrix, (3, 3).

    Returns:
        The coordinates after the rotation.

    Examples:
        >>> quarter_turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
        >>> [float(axis) for axis in rotate_points((np.array(1.0), np.array(0.0), np.array(0.0)), quarter_turn)]
        [0.0, 1.0, 0.0]
    """
    moved = [turn[i, 0] * at[0] + turn[i, 1] * at[1] + turn[i, 2] * at[2] for i in range(3)]
    return moved[0], moved[1], moved[2]
