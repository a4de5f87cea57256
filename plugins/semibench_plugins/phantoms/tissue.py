"""Tissue as seen by a linear array: the canvas and the lesions of the breast and thyroid scenes.

A scene takes two random streams: `body` for the patient, the same for all frames, and `view` for the frame (probe shift,
deformation, texture). Coordinates are in mm: z down from the skin, x from the middle of the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semibench.blocks import Contour, FloatArray, Wave, smooth_field, soft_step
from semibench_plugins.phantoms.ultrasound import Tissue

Label = NDArray[np.uint8]

FLUID_LOSS = 0.42
"""Lesions that attenuate less are filled with fluid, in dB / (cm MHz)."""

DARKEST_SOLID = -16.0
"""The echo of the darkest solid lesions, in dB. In fat that is as dark, they are at most 4 dB darker than it."""


@dataclass(frozen=True)
class Extent:
    """The displayed field: depth and width in mm, rows and columns in pixels."""

    depth: float
    width: float
    rows: int
    columns: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows, self.columns

    @property
    def pixel(self) -> tuple[float, float]:
        """mm per row and per column."""
        return self.depth / self.rows, self.width / self.columns


@dataclass(frozen=True)
class Lesion:
    """A kind of lesion. Pairs are ranges.

    Attributes:
        contrast: difference from the surroundings, in dB.
        loss: attenuation, in dB / (cm MHz).
        flat: height over width.
        rough: roughness of the outline.
        spikes: number of outward lobes of the outline.
        margin: blur of the outline, in mm.
        texture: standard deviation of the echo inside, in dB.
        halo: brightness of the rim, in dB.
        weight: relative frequency of this kind.
    """

    contrast: tuple[float, float]
    loss: tuple[float, float]
    flat: tuple[float, float]
    rough: tuple[float, float]
    spikes: tuple[int, int]
    margin: tuple[float, float]
    texture: float
    halo: tuple[float, float]
    weight: float


def pick_lesion(rng: np.random.Generator, kinds: tuple[Lesion, ...]) -> Lesion:
    weights = np.array([k.weight for k in kinds])
    return kinds[int(np.searchsorted(np.cumsum(weights) / weights.sum(), rng.random()))]


def patient_grid(extent: Extent, view: np.random.Generator, shift: float) -> tuple[FloatArray, FloatArray]:
    """Returns the positions of a frame's pixels in the patient, in mm, after probe shift, pressure and a smooth deformation."""
    z = (np.arange(extent.rows)[:, None] + 0.5) * extent.pixel[0]
    x = (np.arange(extent.columns)[None] + 0.5) * extent.pixel[1] - extent.width / 2
    x = x * view.uniform(0.94, 1.06) + view.normal(0, shift * extent.width)
    x = x + Wave(view, extent.width, 0.01 * extent.width)(x)
    press = view.uniform(0.96, 1.05)
    z = z * press + Wave(view, extent.width, 0.008 * extent.depth)(x) * soft_step(
        z - 0.15 * extent.depth, 0.3 * extent.depth
    )
    return z, x


class Canvas:
    """The maps that a scene paints, from the surface down."""

    def __init__(self, extent: Extent, z: FloatArray, x: FloatArray, view: np.random.Generator) -> None:
        self.extent, self.z, self.x, self.view = extent, z, x, view
        self.echo = np.zeros(extent.shape)
        self.loss = np.full(extent.shape, 0.65)
        self.mirror = np.zeros(extent.shape)
        self.label = np.zeros(extent.shape, np.uint8)

    def cells(self, fine_z: float, fine_x: float) -> tuple[int, int]:
        """Returns the numbers of bumps along each axis for features of the given sizes in mm."""
        return max(2, round(self.extent.depth / fine_z)), max(2, round(self.extent.width / fine_x))

    def streaks(self, fine_z: float, fine_x: float, bend: FloatArray) -> FloatArray:
        """Draws streaks of unit variance along a layer. bend: how far the layer sags, in mm, (1, columns)."""
        rows, columns = self.extent.shape
        reach = int(np.ceil(np.abs(bend).max() / self.extent.pixel[0])) + 1
        tall = smooth_field(
            self.view, (rows + 2 * reach, columns), self.cells(fine_z * rows / (rows + 2 * reach), fine_x)
        )
        index = np.arange(rows)[:, None] + reach - np.rint(bend / self.extent.pixel[0]).astype(np.int64)
        return np.take_along_axis(tall, index, axis=0)

    def blend(self, share: FloatArray, echo: FloatArray | float, loss: float) -> None:
        """Blends (echo, loss) into the maps; they replace the maps where `share` is 1."""
        self.echo += share * (echo - self.echo)
        self.loss += share * (loss - self.loss)

    def interface(self, depth: FloatArray, thickness: float, echo: float, mirror: float) -> None:
        """Paints a bright line at `depth` (1, columns) in mm, brighter where it is level (specular)."""
        line = np.exp(-(((self.z - depth) / thickness) ** 2))
        slope = np.gradient(depth[0]) / self.extent.pixel[1]
        flat = np.exp(-((slope / 0.25) ** 2))
        self.echo += line * echo * (0.4 + 0.6 * flat)
        self.mirror += line * mirror * flat

    def lesion(self, body: np.random.Generator, kind: Lesion, centre: tuple[float, float], radius: float) -> None:
        """Paints one lesion and its label. radius: that of a disc of the same area, in mm."""
        flat = body.uniform(*kind.flat)
        spikes = int(body.integers(kind.spikes[0], kind.spikes[1] + 1))
        size = radius * self.view.uniform(0.9, 1.1)
        shape = Contour(
            body,
            centre,
            (size * np.sqrt(flat), size / np.sqrt(flat)),
            body.normal(0, 0.25),
            body.uniform(*kind.rough),
            spikes=spikes,
            spike=body.uniform(0.05, 0.25),
        )
        contrast, loss = body.uniform(*kind.contrast), body.uniform(*kind.loss)
        margin, halo = body.uniform(*kind.margin), body.uniform(*kind.halo)
        bend = 0.1 * size * smooth_field(self.view, self.extent.shape, self.cells(1.5 * size, 1.5 * size))
        inside = shape.depth(self.z + bend, self.x - bend)
        share = soft_step(inside, margin)
        patch = kind.texture * smooth_field(self.view, self.extent.shape, self.cells(size * 0.6, size * 0.8))
        around = float(self.echo[np.abs(inside) < 0.4 * size].mean()) if (np.abs(inside) < 0.4 * size).any() else 0.0
        rim = np.exp(-(((inside + 0.1 * margin) / (0.5 + 0.6 * margin)) ** 2))
        self.mirror *= 1 - share
        level = around + contrast
        if loss > FLUID_LOSS:
            level = max(level, min(DARKEST_SOLID, around + max(contrast, -4.0)))
        self.blend(share, level + patch, loss)
        self.echo += halo * rim * (0.6 + 0.4 * smooth_field(self.view, self.extent.shape, (5, 5)))
        if body.random() < 0.25:  # calcifications
            count = int(body.integers(2, 9))
            spots = np.stack([body.normal(centre[0], size / 3, count), body.normal(centre[1], size / 3, count)])
            for z0, x0 in spots.T:
                dot = np.exp(-(((self.z - z0) / 0.3) ** 2) - ((self.x - x0) / 0.4) ** 2)
                self.echo += 16 * dot
                self.loss += 1.5 * dot
        self.label[inside > 0] = 1

    def vessel(
        self, rng: np.random.Generator, centre: tuple[float, float], radii: tuple[float, float], wall: float
    ) -> None:
        """Paints an anechoic tube with a bright wall, not labeled: a blood vessel, duct or simple cyst."""
        shape = Contour(rng, centre, radii, rng.normal(0, 0.2), 0.08)
        inside = shape.depth(self.z, self.x)
        self.blend(soft_step(inside, 0.35), -30.0, 0.12)
        self.echo += wall * np.exp(-(((inside + 0.35) / 0.45) ** 2))

    def shadow(self, rng: np.random.Generator, start: float, strength: tuple[float, float] = (0.8, 2.0)) -> None:
        """Paints a column that darkens below `start` mm, not labeled, as a loss of contact or a strong reflector causes.

        Args:
            rng: the stream of the patient.
            start: the depth at which the column begins, in mm.
            strength: the range of the attenuation that the first millimetres add, in dB / (cm MHz).
        """
        at, width = rng.uniform(-0.5, 0.5) * self.extent.width, rng.uniform(0.03, 0.12) * self.extent.width
        column = np.exp(-(((self.x - at - rng.normal(0, 0.1) * (self.z - start)) / width) ** 2))
        depth = rng.uniform(2, 5)
        self.loss += rng.uniform(*strength) * column * ((self.z > start) & (self.z < start + depth))

    def absorb(self, factor: float) -> None:
        """Scales the attenuation of all tissue: above 1 the deep part of the image is dark, as in a thick or dense body."""
        self.loss *= factor

    def tissue(self, density: float = 1.0) -> Tissue:
        """Returns the maps in the form that the machine images."""
        sparse = None if density >= 1 else np.full(self.extent.shape, density)
        return Tissue(self.echo, self.loss, self.mirror, sparse)


def add_distractors(
    body: np.random.Generator, c: Canvas, low: float, high: float, vessels: float = 0.7, shadows: float = 0.6
) -> None:
    """Paints random vessels, ducts and shadows; vessels and ducts avoid the labels.

    Args:
        body: the stream of the patient.
        c: the canvas.
        low: the least depth of a vessel, as a share of the displayed depth.
        high: the greatest depth of a vessel.
        vessels: the mean number of vessels and ducts.
        shadows: the mean number of shadows.
    """
    depth, width = c.extent.depth, c.extent.width
    for _ in range(int(body.poisson(vessels))):
        size = body.uniform(0.6, 1.8)
        centre = (body.uniform(low, high) * depth, body.uniform(-0.45, 0.45) * width)
        row = int(np.clip(centre[0] / depth * c.extent.rows, 0, c.extent.rows - 1))
        column = int(np.clip((centre[1] / width + 0.5) * c.extent.columns, 0, c.extent.columns - 1))
        if c.label[max(0, row - 12) : row + 12, max(0, column - 20) : column + 20].any():
            continue
        c.vessel(body, centre, (size, size * body.uniform(1.0, 3.0)), body.uniform(0, 5))
    for _ in range(int(body.poisson(shadows))):
        c.shadow(body, body.uniform(0.0, 0.5) * depth, (0.5, 2.2))
