"""T2 MR of the prostate and its surroundings (promise12). Shapes are in mm; axes: z up, y backwards, x to the left."""

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

TISSUES = (
    "fat", "muscle", "bone", "urine", "bladder wall", "rectum wall", "gas", "peripheral zone", "transition zone", "nodule",
    "vesicles", "veins", "stroma",
)  # fmt: skip


def prostate(
    rng: np.random.Generator, scanner: Scanner, shape: tuple[int, int, int], spacing: tuple[float, float, float]
) -> tuple[FloatArray, NDArray[np.uint8]]:
    """Draws one patient on (z, y, x). The label covers the gland. The seminal vesicles and the venous plexus are as bright but
    not labeled, and the muscles at its sides are as dark as its centre."""
    turned = (shape[2], shape[1], shape[0]), (spacing[2], spacing[1], spacing[0])
    at = deform_points(rng, grid_points(*turned), turned[0], turned[1], 1.2, 24.0)
    sizes = (rng.uniform(20, 30), rng.uniform(13, 22), rng.uniform(15, 26))
    middle = (rng.normal(0, 2.5), rng.normal(-2, 3.0), rng.normal(-2, 3.5))
    gland = ellipsoid(at, middle, sizes, random_rotation(rng, 0.12))
    inner = ellipsoid(
        at, (middle[0], middle[1] - 0.28 * sizes[1], middle[2] + 0.15 * sizes[2]),
        (0.72 * sizes[0], rng.uniform(0.55, 0.75) * sizes[1], 0.8 * sizes[2]),
    )  # fmt: skip
    grid = turned[0]

    def field(bump: float) -> FloatArray:
        return smooth_field(rng, grid, [max(2, round(n * s / bump)) for n, s in zip(grid, turned[1], strict=True)])

    folds, fine = field(20.0), field(9.0)
    name = {n: i for i, n in enumerate(TISSUES)}
    x, y, z = at
    out = np.full(grid, name["fat"])
    side = np.abs(x - middle[0])
    out[(folds > 0.9) & (side > 18)] = name["veins"]
    obturator = (side > rng.uniform(36, 42) + 3 * fine) & (side < rng.uniform(54, 60))
    out[obturator] = name["muscle"]
    out[np.broadcast_to(side > 58, grid)] = name["bone"]
    pubis = ellipsoid(at, (middle[0], middle[1] - sizes[1] - 20, middle[2] - 6), (28, 10, 20))
    out[pubis > 0] = name["bone"]
    levator = np.abs(side - (rng.uniform(22, 26) + 0.35 * (z - middle[2]))) < 2.4
    out[levator & (y > middle[1] - 6) & (z < middle[2] + 6)] = name["muscle"]
    plexus = ellipsoid(at, (middle[0], middle[1] - 0.95 * sizes[1], middle[2]), (16, 6, 12))
    out[(plexus > 0) & (fine > -0.3)] = name["veins"]
    bladder = ellipsoid(
        at, (middle[0] + rng.normal(0, 3), middle[1] - 12, middle[2] + sizes[2] + rng.uniform(14, 22)),
        (rng.uniform(26, 38), rng.uniform(20, 28), rng.uniform(18, 24)),
    )  # fmt: skip
    out[bladder > -rng.uniform(2.5, 4.5)] = name["bladder wall"]
    out[bladder > 0] = name["urine"]
    back = middle[1] + sizes[1] + rng.uniform(7, 12)
    rectum = tube(at, [(rng.normal(0, 4), back + 12, 60), (0, back, 0), (0, back + 8, -60)], rng.uniform(8, 13))
    out[rectum > -3] = name["rectum wall"]
    out[rectum > 0] = name["gas"] if rng.random() < 0.5 else name["stroma"]
    vesicles = shape_union(
        [
            ellipsoid(at, (s * 15 + middle[0], middle[1] + 0.75 * sizes[1] + 3, middle[2] + sizes[2] + 2), (14, 6, 7))
            for s in (-1.0, 1.0)
        ]
    )
    out[(vesicles > 0) & (fine > -0.8)] = name["vesicles"]
    mask = gland > 0
    out[gland > -1.3] = name["stroma"]
    out[mask] = name["peripheral zone"]
    centre = mask & (inner > 0)
    out[centre] = name["transition zone"]
    out[centre & (fine > 0.7)] = name["nodule"]
    out[centre & (inner < 1.4)] = name["stroma"]
    tumour = ellipsoid(
        at, (middle[0] + rng.choice([-1, 1]) * 0.55 * sizes[0], middle[1] + 0.5 * sizes[1], middle[2] + rng.normal(0, 5)),
        (7, 5, 7),
    )  # fmt: skip
    if rng.random() < 0.6:
        out[mask & (tumour > 0)] = name["transition zone"]
    tissues = np.ascontiguousarray(out.transpose(2, 1, 0))
    label = np.ascontiguousarray(mask.transpose(2, 1, 0)).astype(np.uint8)
    return image(rng, scanner, tissues, TISSUES, spacing), label
