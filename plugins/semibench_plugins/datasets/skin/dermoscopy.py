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
    width: tuple[float, float] = (14.0, 26.0)
    tube: float = 0.3
    gain: tuple[float, float] = (0.85, 1.1)
    balance: float = 0.05
    noise: float = 2.5


SKIN = np.array([214.0, 164.0, 144.0])
BROWN = np.array([118.0, 74.0, 56.0])
DARK = np.array([58.0, 42.0, 44.0])
BLUE = np.array([98.0, 98.0, 118.0])
RED = np.array([186.0, 102.0, 100.0])


def lesion(
    body: np.random.Generator, view: np.random.Generator, scope: Dermatoscope, rows: int, columns: int
) -> tuple[FloatArray, Label]:
    """Draws a colour image (3, rows, columns) of values 0..255 and the label of its one lesion. Hairs, bubbles, freckles and
    dark corners are not labeled; some lesions are hardly darker than the skin."""
    width = body.uniform(*scope.width)
    step = width / columns
    z = ((np.arange(rows) + 0.5) * step - 0.5 * rows * step)[:, None]
    x = ((np.arange(columns) + 0.5) * step - 0.5 * width)[None]
    shape = (rows, columns)

    def field(rng: np.random.Generator, bump: float) -> FloatArray:
        return smooth_field(rng, shape, (max(2, round(rows * step / bump)), max(2, round(width / bump))))

    reach = 0.5 * min(rows * step, width)
    radius = reach * body.uniform(0.28, 0.8)
    outline = Contour(
        body, (body.normal(0, 0.12) * reach, body.normal(0, 0.15) * reach),
        (radius, radius * body.uniform(0.75, 1.3)), body.uniform(-1.5, 1.5), body.uniform(0.05, 0.4), order=9,
    )  # fmt: skip
    warp = field(body, 2.5)
    depth = outline.depth(z + 0.25 * warp, x + 0.0 * z)
    label = (depth > 0).astype(np.uint8)

    tone = np.clip(body.normal(1.0, 0.1), 0.7, 1.15)
    skin = SKIN * tone * np.exp(body.normal(0, [0.03, 0.05, 0.06]))
    picture = skin[:, None, None] * (1 + 0.05 * field(body, 8.0) + 0.02 * field(view, 0.7))
    picture = picture + np.array([-4.0, -10.0, -8.0])[:, None, None] * np.clip(field(body, 3.0), 0, 2)
    freckle = (field(body, 1.4) > body.uniform(1.9, 2.6)) & (label == 0)
    picture -= 18.0 * freckle

    strength = body.uniform(0.35, 1.0)
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

    for _ in range(int(body.integers(0, 9)) if body.random() < 0.5 else 0):
        turn, offset = body.uniform(0, np.pi), body.uniform(-0.9, 0.9) * reach
        along, across = np.cos(turn) * x + np.sin(turn) * z, np.cos(turn) * z - np.sin(turn) * x
        bend = Wave(body, 2 * width, 1.2, 2)(along)
        hair = np.exp(-(((across - offset - bend) / body.uniform(0.05, 0.11)) ** 2))
        picture = picture + 0.75 * hair * (np.array([46.0, 36.0, 34.0])[:, None, None] - picture)
    for _ in range(int(view.integers(0, 4))):
        at, size = (view.uniform(-reach, reach), view.uniform(-0.5, 0.5) * width), view.uniform(0.3, 0.9)
        ring = np.hypot(z - at[0], x - at[1]) - size
        picture = picture + (45 * np.exp(-((ring / 0.07) ** 2)))[None]
    light = 1 - body.uniform(0.0, 0.25) * ((z / reach) ** 2 + (x / reach) ** 2) / 2
    picture = picture * light * body.uniform(*scope.gain) * np.exp(body.normal(0, scope.balance, 3))[:, None, None]
    if body.random() < scope.tube:
        picture = picture * soft_step(body.uniform(1.02, 1.3) * reach * columns / rows - np.hypot(z, x), 0.8)
    picture = picture + scope.noise * view.standard_normal((3, *shape))
    return np.rint(np.clip(picture, 0, 255)), label
