"""Random streams, smooth random fields and outlines, with which phantoms are drawn.

Each case has a stream of its own, seeded by (revision, data set, seed, path of integers) and by nothing else: case i is
the same whatever the number of cases, their order and the process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
"""In fact float64 everywhere; numpy's stubs promise no more than `floating` for many results."""

_SPLINE_POWER = 151 / 315
"""Mean of the sum of squared weights of a cubic B-spline, i.e. the variance of a spline with unit normal coefficients."""

_ANGLES = 2048
"""Samples of the radius of a contour."""


def random_stream(revision: int, dataset: str, seed: int, *path: int) -> np.random.Generator:
    """Make the random generator of one thing, e.g. a patient or a frame, of a phantom.

    Args:
        revision: of the phantom's digits.
        dataset: the name of the data set.
        seed: of the phantom.
        path: the numbers of the thing, e.g. (patient, frame).

    Returns:
        A PCG64 generator that depends on the arguments only.
    """
    name = int.from_bytes(hashlib.sha256(dataset.encode()).digest()[:8], "big")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([revision, name, seed, *path])))


def spline_basis(n: int, cells: int) -> FloatArray:
    """Evaluate the uniform cubic B-splines.

    Args:
        n: number of samples, at the centres of n equal parts.
        cells: number of knot intervals.

    Returns:
        (n, cells + 3): the value of each spline at each sample.
    """
    t = (np.arange(n) + 0.5) / n * cells
    first = np.minimum(t.astype(np.int64), cells - 1)
    u = t - first
    weights = np.stack([(1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3], axis=1) / 6
    basis = np.zeros((n, cells + 3))
    np.put_along_axis(basis, first[:, None] + np.arange(4), weights, axis=1)
    return basis


def smooth_field(rng: np.random.Generator, shape: Sequence[int], cells: Sequence[int]) -> FloatArray:
    """Draw smooth noise of zero mean and unit variance: a cubic spline through normal numbers.

    Args:
        rng: the generator; one normal number is drawn for each spline.
        shape: of the field, any number of axes.
        cells: how many bumps fit into each axis.

    Returns:
        float64 of `shape`.
    """
    field = rng.standard_normal([c + 3 for c in cells])
    for axis, (n, c) in enumerate(zip(shape, cells, strict=True)):
        field = np.moveaxis(np.tensordot(spline_basis(n, c), field, axes=(1, axis)), 0, axis)
    return field / _SPLINE_POWER ** (len(field.shape) / 2)


def smooth_curve(rng: np.random.Generator, n: int, cells: int, amplitude: float) -> FloatArray:
    """Draw a smooth random curve.

    Args:
        rng: the generator.
        n: number of samples.
        cells: how many bumps fit into the curve.
        amplitude: standard deviation.

    Returns:
        (n,) float64.
    """
    return amplitude * smooth_field(rng, (n,), (cells,))


def soft_step(x: FloatArray, width: float) -> FloatArray:
    """Step from 0 to 1 through x = 0 by a linear ramp.

    Args:
        x: any shape.
        width: of the ramp, in the units of x.

    Returns:
        0..1, of the same shape.
    """
    return np.clip(x / width + 0.5, 0.0, 1.0)


def ridge(field: FloatArray, width: float) -> FloatArray:
    """Draw thin curved lines where a field crosses zero.

    Args:
        field: any shape, e.g. from `smooth_field`.
        width: over which a line falls off, in the units of the field.

    Returns:
        1 on the lines and 0 far from them, of the same shape.
    """
    return 1.0 / (1.0 + (field / width) ** 4)


class Contour:
    """Irregular closed outline around a centre: an ellipse whose radius is modulated by a random Fourier series.

    r(phi) = 1 + sum_k a_k cos(k phi + p_k), a_k ~ roughness / k for k = 2..order, plus narrow outward lobes.

    Args:
        rng: the generator.
        centre: (z, x), in the units of the coordinates that `depth` gets, e.g. mm.
        radii: half axes (z, x), likewise.
        angle: of the ellipse, in radians.
        roughness: share of the radius by which it varies.
        order: highest order of the series.
        spikes: number of outward lobes.
        spike: height of the lobes, as a share of the radius.
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
        """Evaluate the outline at points.

        Args:
            z: coordinates downwards.
            x: coordinates to the right, of the same shape.

        Returns:
            About the signed distance to the outline: positive inside, in the units of the coordinates.
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
    """Smooth random function of one coordinate, defined everywhere: a few sinusoids of random phase.

    Args:
        rng: the generator.
        length: over which `harmonics` periods fit, in the units of the coordinate.
        amplitude: standard deviation, in the units of the values.
        harmonics: number of sinusoids.
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
