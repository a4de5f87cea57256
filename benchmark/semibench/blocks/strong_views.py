"""Strong views: changes of intensity that leave the geometry as it is; whole batches, 2D and 3D.

Parameters are drawn on the CPU from a given generator; pixels are changed on the device of the images.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from semibench.contracts.recipe import StrongPolicy


def strong_view(
    image: Tensor, *, policy: StrongPolicy, generator: torch.Generator, valid: Tensor | None = None
) -> Tensor:
    """Draws a strong view of a batch: changes of intensity only, with strengths of its own for each sample.

    With `lo` and `hi` the smallest and largest value of the sample, range = hi - lo, and s the policy's strength, in this
    order: jitter: mean + c (x - mean) + b range, c in [1 - s, 1 + s], b in [-s/2, s/2], clipped to [lo, hi]; gamma:
    lo + range ((x - lo) / range)^g, g in [1 - s, 1 + s]; blur: Gaussian, sigma in [0.1, s] pixels, along every spatial axis;
    noise: Gaussian, standard deviation in [0, s] times the range. Each happens with its probability.

    Args:
        image: float (B, C, *spatial).
        policy: probability and largest strength of each change.
        generator: a CPU generator.
        valid: bool (B, *spatial), False where padded; None: all are valid.

    Returns:
        float (B, C, *spatial), 0 where it is not valid.

    Examples:
        >>> strong_view(torch.rand(2, 1, 8, 8), policy=StrongPolicy(), generator=seeded_generator(0)).shape
        torch.Size([2, 1, 8, 8])
    """
    count = len(image)
    r = torch.rand((count, 9), generator=generator, dtype=torch.float64)
    seed = int(torch.randint(2**62, (), generator=generator))
    flat = image.flatten(1)
    shape = (count, *[1] * (image.ndim - 1))
    low, high = (v.reshape(shape) for v in torch.aminmax(flat, dim=1))
    span = high - low

    chance, s = policy.jitter
    on = r[:, 0] < chance
    contrast = _like(torch.where(on, 1 + s * (2 * r[:, 1] - 1), 1.0), image)
    shift = _like(torch.where(on, s * (r[:, 2] - 0.5), 0.0), image)
    offset = flat.mean(1).reshape(shape) * (1 - contrast) + shift * span
    result = torch.addcmul(offset, image, contrast)
    result = torch.minimum(torch.maximum(result, low), high)

    chance, s = policy.gamma
    rows = (r[:, 3] < chance).nonzero()[:, 0]
    if len(rows):
        exponent = _like(1 + s * (2 * r[rows, 4] - 1), image)
        rows = rows.to(image.device, non_blocking=True)
        base, reach = low[rows], span[rows].clamp_min(torch.finfo(image.dtype).tiny)
        part = ((result[rows] - base) / reach).clamp(0, 1).pow_(exponent).mul_(reach).add_(base)
        result[rows] = part

    chance, s = policy.blur
    rows = (r[:, 5] < chance).nonzero()[:, 0]
    if len(rows) and s > 0:
        sigma = 0.1 + max(s - 0.1, 0.0) * r[rows, 6]
        rows = rows.to(image.device, non_blocking=True)
        result[rows] = gaussian_blur(result[rows], sigma, radius=math.ceil(3 * s))

    chance, s = policy.noise
    rows = (r[:, 7] < chance).nonzero()[:, 0]
    if len(rows) and s > 0:
        deviation = _like(s * r[rows, 8], image)
        rows = rows.to(image.device, non_blocking=True)
        own = torch.Generator(device=image.device)
        own.manual_seed(seed)
        noise = torch.randn((len(rows), *image.shape[1:]), generator=own, device=image.device, dtype=image.dtype)
        result[rows] += noise.mul_(deviation * span[rows])
    return result if valid is None else result * valid[:, None]


def gaussian_blur(image: Tensor, sigma: Tensor, radius: int) -> Tensor:
    """Blurs each sample of a batch by a separable Gaussian of its own width; edges are repeated.

    Args:
        image: float (B, C, *spatial).
        sigma: (B,), width in voxels.
        radius: half the length of the kernel, in voxels.

    Returns:
        float (B, C, *spatial).

    Examples:
        >>> gaussian_blur(torch.rand(2, 1, 8, 8), torch.tensor([0.5, 1.0]), radius=3).shape
        torch.Size([2, 1, 8, 8])
    """
    count, channels = image.shape[:2]
    place = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (place / sigma.double().cpu()[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).to(image.dtype).to(image.device, non_blocking=True)
    weight = kernel.repeat_interleave(channels, 0)[:, None, None, :]
    with torch.autocast(image.device.type, enabled=False):  # an image is not rounded to 8 bits in a method's step
        for axis in range(2, image.ndim):
            moved = image.movedim(axis, -1)
            lines = moved.reshape(1, count * channels, -1, moved.shape[-1])
            lines = F.pad(lines, (radius, radius, 0, 0), mode="replicate")
            lines = F.conv2d(lines, weight, groups=count * channels)
            image = lines.reshape(moved.shape).movedim(-1, axis)
    return image.contiguous()


def _like(values: Tensor, image: Tensor) -> Tensor:
    """Per-sample numbers (B,) drawn on the CPU, in the image's type, beside it, as (B, 1, ..., 1). Copies from plain memory
    don't wait for the device."""
    return values.to(image.dtype).to(image.device, non_blocking=True).reshape(-1, *[1] * (image.ndim - 1))
