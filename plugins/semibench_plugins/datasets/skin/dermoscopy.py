"""Dermoscopy of pigmented lesions (isic2018), in colour: rows down, columns to the right, in mm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semibench.blocks import Contour, FloatArray, Wave, ridge, smooth_field, soft_step
from semibench_plugins.phantoms.tissue import Label


@dataclass(frozen=True)
class Dermatoscope:
    """The appearance of dermoscopic images.

    Attributes:
        rows: range of the image height, in pixels.
        columns: range of the image width, in pixels.
        width: range of the width of the field, in mm.
        tube: share of images with the dark corners of a round tube.
        gain: range of the exposure.
        balance: standard deviation of the log of the colour balance.
        noise: standard deviation of the noise, in grey levels.
    """

    rows: tuple[int, int]
    columns: tuple[int, int]
    width: tuple[float, float] = (12.0, 30.0)
    tube: float = 0.3
    gain: tuple[float, float] = (0.85, 1.1)
    balance: float = 0.05
    noise: float = 2.5


SKIN = np.array([214.0, 164.0, 144.0])
BROWN = np.array([118.0, 74.0, 56.0])
DARK = np.array([58.0, 42.0, 44.0])
BLUE = np.array([98.0, 98.0, 118.0])
INK = np.array([96.0, 60.0, 130.0])
RED = np.array([186.0, 102.0, 100.0])


def lesion(
    body: np.random.Generator, view: np.random.Generator, scope: Dermatoscope, rows: int, columns: int
) -> tuple[FloatArray, Label]:
    """Draws a colour image (3, rows, columns) of values 0..255 and the label of its one lesion. Hairs, bubbles, freckles, sun
    spots, ink and dark corners are not labeled; many lesions are hardly darker than the skin."""
    width = float(np.exp(body.uniform(*np.log(scope.width))))
    step = width / columns
    z = ((np.arange(rows) + 0.5) * step - 0.5 * rows * step)[:, None]
    x = ((np.arange(columns) + 0.5) * step - 0.5 * width)[None]
    shape = (rows, columns)

    def field(rng: np.random.Generator, bump: float) -> FloatArray:
        return smooth_field(rng, shape, (max(2, round(rows * step / bump)), max(2, round(width / bump))))

    reach = 0.5 * min(rows * step, width)
    radius = reach * float(np.exp(body.uniform(np.log(0.2), np.log(0.85))))
    spare = [max(0.1 * reach, half - 0.7 * radius) for half in (0.5 * rows * step, 0.5 * width)]
    outline = Contour(
        body, (body.uniform(-0.85, 0.85) * spare[0], body.uniform(-0.85, 0.85) * spare[1]),
        (radius, radius * body.uniform(0.6, 1.5)), body.uniform(-1.5, 1.5), body.uniform(0.05, 0.45), order=9,
    )  # fmt: skip
    warp = field(body, 2.5)
    depth = outline.depth(z + 0.25 * warp, x + 0.0 * z)
    label = (depth > 0).astype(np.uint8)

    tone = np.clip(body.normal(1.0, 0.1), 0.7, 1.15)
    skin = SKIN * tone * np.exp(body.normal(0, [0.03, 0.05, 0.06]))
    picture = skin[:, None, None] * (1 + body.uniform(0.03, 0.12) * field(body, 8.0) + 0.02 * field(view, 0.7))
    flush = body.uniform(0.5, 3.0) * np.clip(field(body, body.uniform(2.0, 6.0)), 0, 2)
    picture = picture + np.array([-4.0, -10.0, -8.0])[:, None, None] * flush
    freckle = (field(body, 1.4) > body.uniform(1.5, 2.6)) & (label == 0)
    picture -= body.uniform(10, 40) * freckle
    picture = _sun_spots(body, picture, z, x, reach, label)

    strength = body.uniform(0.28, 0.95)
    inner = RED if body.random() < 0.25 else BROWN
    margin = body.uniform(0.15, 1.1)
    edge = soft_step(depth, margin) * strength
    tint = inner * np.exp(body.normal(0, 0.08, 3))
    mixed = tint[:, None, None] + (DARK - tint)[:, None, None] * np.clip(
        0.35 * body.uniform(0, 1.4) * (field(body, 2.2) + 0.4), 0, 1
    )
    if body.random() < 0.35:
        veil = np.clip(field(body, 3.0) - 0.4, 0, 1) * 0.8
        mixed = mixed + veil * (BLUE[:, None, None] - mixed)
    if body.random() < 0.6:  # pigment network: dark lines between light holes
        mixed = mixed * (1 - body.uniform(0.1, 0.3) * ridge(field(view, 0.7), 0.35))
    if body.random() < 0.3:  # regression: skin shows inside
        hole = soft_step(field(body, 3.0) - 1.0, 0.4) * (depth > 0.5)
        edge = edge * (1 - 0.8 * hole)
    picture = picture + edge * (mixed - picture)

    picture = _ink(body, picture, z, x, reach, width)
    for _ in range(int(body.integers(2, 18)) if body.random() < 0.55 else 0):
        turn, offset = body.uniform(0, np.pi), body.uniform(-0.9, 0.9) * reach
        along, across = np.cos(turn) * x + np.sin(turn) * z, np.cos(turn) * z - np.sin(turn) * x
        bend = Wave(body, 2 * width, 1.2, 2)(along)
        hair = np.exp(-(((across - offset - bend) / body.uniform(0.05, 0.16)) ** 2))
        picture = picture + 0.75 * hair * (np.array([46.0, 36.0, 34.0])[:, None, None] - picture)
    for _ in range(int(view.integers(0, 9))):
        at, size = (view.uniform(-reach, reach), view.uniform(-0.5, 0.5) * width), view.uniform(0.2, 1.4)
        ring = np.hypot(z - at[0], x - at[1]) - size
        picture = picture + (45 * np.exp(-((ring / 0.07) ** 2)))[None]
    lamp = body.normal(0, 0.4, 2) * reach
    light = 1 - body.uniform(0.0, 0.25) * (((z - lamp[0]) / reach) ** 2 + ((x - lamp[1]) / reach) ** 2) / 2
    light = np.clip(light, 0.3, 1.0)
    picture = picture * light * body.uniform(*scope.gain) * np.exp(body.normal(0, scope.balance, 3))[:, None, None]
    if body.random() < scope.tube:
        picture = picture * soft_step(body.uniform(1.02, 1.3) * reach * columns / rows - np.hypot(z, x), 0.8)
    picture = picture + scope.noise * view.standard_normal((3, *shape))
    return np.rint(np.clip(picture, 0, 255)), label


def _sun_spots(
    body: np.random.Generator, picture: FloatArray, z: FloatArray, x: FloatArray, reach: float, label: Label
) -> FloatArray:
    """Paints up to five flat brown spots, not labeled: evenly coloured, without network, veil or dark centre, and smaller than
    a lesion. They keep clear of it."""
    for _ in range(int(body.integers(0, 6)) if body.random() < 0.6 else 0):
        size = reach * body.uniform(0.06, 0.2)
        centre = (body.uniform(-1, 1) * reach, body.uniform(-1.3, 1.3) * reach)
        spot = Contour(body, centre, (size, size * body.uniform(0.7, 1.4)), 0.0, 0.4).depth(z + 0.0 * x, x + 0.0 * z)
        if ((spot > -0.4) & (label > 0)).any():
            continue
        share = body.uniform(0.15, 0.5) * soft_step(spot, body.uniform(0.1, 0.5))
        picture = picture + share * (BROWN[:, None, None] - picture)
    return picture


def _ink(
    body: np.random.Generator, picture: FloatArray, z: FloatArray, x: FloatArray, reach: float, width: float
) -> FloatArray:
    """Paints what lies on the skin in some pictures, labeled or not: a violet pen stroke, a coloured sticker at the border."""
    if body.random() < 0.2:
        turn, offset = body.uniform(0, np.pi), body.choice([-1.0, 1.0]) * body.uniform(0.5, 1.1) * reach
        along, across = np.cos(turn) * x + np.sin(turn) * z, np.cos(turn) * z - np.sin(turn) * x
        stroke = soft_step(body.uniform(0.3, 0.8) - np.abs(across - offset - Wave(body, 2 * width, 0.8, 2)(along)), 0.4)
        picture = picture + 0.7 * stroke * (INK[:, None, None] - picture)
    if body.random() < 0.15:
        colour = np.array([body.uniform(60, 230), body.uniform(60, 200), body.uniform(40, 200)])
        size, side = body.uniform(0.4, 0.8) * reach, body.choice([-1.0, 1.0])
        gap = size - np.hypot(z - body.uniform(-1, 1) * reach, x - side * (0.5 * width + 0.3 * size))
        picture = picture + soft_step(gap, 0.2) * (colour[:, None, None] - picture)
    return picture
