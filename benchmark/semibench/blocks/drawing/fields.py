"""Random streams, smooth random fields and outlines for drawing phantoms.

Each case has its own stream, seeded only by (revision, data set, seed, path of integers): case i doesn't depend on the
number of cases, their order or the process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
"""Always float64 in practice; numpy's stubs promise only `floating` for many results."""

_SPLINE_POWER = 151 / 315
"""The mean of the sum of squared weights of a cubic B-spline, i.e. the variance of a spline with unit normal coefficients."""

_ANGLES = 2048
"""Number of angles at which a contour samples its radius."""


def random_stream(revision: int, dataset: str, seed: int, *path: int) -> np.random.Generator:
    """Creates the random generator for one part of a phantom, e.g. a patient or a frame.

    Args:
        revision: the version of the phantom's values.
        dataset: the name of the data set.
        seed: the seed of the phantom.
        path: the indices of the part, e.g. (patient, frame).

    Returns:
        A PCG64 generator that depends only on the arguments.

    Examples:
        >>> random_stream(1, "clinic", 0, 3, 1).random() == random_stream(1, "clinic", 0, 3, 1).random()
        True
    """
    name = int.from_bytes(hashlib.sha256(dataset.encode()).digest()[:8], "big")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([revision, name, seed, *path])))


def spline_basis(n: int, cells: int) -> FloatArray:
    """Evaluates the uniform cubic B-splines.

    Args:
        n: the number of samples, at the centres of n equal intervals.
        cells: the number of knot intervals.

    Returns:
        (n, cells + 3): the value of each spline at each sample.

    Examples:
        >>> spline_basis(8, cells=2).shape
        (8, 5)
    """
    t = (np.arange(n) + 0.5) / n * cells
    first = np.minimum(t.astype(np.int64), cells - 1)
    u = t - first
    weights = np.stack([(1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3], axis=1) / 6
    basis = np.zeros((n, cells + 3))
    np.put_along_axis(basis, first[:, None] + np.arange(4), weights, axis=1)
    return basis


def smooth_field(rng: np.random.Generator, shape: Sequence[int], cells: Sequence[int]) -> FloatArray:
    """Draws smooth noise with zero mean and unit variance: a cubic spline with normal coefficients.

    Args:
        rng: the generator; it draws one normal number for each spline.
        shape: the shape of the field, with any number of axes.
        cells: the number of bumps along each axis.

    Returns:
        float64 of `shape`.

    Examples:
        >>> smooth_field(np.random.default_rng(0), (32, 64), cells=(4, 8)).shape
        (32, 64)
    """
    field = rng.standard_normal([c + 3 for c in cells])
    for axis, (n, c) in enumerate(zip(shape, cells, strict=True)):
        field = np.moveaxis(np.tensordot(spline_basis(n, c), field, axes=(1, axis)), 0, axis)
    return field / _SPLINE_POWER ** (len(field.shape) / 2)


def smooth_curve(rng: np.random.Generator, n: int, cells: int, amplitude: float) -> FloatArray:
    """Draws a smooth random curve.

    Args:
        rng: the generator.
        n: the number of samples.
        cells: the number of bumps along the curve.
        amplitude: the standard deviation.

    Returns:
        (n,) float64.
    """
    return amplitude * smooth_field(rng, (n,), (cells,))


def soft_step(x: FloatArray, width: float) -> FloatArray:
    """Computes a step from 0 to 1 at x = 0, smoothed to a linear ramp.

    Args:
        x: values of any shape.
        width: the width of the ramp, in the units of x.

    Returns:
        Values in 0..1, of the same shape.

    Examples:
        >>> soft_step(np.array([-1.0, 0.0, 1.0]), width=1.0)
        array([0. , 0.5, 1. ])
    """
    return np.clip(x / width + 0.5, 0.0, 1.0)


def ridge(field: FloatArray, width: float) -> FloatArray:
    """Draws thin curved lines where a field crosses zero.

    Args:
        field: values of any shape, e.g. from `smooth_field`.
        width: the distance over which a line fades, in the units of the field.

    Returns:
        1 on the lines, falling to 0 away from them, of the same shape.

    Examples:
        >>> ridge(np.array([0.0, 1.0]), width=1.0)
        array([1. , 0.5])
    """
    return 1.0 / (1.0 + (field / width) ** 4)


class Contour:
    """An irregular closed outline: an ellipse whose radius is modulated by a random Fourier series.

    r(phi) = 1 + sum_k a_k cos(k phi + p_k), a_k ~ roughness / k for k = 2..order, plus narrow outward lobes.

    Args:
        rng: the generator.
        centre: (z, x), in the units of the coordinates passed to `depth`, e.g. mm.
        radii: half axes (z, x), in the same units.
        angle: the rotation of the ellipse, in radians.
        roughness: the variation of the radius, as a share of it.
        order: the highest order of the series.
        spikes: the number of outward lobes.
        spike: the height of the lobes, as a share of the radius.

    Examples:
        >>> outline = Contour(np.random.default_rng(0), centre=(10.0, 20.0), radii=(5.0, 8.0))
        >>> (outline.depth(np.array([10.0, 30.0]), np.array([20.0, 20.0])) > 0).tolist()
        [True, False]
    """

    def __init__(
        self,
        rng: np.random.Generator,
        centre: tuple[float, float],
        radii: tuple[float, float],
        angle: float = 0.0,
        roughness: float = 0.0,
        order: int = 7,
        spikes: int = 0,
        spike: float = 0.0,
    ) -> None:
        self.centre, self.radii, self.angle = centre, radii, angle
        phi = (np.arange(_ANGLES) + 0.5) / _ANGLES * 2 * np.pi - np.pi
        k = np.arange(2, order + 1)
        sizes, phases = roughness * rng.standard_normal(len(k)) / k, rng.uniform(0, 2 * np.pi, len(k))
        radius = 1.0 + (sizes * np.cos(phi[:, None] * k + phases)).sum(axis=1)
        at, heights = rng.uniform(-np.pi, np.pi, spikes), spike * rng.uniform(0.4, 1.0, spikes)
        gap = np.abs(phi[:, None] - at)
        gap = np.minimum(gap, 2 * np.pi - gap)
        radius += (heights * np.exp(-((gap / rng.uniform(0.08, 0.2, spikes)) ** 2))).sum(axis=1)
        self._radius = np.maximum(radius, 0.3)

    def depth(self, z: FloatArray, x: FloatArray) -> FloatArray:
        """Evaluates the outline at points.

        Args:
            z: coordinates that increase downwards.
            x: coordinates that increase to the right, of the same shape.

        Returns:
            The approximate signed distance to the outline, positive inside, in the units of the coordinates.
        """
        dz, dx = z - self.centre[0], x - self.centre[1]
        c, s = np.cos(self.angle), np.sin(self.angle)
        u, v = (c * dx + s * dz) / self.radii[1], (c * dz - s * dx) / self.radii[0]
        rho = np.sqrt(u * u + v * v)
        value = 1.0 - rho
        near = rho < 2.5
        turn = np.arctan2(v[near], u[near]) * (0.5 / np.pi) + 0.5
        value[near] = self._radius[np.minimum((turn * _ANGLES).astype(np.int64), _ANGLES - 1)] - rho[near]
        return value * min(self.radii)


class Wave:
    """A smooth random function of one coordinate, defined everywhere: a sum of sinusoids with random phases.

    Args:
        rng: the generator.
        length: the distance over which the slowest sinusoid has 0.6 to 1.2 periods, in the units of the coordinate.
        amplitude: the standard deviation of the slowest sinusoid's amplitude, in the units of the values.
        harmonics: the number of sinusoids.

    Examples:
        >>> Wave(np.random.default_rng(0), length=40.0, amplitude=2.0)(np.linspace(0, 40, 81)).shape
        (81,)
    """

    def __init__(self, rng: np.random.Generator, length: float, amplitude: float, harmonics: int = 3) -> None:
        k = np.arange(1, harmonics + 1)
        self._rates = 2 * np.pi * k * rng.uniform(0.6, 1.2, harmonics) / length
        self._phases = rng.uniform(0, 2 * np.pi, harmonics)
        self._sizes = amplitude * rng.standard_normal(harmonics) / k

    def __call__(self, x: FloatArray) -> FloatArray:
        value = np.zeros_like(x)
        for rate, phase, size in zip(self._rates, self._phases, self._sizes, strict=True):
            value += size * np.sin(rate * x + phase)
        return value
