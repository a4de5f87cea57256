"""Reparameterize & Smooth: turn a sharp map into a soft, perturbed one (A&D, NeurIPS 2023)."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F


def blur3(maps: Tensor, sigma: float = 1.0) -> Tensor:
    """Blurs maps by a normalised Gaussian of three taps along each spatial axis, with zeros outside (A&D, NeurIPS 2023).

    In 3D with sigma 1 the kernel is .09226 at its centre and .05596, .03394, .02059 at faces, edges and corners.

    Args:
        maps: float (B, K, *spatial).
        sigma: width in voxels; 0: no blur.

    Returns:
        float (B, K, *spatial).

    Raises:
        ValueError: if sigma is negative.

    Examples:
        >>> blur3(torch.ones(1, 2, 8, 8)).shape
        torch.Size([1, 2, 8, 8])
    """
    if sigma < 0.0:
        raise ValueError(f"a blur has a sigma of 0 or more, got {sigma}")
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
    """Perturbs and softens maps: the blur of their Gumbel-softmax ("Reparameterize & Smooth"; A&D, NeurIPS 2023).

    softmax((m + g) / temperature) with standard Gumbel noise g, in float32, then `blur3`.

    Args:
        maps: logits m, (B, K, *spatial).
        temperature: of the softmax.
        sigma: width of the blur in voxels.

    Returns:
        float32 (B, K, *spatial); the sum over classes is 1 except within a voxel of the border, where the blur reaches the
        zeros outside.

    Examples:
        >>> gumbel_blur(torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 3, 8, 8])
    """
    return blur3(F.gumbel_softmax(maps.float(), tau=temperature, hard=False, dim=1), sigma)
