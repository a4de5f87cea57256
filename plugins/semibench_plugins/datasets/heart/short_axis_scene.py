"""Short-axis cine MR of the heart (mnms, acdc); axes (slice, row, column), axis 0 from the apex to the base."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semibench.blocks import FloatArray, Points, deform_points, grid_points, smooth_field
from semibench_plugins.phantoms.patients import chance
from semibench_plugins.phantoms.volume_parts import Mask, Scene, Shape, Spacing, Tissues, bumps

TISSUES = ("air", "lung", "fat", "muscle", "blood", "myocardium", "liver", "trabeculae", "fluid")

_CHANGES: tuple[tuple[float, tuple[float, float, float, float]], ...] = (
    (0.32, (1.0, 1.0, 1.0, 0.7)),  # healthy
    (0.22, (1.4, 0.7, 1.1, 0.85)),  # dilated left ventricle that hardly contracts
    (0.22, (0.75, 1.75, 0.95, 0.5)),  # thick wall around a small cavity
    (0.24, (0.82, 0.95, 1.5, 0.75)),  # overloaded right ventricle
)
"""Share of the patients, the factors on the left ventricle's radius, its wall and the right ventricle, and the left one's radius
at the end of systole as a share of that in diastole."""


@dataclass
class _Ventricles:
    """Shapes in one phase. rows, columns: mm from the axis of the left ventricle. height: mm below the base. reach: 0 at the
    base, 1 at the apex."""

    rows: FloatArray
    columns: FloatArray
    height: FloatArray
    reach: FloatArray
    inner_radius: float
    outer_radius: float
    taper: FloatArray
    cavity: FloatArray
    outer: FloatArray
    right: FloatArray

    @property
    def beating(self) -> Mask:
        return np.asarray((self.reach >= 0) & (self.reach <= 1))


def short_axis(
    body: np.random.Generator, view: np.random.Generator, shape: Shape, spacing: Spacing, phase: int
) -> Scene:
    """Draws one phase of a patient. phase: 0 for end diastole, 1 for end systole. Labels: 1 left ventricle (with the papillary
    muscles), 2 myocardium, 3 right ventricle; none above the base or below the apex."""
    at = _place(body, shape, spacing)
    heart = _ventricles(body, at, shape[0] * spacing[0], phase)
    right = (heart.right > 0) & (heart.outer <= -1.0) & heart.beating
    label = np.zeros(shape, np.uint8)
    label[right] = 3
    label[(heart.outer > 0) & heart.beating] = 2
    label[(heart.cavity > 0) & heart.beating] = 1
    folds = smooth_field(body, shape, bumps(shape, spacing, 22.0))
    trabecular = smooth_field(view, shape, bumps(shape, (spacing[0] / 2, *spacing[1:]), 7.0)) > 1.0
    tissues = _chest(body, at, heart, folds)
    return Scene(_paint(body, tissues, heart, right, trabecular), TISSUES, label)


def _place(body: np.random.Generator, shape: Shape, spacing: Spacing) -> Points:
    """Draws where the heart lies in the slices, how they are turned about its axis, and how large the patient is."""
    z, rows, columns = deform_points(
        body, grid_points(shape, spacing), shape, (spacing[0] / 2, *spacing[1:]), 2.0, 34.0
    )
    turn, size = body.normal(0, 0.35), body.uniform(0.82, 1.12)
    rows, columns = rows + body.uniform(-25, 25), columns + body.uniform(-25, 25)
    c, s = np.cos(turn) / size, np.sin(turn) / size
    return z, c * rows - s * columns, s * rows + c * columns


def _ventricles(body: np.random.Generator, at: Points, extent: float, phase: int) -> _Ventricles:
    """Draws both ventricles. Both phases of a patient draw the same numbers."""
    kind = int(body.choice(len(_CHANGES), p=[share for share, _ in _CHANGES]))
    wide, thicker, right_size, squeezed = _CHANGES[kind][1]
    squeeze = squeezed + body.uniform(-0.1, 0.05)
    length, radius = body.uniform(66, 90), wide * body.uniform(19, 27)
    wall = thicker * body.uniform(6.5, 10.5)
    length *= 0.92 if phase else 1.0
    outer_radius = (radius + wall) * (0.96 if phase else 1.0)
    inner_radius = radius * (squeeze if phase else 1.0)
    height = 0.5 * extent - extent * body.uniform(0.06, 0.3) - at[0]
    reach = np.clip(height / length, -1.0, 2.0)
    inside = np.clip(reach, 0, 1)
    taper = np.sqrt(np.clip(1.0 - inside**2.4, 0.0, 1.0))
    taper_in = np.sqrt(np.clip(1.0 - (inside * length / (length - wall)) ** 2.2, 0.0, 1.0))
    lean = body.normal(0, 0.15, 2)
    rows, columns = at[1] - lean[0] * height, at[2] - 6.0 - lean[1] * height
    oval = body.uniform(0.88, 1.12)
    gap, angle = np.hypot(rows * oval, columns / oval), np.arctan2(rows, columns)
    thick = 1.0 + 0.12 * body.normal() * np.cos(angle - body.uniform(0, 6.28))
    scar, width, thin = body.uniform(0, 6.28), body.uniform(0.35, 0.8), body.uniform(0.35, 0.6)
    if chance(body, 0.25):  # a thin, bulging scar
        lost = np.exp(-((np.angle(np.exp(1j * (angle - scar))) / width) ** 2))
        gap = gap / (1.0 + 0.12 * lost)
        thick = thick * (1.0 - (1.0 - thin) * wall / outer_radius * lost)
    cavity = inner_radius * taper_in - gap
    outer = np.maximum(outer_radius * taper * thick - gap, cavity + 2.5 * taper)
    away, toward = outer_radius * body.uniform(0.7, 1.0), body.normal(0.1, 0.3)
    taper_right = np.sqrt(np.clip(1.0 - np.clip(reach * body.uniform(1.02, 1.3), 0, 1) ** 2.0, 0.0, 1.0))
    across, down = columns + away * np.cos(toward), rows - away * np.sin(toward)
    right = right_size * body.uniform(23, 32) * taper_right * (0.85 if phase else 1.0) - np.hypot(
        down * body.uniform(0.7, 0.95), across
    )
    return _Ventricles(rows, columns, height, reach, inner_radius, outer_radius, taper_in, cavity, outer, right)


def _chest(body: np.random.Generator, at: Points, heart: _Ventricles, folds: FloatArray) -> Tissues:
    """Draws the chest wall on the upper left, the liver below, the lung on the right, and what surrounds the heart."""
    name = {t: i for i, t in enumerate(TISSUES)}
    shape = folds.shape
    tissues = np.full(shape, name["lung"])
    wall = at[2] + 0.7 * at[1] + 8 * folds
    tissues[np.broadcast_to((at[1] > body.uniform(22, 46) + 6 * folds) & (at[2] < 30), shape)] = name["liver"]
    near, thick = body.uniform(-62, -40), body.uniform(4, 24)
    tissues[wall < near] = name["fat"]
    tissues[wall < near - thick] = name["muscle"]
    tissues[wall < near - thick - 12 + 6 * folds] = name["fat"]
    around = (np.maximum(heart.right, heart.outer) > -body.uniform(3, 16) + 5 * folds) & (heart.reach < 1.05)
    tissues[around] = name["muscle"]
    tissues[around & (folds > body.uniform(-1.2, 0.4))] = name["fat"]
    rim = body.uniform(5, 11)
    if chance(body, 0.2):
        tissues[(np.maximum(heart.right, heart.outer) > -rim) & (heart.reach < 1.05)] = name["fluid"]
    return tissues


def _paint(
    body: np.random.Generator, tissues: Tissues, heart: _Ventricles, right_inside: Mask, trabecular: Mask
) -> Tissues:
    """Paints the ventricles; above the base the atria and great vessels, which are as bright but not labeled."""
    name = {t: i for i, t in enumerate(TISSUES)}
    tissues[(heart.right > -3.0) & heart.beating] = name["myocardium"]
    tissues[right_inside] = name["blood"]
    tissues[right_inside & trabecular & (heart.right < 8)] = name["trabeculae"]
    tissues[(heart.outer > 0) & heart.beating] = name["myocardium"]
    tissues[(heart.cavity > 0) & heart.beating] = name["blood"]
    spot = heart.inner_radius * 0.62 * heart.taper
    for turn in body.uniform(0, 6.28) + np.array([0.0, 2.2]):
        apart = np.hypot(heart.rows - spot * np.sin(turn), heart.columns - spot * np.cos(turn))
        papillary = (apart < body.uniform(2.5, 5.5)) & (heart.reach > 0.25) & (heart.reach < 0.75)
        tissues[papillary & (heart.cavity > 0)] = name["trabeculae"]
    above = heart.height < 0
    left = 0.95 * heart.outer_radius - np.hypot(heart.rows - 4, heart.columns + 3)
    right = 17.0 - np.hypot(heart.rows, heart.columns + heart.outer_radius)
    atria = np.maximum(left, right)
    tissues[above & (atria > -3)] = name["myocardium"]
    tissues[above & (atria > 0)] = name["blood"]
    behind = (heart.rows - heart.outer_radius - body.uniform(2, 12), heart.columns + body.uniform(-4, 24))
    tissues[np.hypot(*behind) < body.uniform(7, 11)] = name["blood"]  # descending aorta
    return tissues
