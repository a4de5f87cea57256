"""The fetal head, seen by a curved array through the uterus (hc18). The label covers the whole head, skull included."""

from __future__ import annotations

import numpy as np

from semibench.blocks import Contour, FloatArray, Wave, ridge, smooth_field, soft_step
from semibench_plugins.phantoms.tissue import Extent, Label
from semibench_plugins.phantoms.ultrasound import Machine, Tissue, beam_grid, scan, scan_convert

_RAYS = (200, 150)
"""The number of rows and beams of the curved array at scale 1."""


class _Head:
    """The head as an ellipse in mm: centre (z, x), half axes (short, long) and the angle of the long axis to the horizontal."""

    def __init__(self, body: np.random.Generator, extent: Extent, machine: Machine) -> None:
        room = min(0.5 * extent.width / 1.15, 0.5 * extent.depth / 0.95)
        self.long = np.exp(body.uniform(np.log(0.3), np.log(0.95))) * room
        self.short = body.uniform(0.7, 0.88) * self.long
        self.angle = body.uniform(-0.5, 0.5) * np.pi if body.random() < 0.5 else body.normal(0, 0.3)
        low, high = 0.9 * self.short, max(0.9 * self.short, extent.depth - 0.8 * self.short)
        self.z = body.uniform(low, high)
        beam = np.tan(np.deg2rad(machine.sector)) * (self.z + machine.radius)
        self.x = body.uniform(-1, 1) * max(0.05 * extent.width, min(beam, 0.5 * extent.width) - 0.75 * self.long)

    def inside(self, z: FloatArray, x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Returns the signed depth in mm (positive inside) and the coordinates along the long and short axes, in half axes."""
        c, s = np.cos(self.angle), np.sin(self.angle)
        u = (c * (x - self.x) + s * (z - self.z)) / self.long
        v = (c * (z - self.z) - s * (x - self.x)) / self.short
        rho = np.sqrt(u * u + v * v)
        return (1.0 - rho) * self.short, u, v


def fetal_head(
    body: np.random.Generator, view: np.random.Generator, extent: Extent, machine: Machine, gain: float
) -> tuple[FloatArray, Label]:
    """Draws the grey levels and the label of one frame. Heads vary in size, turn and place more than those of HC18, which an
    observer centred. The skull is bright where the beam meets it at a right angle, drops out
    at its sides and shadows what lies behind it. Amniotic fluid, uterine wall and placenta surround it."""
    head = _Head(body, extent, machine)
    cartesian_z = (np.arange(extent.rows)[:, None] + 0.5) * extent.pixel[0] - 0.02 * extent.depth
    cartesian_x = (np.arange(extent.columns)[None] + 0.5) * extent.pixel[1] - extent.width / 2
    cartesian_x = cartesian_x + body.uniform(-0.12, 0.12) * extent.width  # the picture is cropped off centre
    label = (head.inside(cartesian_z, cartesian_x)[0] >= 0).astype(np.uint8)

    depth = extent.depth * 1.05
    factor = extent.rows / 180
    rays = (round(_RAYS[0] * factor), round(_RAYS[1] * factor))
    z, x = beam_grid(machine, depth, *rays)
    tissue = _scene(body, view, head, z, x, depth)
    pixel = (depth / rays[0], 2 * np.deg2rad(machine.sector) * (machine.radius + depth / 2) / rays[1])
    grey = scan(tissue, machine, pixel, gain, view)
    image = scan_convert(grey, machine, depth, cartesian_z, cartesian_x)
    if body.random() < 0.6:  # the corner that was blanked to remove the patient's data
        image[int(extent.rows * body.uniform(0.7, 0.85)) :, int(extent.columns * body.uniform(0.7, 0.8)) :] = 0.0
    image[int(0.06 * extent.rows) : int(0.33 * extent.rows), 1:3] = np.linspace(
        255, 0, int(0.33 * extent.rows) - int(0.06 * extent.rows)
    )[:, None]
    return image, label


def _trunk(body: np.random.Generator, head: _Head, z: FloatArray, x: FloatArray) -> FloatArray:
    """Draws the outline of the fetal trunk beside the head, round and with a bright skin, but without a skull or midline.
    Returns the signed depth in mm, positive inside."""
    turn, size = body.uniform(0, 2 * np.pi), head.long * body.uniform(0.5, 1.0)
    gap = head.long + size * body.uniform(0.9, 1.3)
    centre = (head.z + gap * np.sin(turn), head.x + gap * np.cos(turn))
    return Contour(body, centre, (size, size * body.uniform(0.8, 1.3)), body.uniform(-1, 1), 0.12, order=5).depth(z, x)


def _scene(
    body: np.random.Generator, view: np.random.Generator, head: _Head, z: FloatArray, x: FloatArray, depth: float
) -> Tissue:
    shape = z.shape
    inside, u, v = head.inside(z, x)

    def cells(size: float) -> tuple[int, int]:
        return max(2, round(depth / size)), max(2, round(2 * float(x.max()) / size))

    # mother: layered wall, uterus, fluid pocket around the head
    layers = smooth_field(view, shape, (max(6, int(depth / 2.5)), 4))
    echo = body.uniform(-6, -1) + 3.5 * layers + 3.0 * smooth_field(view, shape, cells(12))
    loss = np.full(shape, body.uniform(0.62, 0.72))
    pocket = Contour(
        body,
        (head.z + body.normal(0, 0.08) * head.short, head.x + body.normal(0, 0.15) * head.long),
        (head.short * body.uniform(0.7, 1.5), head.long * body.uniform(0.7, 1.7)),
        head.angle,
        0.35,
        order=5,
    ).depth(z, x)
    fluid = soft_step(pocket, 1.5)
    echo += fluid * (-34.0 - echo)
    loss += fluid * (0.1 - loss)
    echo += body.uniform(3, 9) * np.exp(-(((pocket + 1.0) / 1.2) ** 2))
    trunk, lies = _trunk(body, head, z, x), body.random() < 0.7
    if lies:
        skin = np.exp(-(((trunk - 1.0) / 0.9) ** 2))
        organs = body.uniform(-14, -4) + 3.0 * smooth_field(view, shape, cells(8)) + body.uniform(8, 18) * skin
        echo += soft_step(trunk, 1.0) * (organs - echo)
        loss += soft_step(trunk, 1.0) * (0.6 - loss)
    limb = Contour(
        body,
        (
            head.z + body.uniform(0.6, 1.2) * head.short,
            head.x + body.choice([-1, 1]) * body.uniform(0.9, 1.4) * head.long,
        ),
        (body.uniform(0.2, 0.35) * head.short, body.uniform(0.3, 0.6) * head.long),
        body.uniform(-1.5, 1.5),
        0.1,
    ).depth(z, x)
    echo += soft_step(limb, 1.0) * (-4.0 - echo) + 12 * np.exp(-(((limb - 2.0) / 1.0) ** 2)) * (body.random() < 0.6)

    # skull: specular, so bright where its normal points along the beam
    normal_z, normal_x = np.gradient(inside)
    beam = np.abs(normal_z) / (np.hypot(normal_z, normal_x) + 1e-9)
    thickness = body.uniform(0.025, 0.05) * head.short + 0.4
    bone = np.exp(-(((inside - thickness) / thickness) ** 2))
    square = body.uniform(0.0, 0.3) + beam ** body.uniform(1.0, 4.5)
    square = np.clip(square * (1 + 0.45 * smooth_field(view, shape, cells(0.5 * head.long))), 0.0, 1.2)
    core = soft_step(inside - thickness, 1.0)
    folds = smooth_field(body, shape, cells(0.22 * head.short + 2))
    brain = (
        body.uniform(-26, -13)
        + 3.0 * smooth_field(view, shape, cells(0.3 * head.short))
        + body.uniform(3, 8) * ridge(folds, 0.2)
    )
    echo += core * (brain - echo)
    loss += core * (0.5 - loss)

    # inside: midline, cavum, choroid plexus, ventricle walls
    bow = Wave(body, 2.0, 0.04)(u)
    line = np.exp(-(((v - bow) * head.short / 0.9) ** 2)) * (np.abs(u) < body.uniform(0.5, 0.85)) * core
    breaks = soft_step(smooth_field(body, shape, cells(0.25 * head.long)) + 0.4, 0.5)
    echo += body.uniform(8, 20) * line * breaks
    for sign in (-1.0, 1.0):
        if body.random() < 0.7:
            plexus = Contour(
                body,
                (sign * body.uniform(0.25, 0.4), body.uniform(-0.55, 0.1)),
                (0.12, body.uniform(0.15, 0.3)),
                0.0,
                0.3,
            ).depth(v, u)
            echo += body.uniform(4, 13) * soft_step(plexus, 0.1) * core
        edge = np.exp(-(((v - sign * 0.45 - 0.1 * u) * head.short / 1.0) ** 2)) * (np.abs(u - 0.2) < 0.4)
        echo += body.uniform(0, 9) * edge * core
    echo += bone * np.sqrt(square) * (body.uniform(14, 20) - 12.0 * (1.2 - square) - echo)
    loss += bone * square * body.uniform(0.5, 1.6)
    return Tissue(echo, loss, 2.0 * bone * square**2, None)
