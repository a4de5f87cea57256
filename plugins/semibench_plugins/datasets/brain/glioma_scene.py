"""FLAIR of a skull-stripped brain with a glioma (brats19). Shapes are in mm; axes: z up, y backwards, x to the left."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from semibench.blocks import (
    FloatArray,
    deform_points,
    ellipsoid,
    grid_points,
    random_rotation,
    shape_union,
    smooth_field,
    tube,
)
from semibench_plugins.phantoms.radiology import Scanner, image

TISSUES = ("outside", "csf", "grey", "white", "caps", "edema", "core", "necrosis")


def glioma(
    rng: np.random.Generator, scanner: Scanner, shape: tuple[int, int, int], spacing: tuple[float, float, float]
) -> tuple[FloatArray, NDArray[np.uint8]]:
    """Draws one patient on (z, y, x), with 0 outside the brain. The label covers the whole tumour (edema, core and necrosis). The
    caps of the ventricles and small spots in the white matter are as bright but not labeled."""
    grid, steps = (shape[2], shape[1], shape[0]), (spacing[2], spacing[1], spacing[0])
    here = grid_points(grid, steps)
    at = deform_points(rng, here, grid, steps, 1.5, 30.0)
    x, _, z = at
    scale = rng.normal(1.0, 0.04)
    brain = shape_union(
        [
            ellipsoid(at, (0, 0, 6), (66 * scale, 82 * scale, 56 * scale)),
            ellipsoid(at, (0, 44, -44), (46 * scale, 32 * scale, 22)),
            tube(at, [(0, 22, -30), (0, 30, -80)], 12.0),
        ],
        8.0,
    )

    def field(bump: float) -> FloatArray:
        return smooth_field(rng, grid, [max(2, round(n * s / bump)) for n, s in zip(grid, steps, strict=True)])

    folds, fine, rough = field(16.0), field(8.0), field(22.0)
    name = {n: i for i, n in enumerate(TISSUES)}
    out = np.full(grid, name["white"])
    ribbon = np.abs(folds)
    out[(brain < 26) & (ribbon < 0.55)] = name["grey"]
    out[brain < 6 + 2 * fine] = name["grey"]
    out[(brain < 24) & (ribbon < 0.14)] = name["csf"]
    out[np.broadcast_to(np.abs(x) < 1.6, grid) & (brain < 34)] = name["csf"]
    for side in (-1.0, 1.0):
        deep = ellipsoid(at, (side * 20, 2, 2), (10, 18, 12))
        out[deep > 0] = name["grey"]
    wide = rng.uniform(5, 10)
    horns = shape_union(
        [
            tube(at, [(s * 10, -34, 14), (s * 13, 0, 20), (s * 22, 30, 12)], [0.7 * wide, wide, wide])
            for s in (-1.0, 1.0)
        ]
    )
    caps = (horns > -rng.uniform(1.5, 4.5) + 1.5 * fine) & (horns <= 0)
    out[caps] = name["caps"]
    out[horns > 0] = name["csf"]
    spots = (fine > 2.0) & (out == name["white"]) & (z > 0)
    out[spots] = name["caps"]

    side = float(rng.choice([-1.0, 1.0]))
    centre = (side * rng.uniform(18, 42), rng.uniform(-48, 50), rng.uniform(-10, 38))
    radius = rng.uniform(13, 26)
    frame = random_rotation(rng, 0.6)
    stretch = (radius * rng.uniform(0.8, 1.3), radius * rng.uniform(0.8, 1.3), radius * rng.uniform(0.8, 1.2))
    body = ellipsoid(at, centre, stretch, frame)
    edema = (body + 5.0 * rough + 2.0 * fine > -rng.uniform(0, 8)) & (brain > 2) & (body > -18)
    edema &= (horns <= 0) & ((out != name["csf"]) | (body > 0.3 * radius))
    core = ellipsoid(at, centre, tuple(rng.uniform(0.45, 0.7) * r for r in stretch), frame) + 2.0 * rough  # type: ignore[arg-type]
    core = np.where(edema, core, -1.0)
    out[edema] = name["edema"]
    out[core > 0] = name["core"]
    if rng.random() < 0.7:
        out[core > rng.uniform(3.0, 6.0)] = name["necrosis"]
    outside = brain <= 0
    out[outside] = name["outside"]
    label = (edema & ~outside).astype(np.uint8)
    tissues = np.ascontiguousarray(out.transpose(2, 1, 0))
    signal = image(rng, scanner, tissues, TISSUES, spacing)
    signal[tissues == name["outside"]] = 0.0
    signal[tissues != name["outside"]] = np.maximum(signal[tissues != name["outside"]], 1.0)
    return signal, np.ascontiguousarray(label.transpose(2, 1, 0))
