"""Turns about all three axes of a volume, which nnU-Net makes where the patch isn't flat."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from semibench import Samples
from semibench.blocks import resample

CHANCE = 0.2
"""Probability that a volume turns."""


def rotations(angles: Tensor) -> Tensor:
    """Rotates about the first axis, then about the second, then about the third.

    Args:
        angles: (B, 3), in radians.

    Returns:
        Rotation matrices (B, 3, 3).
    """
    result = torch.eye(3, dtype=angles.dtype).repeat(len(angles), 1, 1)
    for axis, angle in enumerate(angles.T):
        a, b = (other for other in range(3) if other != axis)
        about = torch.eye(3, dtype=angles.dtype).repeat(len(angles), 1, 1)
        about[:, a, a] = about[:, b, b] = angle.cos()
        about[:, a, b], about[:, b, a] = -angle.sin(), angle.sin()
        result = about @ result
    return result


def turned(samples: Samples, degrees: float) -> tuple[Tensor, Tensor, Tensor]:
    """Turns a fifth of the volumes about their centres, by angles that are drawn evenly for each of the three axes.

    Args:
        samples: labeled volumes, which stay as they are.
        degrees: the largest angle.

    Returns:
        Images (B, C, *spatial), labels (B, *spatial) and valid, bool (B, *spatial). Corners that come from outside of the volume
        are 0 in the image, IGNORE in the label, and not valid.
    """
    image, label, valid = samples.image, samples.target, samples.valid
    chance, *angles = torch.rand(4, len(image), dtype=torch.float64)
    rows = (chance < CHANCE).nonzero()[:, 0]
    if not len(rows):
        return image, label, valid
    matrix = rotations(math.radians(degrees) * (2.0 * torch.stack(angles, 1)[rows] - 1.0))
    place = rows.to(image.device)
    view, marks, inside = resample(image[place], label[place], valid[place], matrix, image.shape[2:])
    label = label if marks is None else label.index_copy(0, place, marks)
    return image.index_copy(0, place, view), label, valid.index_copy(0, place, inside)
