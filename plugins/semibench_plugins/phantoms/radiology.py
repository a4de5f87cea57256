"""Simulates MR and CT scanners: contrast, bias field, blur, Rician noise, Hounsfield units and streaks on a tissue map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from semibench.blocks import FloatArray, smooth_field
from semibench_plugins.phantoms.volume_parts import Scene, Spacing

Range = tuple[float, float]
"""The smallest and the largest of a quantity that differs between patients."""


@dataclass(frozen=True)
class Scanner:
    """A scanner, which determines the appearance of a domain of volumes.

    Attributes:
        modality: "MR" or "CT".
        values: tissue -> its mean value (MR: relative signal, about 0..1; CT: Hounsfield units).
        spread: standard deviation of these means between patients, in the same units.
        texture: standard deviation within a tissue.
        noise: standard deviation of the noise (MR: Rician, relative signal; CT: Gaussian, HU).
        bias: MR only: standard deviation of the log of the bias field.
        curve: MR only: exponent of the contrast curve.
        blur: standard deviation of the blur, in mm per axis.
        scale: MR only: range of stored units per relative signal.
        streaks: CT only: amplitude of the streaks at dense objects, in HU.
        plain: tissue -> its mean value without contrast agent, where the agent changes it.
        agent: how much of the agent's effect (`values` minus `plain`) the patients show; 1: all of it.
        curves: MR only: factor on the exponent of the contrast curve between patients.
        factors: factor on noise, bias and blur, each for itself, between patients.
    """

    modality: str
    values: Mapping[str, float]
    spread: float = 0.03
    texture: float = 0.03
    noise: float = 0.04
    bias: float = 0.2
    curve: float = 1.0
    blur: tuple[float, float, float] = (0.8, 0.8, 0.8)
    scale: tuple[float, float] = (400.0, 900.0)
    streaks: float = 0.0
    plain: Mapping[str, float] = field(default_factory=dict)
    agent: Range = (1.0, 1.0)
    curves: Range = (0.75, 1.35)
    factors: Range = (0.6, 1.7)


def rician(rng: np.random.Generator, signal: FloatArray, sigma: float) -> FloatArray:
    """Returns the magnitude of a complex signal with independent Gaussian noise `sigma` in both channels (Rice distribution)."""
    real = signal + sigma * rng.standard_normal(signal.shape)
    imaginary = sigma * rng.standard_normal(signal.shape)
    return np.sqrt(real * real + imaginary * imaginary)


def bias_field(rng: np.random.Generator, shape: tuple[int, ...], strength: float) -> FloatArray:
    """Draws a smooth positive factor with mean log 0. strength: the standard deviation of its log."""
    field_ = smooth_field(rng, shape, [2] * len(shape))
    return np.exp(strength * (field_ - field_.mean()))


def streaks(rng: np.random.Generator, dense: NDArray[np.bool_], amplitude: float, count: int = 9) -> FloatArray:
    """Draws bright and dark rays in each plane along the last axis, through the middle of its dense voxels. amplitude: in HU."""
    n, m = dense.shape[:2]
    out = np.zeros(dense.shape)
    weight = dense.sum(axis=(0, 1)).astype(np.float64)
    if weight.max() == 0:
        return out
    i, j = np.arange(n, dtype=np.float64), np.arange(m, dtype=np.float64)
    total = np.maximum(weight, 1.0)
    ci = (dense.sum(axis=1) * i[:, None]).sum(axis=0) / total
    cj = (dense.sum(axis=0) * j[:, None]).sum(axis=0) / total
    di, dj = i[:, None, None] - ci, j[None, :, None] - cj
    fade = 1.0 / (1.0 + (np.hypot(di, dj) / (0.35 * n)) ** 2)
    for angle in rng.uniform(0, np.pi, count):
        across = np.cos(angle) * di - np.sin(angle) * dj
        out += rng.normal(0, 1) * np.exp(-((across / rng.uniform(0.8, 2.0)) ** 2)) * fade
    return amplitude * out * (weight / weight.max())


def session(rng: np.random.Generator, scanner: Scanner) -> Scanner:
    """Draws how a scanner images one patient: contrast agent, tissue values, contrast curve, noise, bias field and sharpness."""

    def factor(limits: Range) -> float:
        return float(np.exp(rng.uniform(*np.log(limits))))

    amount = rng.uniform(*scanner.agent)
    values = {}
    for name, value in scanner.values.items():
        start = scanner.plain.get(name, value)
        change = scanner.spread * rng.standard_normal() * (value != 0)
        values[name] = start + amount * (value - start) + change
    blur = factor(scanner.factors)
    return replace(
        scanner,
        values=values,
        curve=scanner.curve * factor(scanner.curves),
        noise=scanner.noise * factor(scanner.factors),
        bias=scanner.bias * factor(scanner.factors),
        blur=(scanner.blur[0] * blur, scanner.blur[1] * blur, scanner.blur[2] * blur),
    )


def image_of(rng: np.random.Generator, scanner: Scanner, scene: Scene, spacing: Spacing) -> FloatArray:
    """Simulates the image of a scene.

    MR: signal^curve times the bias field, blurred, with Rician noise, times a random scale. CT: HU, blurred, with streaks and
    Gaussian noise.

    Args:
        rng: the generator.
        scanner: the scanner as it images this patient; see `session`.
        scene: the patient.
        spacing: mm per axis.

    Returns:
        Grey values as stored (integers as float64), of the shape of the scene. MR: 0 where the scene is cleared, at least 1
        elsewhere.
    """
    means = np.array([scanner.values[name] for name in scene.names])
    shape = scene.tissues.shape
    cells = [max(2, round(n * s / 9.0)) for n, s in zip(shape, spacing, strict=True)]
    signal = means[scene.tissues]
    signal += scanner.texture * (smooth_field(rng, shape, cells) + 0.6 * rng.standard_normal(shape))
    if scene.detail is not None:
        signal += scene.detail
    mr = scanner.modality == "MR"
    if mr:
        signal = np.maximum(signal, 0.0) ** scanner.curve
        signal *= bias_field(rng, shape, scanner.bias)
    for axis, (width, step) in enumerate(zip(scanner.blur, spacing, strict=True)):
        if width / step > 0.25:
            signal = gaussian_filter1d(signal, width / step, axis=axis, mode="nearest", truncate=3)
    if mr:
        stored = np.rint(rician(rng, signal, scanner.noise) * rng.uniform(*scanner.scale))
        return stored if scene.cleared is None else np.where(scene.cleared, 0.0, np.maximum(stored, 1.0))
    if scanner.streaks:
        signal += streaks(rng, signal > 0.8 * np.max(means), scanner.streaks)
    return np.rint(np.clip(signal + scanner.noise * rng.standard_normal(shape), -1024, 3071))
