"""The one check that a label lies where its image lies, by the affines of their files."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semibench.blocks.datasets.volume_files import Volume
from semibench.contracts.cases import Remark

HALF = 0.5
"""Voxels by which label and image may differ in space: headers store rounded numbers."""

SAME = 0.01
"""Relative difference up to which two spacings are the same."""


@dataclass(frozen=True)
class Grid:
    """Where the voxels of an image lie.

    Attributes:
        shape: its sides.
        affine: from indices to mm; None if its file doesn't say.
        spacing: mm per voxel; None if its file doesn't say.
    """

    shape: tuple[int, ...]
    affine: NDArray[np.float64] | None
    spacing: tuple[float, ...] | None = None


def on_grid_of_image(label: Volume, grid: Grid, label_file: Path, image_file: Path) -> tuple[Volume, list[Remark]]:
    """Brings a label to the axes of its image, if both files say where they lie.

    A label whose axes are stored in another order or direction is turned to those of the image. One that lies elsewhere keeps its
    voxels.

    Args:
        label: the label as it was read.
        grid: the grid of its image, read by the same reader.
        label_file: the file of the label, for the remark.
        image_file: the file of the image.

    Returns:
        The label, and what was found: a warning for a label that was turned, an error for one that lies elsewhere.
    """
    if label.affine is None or grid.affine is None or label.array.ndim != len(grid.shape):
        return label, _other_spacing(label, grid, label_file, image_file)
    between = np.linalg.inv(grid.affine) @ label.affine
    if _distance(between, label.array.shape) <= HALF:
        return label, []
    turned = _turned(label, between)
    if turned is not None and turned.array.shape == grid.shape:
        remaining = np.linalg.inv(grid.affine) @ np.asarray(turned.affine)
        if _distance(remaining, grid.shape) <= HALF:
            words = (
                f"{label_file}: expected the axes of {image_file.name}, found them stored in another order or direction"
            )
            return turned, [Remark(f"{words}; read along those of the image, as its header says")]
    if label.array.shape != grid.shape:  # the reader refuses that by itself
        return label, []
    away = _distance(between, label.array.shape)
    words = f"{label_file}: expected a label at the place of {image_file.name}, found it up to {away:.1f} voxels away"
    advice = "restore the original file, or copy the header of the image to it where only the header is wrong"
    return label, [Remark(f"{words} by its header; read voxel by voxel: {advice}", "error")]


def _other_spacing(label: Volume, grid: Grid, label_file: Path, image_file: Path) -> list[Remark]:
    """Returns a warning if label and image, which don't both say where they lie, differ in spacing."""
    if label.spacing is None or grid.spacing is None or np.allclose(label.spacing, grid.spacing, rtol=SAME, atol=0):
        return []
    own, images = (" x ".join(f"{mm:g}" for mm in spacing) for spacing in (label.spacing, grid.spacing))
    words = f"{label_file}: expected the spacing of {image_file.name}, {images} mm, found {own} mm"
    return [Remark(f"{words}; distances to the label are measured with its own: correct the wrong header")]


def _distance(between: NDArray[np.float64], shape: tuple[int, ...]) -> float:
    """Returns the largest distance, in voxels along an axis, by which a mapping between indices moves a corner of a grid."""
    corners = np.array([[*corner, 1.0] for corner in itertools.product(*((0, side - 1) for side in shape))])
    return float(np.abs((corners @ between.T)[:, :3] - corners[:, :3]).max())


def _turned(label: Volume, between: NDArray[np.float64]) -> Volume | None:
    """Returns a label with its axes in the order and direction of its image; None if its axes aren't parallel to those."""
    linear = between[:3, :3]
    axes = [int(axis) for axis in np.abs(linear).argmax(axis=1)]  # of the label, for each axis of the image
    signs = np.sign(linear[range(3), axes])
    ideal = np.zeros((3, 3))
    ideal[range(3), axes] = signs
    if sorted(axes) != [0, 1, 2] or not np.allclose(linear, ideal, atol=0.05):
        return None
    assert label.affine is not None
    back = np.eye(4)
    back[:3, :3] = ideal.T
    back[:3, 3] = [label.array.shape[axis] - 1 if (linear[:, axis] < -HALF).any() else 0 for axis in range(3)]
    array = label.array.transpose(axes)
    array = array[tuple(slice(None, None, -1) if sign < 0 else slice(None) for sign in signs)]
    spacing = None if label.spacing is None else tuple(label.spacing[axis] for axis in axes)
    return replace(label, array=array, spacing=spacing, affine=label.affine @ back)
