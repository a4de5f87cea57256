"""Reparameterize & Smooth: turn a sharp map into a soft, perturbed one (A&D, NeurIPS 2023)."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F


def blur3(maps: Tensor, sigma: float = 1.0) -> Tensor:
    """Blur with a normalised Gaussian of three taps along each spatial axis; the outside counts as zero.

    In 3D with sigma 1 the kernel is .09226 at its centre, and .05596, .03394, .02059 at faces, edges and corners.

    Args:
        maps: (B, K, *spatial).
        sigma: standard deviation in voxels; 0: no blur.

    Returns:
        (B, K, *spatial).

    Raises:
        ValueError: for a negative sigma.
    """
    if sigma < 0.0:
        raise ValueError(f"expected a sigma of 0 or more, got {sigma}")
    if sigma == 0.0:
        return maps
    side = math.exp(-0.5 / sigma**2)
    centre, side = 1.0 / (1.0 + 2.0 * side), side / (1.0 + 2.0 * side)
    for axis in range(2, maps.ndim):
        length = maps.shape[axis]
        padded = F.pad(maps, [0, 0] * (maps.ndim - 1 - axis) + [1, 1])
        maps = centre * maps + side * (padded.narrow(axis, 0, length) + padded.narrow(axis, 2, length))
    return maps


def gumbel_blur(maps: Tensor, *, temperature: float = 1.0, sigma: float = 1.0) -> Tensor:
    """Blur the soft Gumbel-softmax of maps: softmax((m + g) / temperature), with standard Gumbel noise g.

    Args:
        maps: m, (B, K, *spatial).
        temperature: temperature of the softmax.
        sigma: standard deviation of the blur in voxels.

    Returns:
        float32 (B, K, *spatial). The sum over classes is 1, except within a voxel of the border, where the zeros outside
        contribute.
    """
    return blur3(F.gumbel_softmax(maps.float(), tau=temperature, hard=False, dim=1), sigma)
