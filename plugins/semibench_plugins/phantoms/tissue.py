"""Scenes for the ultrasound phantoms: breast and thyroid (linear arrays). The fetal head is in `fetal.py`.

A scene takes two random streams: `body` (the patient: the same for all its frames) and `view` (the frame: probe shift,
deformation, texture). Coordinates are mm, z down from the skin, x from the middle of the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semibench_plugins.phantoms.fields import Array, Contour, Wave, ridge, smooth_field, soft_step
from semibench_plugins.phantoms.ultrasound import Tissue

Label = NDArray[np.uint8]


@dataclass(frozen=True)
class Extent:
    """Displayed field: depth and width in mm, rows and columns in pixels."""

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
    """Kind of lesion. contrast: range of dB against its surroundings; loss: range of attenuation, dB / (cm MHz); flat:
    range of height over width; rough, spikes: of the outline; margin: range of its blur in mm; texture: dB; halo: dB of
    the bright rim; weight: how often."""

    contrast: tuple[float, float]
    loss: tuple[float, float]
    flat: tuple[float, float]
    rough: tuple[float, float]
    spikes: tuple[int, int]
    margin: tuple[float, float]
    texture: float
    halo: tuple[float, float]
    weight: float


BREAST_LESIONS = (
    Lesion((-15, -8), (0.35, 0.7), (0.45, 0.8), (0.05, 0.3), (0, 1), (0.3, 0.9), 2.0, (0, 5), 4.0),  # fibroadenoma
    Lesion((-16, -9), (0.8, 1.6), (0.7, 1.25), (0.15, 0.4), (2, 8), (0.8, 2.2), 3.5, (0, 6), 3.0),  # carcinoma
    Lesion((-26, -17), (0.1, 0.3), (0.5, 0.95), (0.02, 0.2), (0, 1), (0.2, 0.6), 1.5, (0, 3), 1.2),  # complex cyst
    Lesion((-6, -3.5), (0.6, 0.9), (0.5, 0.9), (0.1, 0.4), (0, 2), (0.5, 1.2), 2.5, (1, 5), 0.7),  # nearly isoechoic
    Lesion((4, 7), (0.7, 1.0), (0.5, 0.9), (0.05, 0.3), (0, 1), (0.4, 1.0), 2.0, (-4, 0), 0.5),  # hyperechoic
)
THYROID_LESIONS = (
    Lesion((-12, -6), (0.5, 0.9), (0.6, 1.0), (0.1, 0.4), (0, 2), (0.3, 1.0), 2.5, (0, 3), 4.0),  # solid, hypoechoic
    Lesion((-14, -7), (0.8, 1.4), (0.9, 1.35), (0.15, 0.4), (1, 6), (0.5, 1.4), 3.5, (-1, 2), 2.0),  # suspicious
    Lesion(
        (-2, 2), (0.6, 0.8), (0.55, 0.9), (0.05, 0.25), (0, 0), (0.3, 0.6), 2.0, (-10, -6), 2.0
    ),  # isoechoic, dark halo
    Lesion((-24, -14), (0.1, 0.4), (0.6, 0.95), (0.05, 0.3), (0, 0), (0.2, 0.6), 6.0, (0, 3), 1.5),  # partly cystic
    Lesion((4, 7), (0.6, 0.9), (0.6, 0.9), (0.05, 0.3), (0, 0), (0.3, 0.8), 2.0, (-6, -2), 0.8),  # hyperechoic
)


def _pick(rng: np.random.Generator, kinds: tuple[Lesion, ...]) -> Lesion:
    weights = np.array([k.weight for k in kinds])
    return kinds[int(np.searchsorted(np.cumsum(weights) / weights.sum(), rng.random()))]


def _grid(extent: Extent, view: np.random.Generator, shift: float) -> tuple[Array, Array]:
    """Where the pixels of this frame lie in the patient, mm: probe shift, pressure and a smooth deformation."""
    z = (np.arange(extent.rows)[:, None] + 0.5) * extent.pixel[0]
    x = (np.arange(extent.columns)[None] + 0.5) * extent.pixel[1] - extent.width / 2
    x = x * view.uniform(0.94, 1.06) + view.normal(0, shift * extent.width)
    x = x + Wave(view, extent.width, 0.01 * extent.width)(x)
    press = view.uniform(0.96, 1.05)
    z = z * press + Wave(view, extent.width, 0.008 * extent.depth)(x) * soft_step(
        z - 0.15 * extent.depth, 0.3 * extent.depth
    )
    return z, x


class _Canvas:
    """Maps that a scene paints on, from the surface down."""

    def __init__(self, extent: Extent, z: Array, x: Array, view: np.random.Generator) -> None:
        self.extent, self.z, self.x, self.view = extent, z, x, view
        self.echo = np.zeros(extent.shape)
        self.loss = np.full(extent.shape, 0.65)
        self.mirror = np.zeros(extent.shape)
        self.label = np.zeros(extent.shape, np.uint8)

    def cells(self, fine_z: float, fine_x: float) -> tuple[int, int]:
        """Numbers of bumps for features of the given sizes in mm."""
        return max(2, round(self.extent.depth / fine_z)), max(2, round(self.extent.width / fine_x))

    def streaks(self, fine_z: float, fine_x: float, bend: Array) -> Array:
        """Unit-variance streaks along a layer; bend: (1, columns) mm by which the layer sags."""
        rows, columns = self.extent.shape
        reach = int(np.ceil(np.abs(bend).max() / self.extent.pixel[0])) + 1
        tall = smooth_field(
            self.view, (rows + 2 * reach, columns), self.cells(fine_z * rows / (rows + 2 * reach), fine_x)
        )
        index = np.arange(rows)[:, None] + reach - np.rint(bend / self.extent.pixel[0]).astype(np.int64)
        return np.take_along_axis(tall, index, axis=0)

    def blend(self, share: Array, echo: Array | float, loss: float) -> None:
        """Replace the maps by (echo, loss) where `share` is 1."""
        self.echo += share * (echo - self.echo)
        self.loss += share * (loss - self.loss)

    def interface(self, depth: Array, thickness: float, echo: float, mirror: float) -> None:
        """A bright line at `depth` (1, columns) mm, brighter where it lies flat (specular)."""
        line = np.exp(-(((self.z - depth) / thickness) ** 2))
        slope = np.gradient(depth[0]) / self.extent.pixel[1]
        flat = np.exp(-((slope / 0.25) ** 2))
        self.echo += line * echo * (0.4 + 0.6 * flat)
        self.mirror += line * mirror * flat

    def lesion(self, body: np.random.Generator, kind: Lesion, centre: tuple[float, float], radius: float) -> None:
        """Paint one lesion and its label. radius: of the disc of the same area, mm."""
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
        self.blend(share, around + contrast + patch, loss)
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
        """An anechoic tube with a bright wall, not labeled: blood vessel, duct or simple cyst."""
        shape = Contour(rng, centre, radii, rng.normal(0, 0.2), 0.08)
        inside = shape.depth(self.z, self.x)
        self.blend(soft_step(inside, 0.35), -30.0, 0.12)
        self.echo += wall * np.exp(-(((inside + 0.35) / 0.45) ** 2))

    def shadow(self, rng: np.random.Generator, start: float) -> None:
        """Loss of contact or a strong reflector: a column that darkens below `start` mm, not labeled."""
        at, width = rng.uniform(-0.45, 0.45) * self.extent.width, rng.uniform(0.03, 0.1) * self.extent.width
        column = np.exp(-(((self.x - at - rng.normal(0, 0.1) * (self.z - start)) / width) ** 2))
        depth = rng.uniform(2, 5)
        self.loss += rng.uniform(0.8, 2.0) * column * ((self.z > start) & (self.z < start + depth))

    def tissue(self, density: float = 1.0) -> Tissue:
        """The maps as the scanner takes them."""
        sparse = None if density >= 1 else np.full(self.extent.shape, density)
        return Tissue(self.echo, self.loss, self.mirror, sparse)


def breast(
    body: np.random.Generator, view: np.random.Generator, extent: Extent, lesions: int, shift: float = 0.02
) -> tuple[Tissue, Label]:
    """Breast: skin, fat with ligaments, gland, muscle, chest wall; `lesions` labeled lesions and things that look like some."""
    depth, width = extent.depth, extent.width
    z, x = _grid(extent, view, shift)
    c = _Canvas(extent, z, x, view)
    skin = body.uniform(0.9, 2.0) + Wave(body, width, 0.15)(x)
    fat_end = skin + depth * body.uniform(0.06, 0.3) + Wave(body, width, 0.025 * depth)(x)
    gland_end = depth * body.uniform(0.5, 0.8) + Wave(body, width, 0.02 * depth)(x)
    gland_end = np.maximum(gland_end, fat_end + 0.15 * depth)
    wall = gland_end + depth * body.uniform(0.12, 0.4) + Wave(body, width, 0.015 * depth)(x)
    fatty, fibrous = body.uniform(0, 7), body.uniform(2.5, 5)

    fat = body.uniform(-13, -8) + 2.0 * smooth_field(view, extent.shape, c.cells(4, 6))
    ligaments = ridge(smooth_field(body, extent.shape, c.cells(9, 14)) + 0.25 * c.streaks(3, 6, skin), 0.09)
    fat += body.uniform(5, 10) * ligaments
    streaks = 0.7 * c.streaks(body.uniform(0.7, 1.3), body.uniform(4, 10), fat_end)
    streaks += 0.7 * c.streaks(body.uniform(1.5, 3), body.uniform(8, 16), gland_end)
    gland = fibrous * streaks + 2.0 * smooth_field(view, extent.shape, c.cells(5, 7))
    lobules = soft_step(smooth_field(body, extent.shape, c.cells(body.uniform(5, 9), body.uniform(8, 14))) - 0.8, 0.5)
    gland = gland * (1 - 0.6 * lobules) - fatty * lobules
    muscle = body.uniform(-12, -6) + 3.5 * c.streaks(0.7, 10, gland_end)

    c.echo += 5.0
    c.blend(soft_step(z - skin, 0.4), fat, 0.55)
    c.blend(soft_step(z - fat_end, 0.8), gland, 0.75)
    c.blend(soft_step(z - gland_end, 0.8), muscle, 0.7)
    sheets = soft_step(streaks - 0.9, 1.0) * soft_step(z - fat_end, 1.0)
    c.echo += body.uniform(1, 6) * sheets
    c.mirror += body.uniform(0.3, 1.5) * sheets * np.exp(c.echo / 8.7).clip(0, 2)
    c.interface(skin, 0.25, 6, 2.0)
    c.interface(gland_end, 0.35, body.uniform(4, 11), 2.0)
    c.blend(soft_step(z - wall, 0.8), body.uniform(-24, -14) + 2 * streaks, 0.8)
    c.interface(wall, 0.5, body.uniform(8, 22), 4.0)

    for _ in range(lesions):
        area = float(np.clip(np.exp(body.normal(np.log(0.07), 0.65)), 0.015, 0.35)) * depth * width
        radius = np.sqrt(area / np.pi)
        low = min(max(float(fat_end.mean()) * 0.8, 0.75 * radius + 2.0), 0.5 * depth)
        at = (body.uniform(low, max(low + 1, 0.62 * depth)), body.uniform(-0.3, 0.3) * width)
        c.lesion(body, _pick(body, BREAST_LESIONS), at, radius)
    _distract(body, c, 0.25, 0.75)
    return c.tissue(body.uniform(0.25, 1.0)), c.label


def _distract(body: np.random.Generator, c: _Canvas, low: float, high: float) -> None:
    """Vessels, ducts and shadows, drawn at random where no label lies."""
    depth, width = c.extent.depth, c.extent.width
    for _ in range(int(body.poisson(0.7))):
        size = body.uniform(0.6, 1.8)
        centre = (body.uniform(low, high) * depth, body.uniform(-0.45, 0.45) * width)
        row = int(np.clip(centre[0] / depth * c.extent.rows, 0, c.extent.rows - 1))
        column = int(np.clip((centre[1] / width + 0.5) * c.extent.columns, 0, c.extent.columns - 1))
        if c.label[max(0, row - 12) : row + 12, max(0, column - 20) : column + 20].any():
            continue
        c.vessel(body, centre, (size, size * body.uniform(1.0, 3.0)), body.uniform(0, 5))
    for _ in range(int(body.poisson(0.6))):
        c.shadow(body, body.uniform(0.05, 0.5) * depth)


def thyroid(
    body: np.random.Generator, view: np.random.Generator, extent: Extent, lesions: int, shift: float = 0.04
) -> tuple[Tissue, Label]:
    """Neck: skin, fat, strap muscles, thyroid lobe with labeled nodules, trachea, carotid artery, deep muscle. A frame is a
    transverse view (trachea, round vessels) or a longitudinal one (long lobe, no trachea)."""
    depth, width = extent.depth, extent.width
    z, x = _grid(extent, view, shift)
    c = _Canvas(extent, z, x, view)
    transverse = body.random() < 0.65
    side = 1.0 if body.random() < 0.5 else -1.0
    skin = body.uniform(0.8, 1.6) + Wave(body, width, 0.12)(x)
    strap = skin + depth * body.uniform(0.03, 0.12) + Wave(body, width, 0.015 * depth)(x)
    lobe_top = strap + depth * body.uniform(0.06, 0.14) + Wave(body, width, 0.02 * depth)(x)
    deep = depth * body.uniform(0.66, 0.82) + Wave(body, width, 0.03 * depth)(x)

    c.echo += 4.0
    streaks = c.streaks(0.7, 9, strap)
    c.blend(soft_step(z - skin, 0.4), -6 + 2.5 * smooth_field(view, extent.shape, c.cells(2, 7)), 0.55)
    c.blend(soft_step(z - strap, 0.5), body.uniform(-14, -9) + 3.0 * streaks, 0.7)
    connective = -3 + 3 * smooth_field(view, extent.shape, c.cells(2.0, 6)) + 2 * streaks
    c.blend(soft_step(z - lobe_top, 0.5), connective, 0.7)
    c.blend(soft_step(z - deep, 0.8), body.uniform(-16, -10) + 3 * c.streaks(0.8, 8, deep), 0.7)
    c.interface(skin, 0.22, 6, 2.0)
    c.interface(strap, 0.25, body.uniform(3, 9), 1.5)
    c.interface(lobe_top, 0.25, body.uniform(1, 5), 0.5)
    c.interface(deep, 0.3, body.uniform(2, 8), 0.5)

    top, bottom = float(lobe_top.mean()), float(deep.mean())
    radii = (0.46 * (bottom - top) * body.uniform(0.8, 1.05), width * (body.uniform(0.26, 0.36) if transverse else 0.6))
    middle = ((top + bottom) / 2, side * width * 0.04 * body.normal())
    lobe = Contour(body, middle, radii, body.normal(0, 0.08), 0.15, order=5)
    inside = lobe.depth(z, x)
    grain = 1.2 * smooth_field(view, extent.shape, c.cells(3, 3)) + body.uniform(0, 3) * smooth_field(
        body, extent.shape, c.cells(7, 8)
    )
    c.blend(soft_step(inside, 0.6), body.uniform(-3, 4) + grain, 0.6)
    c.echo += body.uniform(1, 5) * np.exp(-(((inside + 0.2) / 0.35) ** 2))

    if transverse:
        trachea = (top + 0.45 * (bottom - top), -side * width * body.uniform(0.42, 0.56))
        ring = Contour(body, trachea, (0.4 * (bottom - top), width * body.uniform(0.15, 0.2)), 0.0, 0.05).depth(z, x)
        c.blend(soft_step(ring, 0.6), -9.0, 0.9)
        c.echo += 12 * np.exp(-(((ring - 1.0) / 0.5) ** 2)) * (z < trachea[0])
        below = soft_step(ring - 1.6, 0.8)
        c.blend(below, -18.0 + 5 * np.sin(z * body.uniform(2.5, 4.0)), 1.4)
        size = body.uniform(2.4, 3.6)
        carotid = (middle[0] + body.uniform(-0.1, 0.3) * (bottom - top), side * width * body.uniform(0.36, 0.45))
        c.vessel(body, carotid, (size, size * body.uniform(0.9, 1.15)), 6.0)
        if body.random() < 0.6:
            vein = (carotid[0] - size - body.uniform(0.5, 2), carotid[1] + side * body.uniform(0, 3))
            c.vessel(body, vein, (size * body.uniform(0.3, 0.7), size * body.uniform(1.0, 1.6)), 2.0)
    for _ in range(lesions):
        kind = _pick(body, THYROID_LESIONS)
        radius = float(np.clip(np.exp(body.normal(np.log(0.62), 0.4)), 0.25, 1.15)) * min(radii[0], radii[1])
        reach_z, reach_x = max(radii[0] - 0.8 * radius, 0.0), max(min(radii[1], 0.42 * width) - 0.8 * radius, 0.0)
        at = (middle[0] + body.uniform(-0.75, 0.75) * reach_z, middle[1] + body.uniform(-0.75, 0.75) * reach_x)
        c.lesion(body, kind, at, radius)
    _distract(body, c, 0.3, 0.7)
    return c.tissue(body.uniform(0.3, 1.0)), c.label
