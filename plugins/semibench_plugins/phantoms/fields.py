"""Random streams and smooth random fields: what every phantom is drawn with.

Each case owns a stream that is seeded by (revision, data set, seed, path of integers) and by nothing else: case i is the
same whatever number of cases is asked for, in whatever order, in whatever process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

REVISION = 1
"""Of the pixels of all phantoms. Raise it with any change that alters a digit: it enters the identity of phantom data."""

Array = NDArray[np.floating[Any]]
"""In fact float64 everywhere; numpy's stubs promise no more than `floating` for many results."""

_SPLINE_POWER = 151 / 315
"""Mean of the sum of squared weights of a cubic B-spline, i.e. the variance of a spline with unit normal coefficients."""

_ANGLES = 2048
"""Samples of the radius of a contour."""


def stream(dataset: str, seed: int, *path: int) -> np.random.Generator:
    """PCG64 generator of one thing (a patient, a frame) of a phantom; `path` are its numbers, e.g. (patient, frame)."""
    name = int.from_bytes(hashlib.sha256(dataset.encode()).digest()[:8], "big")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([REVISION, name, seed, *path])))


def spline_basis(n: int, cells: int) -> Array:
    """(n, cells + 3) values of the uniform cubic B-splines at n sample centres over `cells` knot intervals."""
    t = (np.arange(n) + 0.5) / n * cells
    first = np.minimum(t.astype(np.int64), cells - 1)
    u = t - first
    weights = np.stack([(1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3], axis=1) / 6
    basis = np.zeros((n, cells + 3))
    np.put_along_axis(basis, first[:, None] + np.arange(4), weights, axis=1)
    return basis


def smooth_field(rng: np.random.Generator, shape: Sequence[int], cells: Sequence[int]) -> Array:
    """Zero-mean, unit-variance smooth noise of `shape`; `cells` per axis says how many bumps fit into it (any dims)."""
    field = rng.standard_normal([c + 3 for c in cells])
    for axis, (n, c) in enumerate(zip(shape, cells, strict=True)):
        field = np.moveaxis(np.tensordot(spline_basis(n, c), field, axes=(1, axis)), 0, axis)
    return field / _SPLINE_POWER ** (len(field.shape) / 2)


def curve(rng: np.random.Generator, n: int, cells: int, amplitude: float) -> Array:
    """(n,) smooth random curve with standard deviation `amplitude`."""
    return amplitude * smooth_field(rng, (n,), (cells,))


def soft_step(x: Array, width: float) -> Array:
    """Smooth 0-to-1 step through x = 0, about `width` wide; linear ramp, so that it costs nothing."""
    return np.clip(x / width + 0.5, 0.0, 1.0)


def ridge(field: Array, width: float) -> Array:
    """Curved thin lines where `field` crosses zero: 1 on the line, falling off over `width` (in units of the field)."""
    return 1.0 / (1.0 + (field / width) ** 4)


class Contour:
    """Irregular closed outline around a centre: an ellipse whose radius is modulated by a random Fourier series.

    r(phi) = 1 + sum_k a_k cos(k phi + p_k), a_k ~ roughness / k for k = 2..order, plus `spikes` narrow outward lobes of
    height `spike`. Lengths in the units of the coordinates that are later asked for (mm).
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

    def depth(self, z: Array, x: Array) -> Array:
        """Signed distance-like value: positive inside, 0 on the outline, in the units of the coordinates (z down, x right)."""
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

    length: extent over which `harmonics` periods fit; amplitude: standard deviation, in the units of the values.
    """

    def __init__(self, rng: np.random.Generator, length: float, amplitude: float, harmonics: int = 3) -> None:
        k = np.arange(1, harmonics + 1)
        self._rates = 2 * np.pi * k * rng.uniform(0.6, 1.2, harmonics) / length
        self._phases = rng.uniform(0, 2 * np.pi, harmonics)
        self._sizes = amplitude * rng.standard_normal(harmonics) / k

    def __call__(self, x: Array) -> Array:
        value = np.zeros_like(x)
        for rate, phase, size in zip(self._rates, self._phases, self._sizes, strict=True):
            value += size * np.sin(rate * x + phase)
        return value
