"""Changes of intensity in weak views; whole batches, 2D and 3D.

Parameters are drawn on the CPU from a given generator; pixels are changed on the device of the images.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from semibench.blocks.strong_views import gaussian_blur
from semibench.contracts.recipe import INTENSITIES, WeakPolicy

SIGMAS = 3
"""Half the length of the blur's kernel, in largest sigmas."""


def weak_intensity(
    image: Tensor, *, policy: WeakPolicy, generator: torch.Generator, valid: Tensor | None = None
) -> Tensor:
    """Changes the intensities of a batch of weak views, with strengths of its own for each sample.

    The values of a sample are scaled to [0, 1] by its smallest and largest value. Then, each with its probability and in this
    order: blur: Gaussian, sigma in voxels; brightness: x f, clipped to [0, 1]; contrast: mean + f (x - mean), clipped to
    [0, 1]; gamma: x^f. f is uniform between the policy's bounds. The result is scaled back. These are the operations of
    GenericSSL (Wang & Li, NeurIPS 2023), which draws three of six.

    A policy without intensity changes draws nothing from the generator and returns the image itself.

    Args:
        image: float (B, C, *spatial).
        policy: probability and bounds of each change; its geometry is not applied.
        generator: a CPU generator, from which one tensor (B, 8) is drawn.
        valid: bool (B, *spatial), False where padded; None: all are valid.

    Returns:
        float (B, C, *spatial), 0 where it is not valid.

    Examples:
        >>> policy = WeakPolicy(gamma=(1.0, 0.7, 1.3))
        >>> weak_intensity(torch.rand(2, 1, 8, 8), policy=policy, generator=seeded_generator(0)).shape
        torch.Size([2, 1, 8, 8])
    """
    if not policy.changes_intensities:
        return image
    r = torch.rand((len(image), 2 * len(INTENSITIES)), generator=generator, dtype=torch.float64)
    shape = (len(image), *[1] * (image.ndim - 1))
    low, high = (v.reshape(shape) for v in torch.aminmax(image.flatten(1), dim=1))
    span = (high - low).clamp_min(torch.finfo(image.dtype).tiny)
    unit = (image - low) / span
    factor = {}
    for place, name in enumerate(INTENSITIES):
        chance, least, greatest = getattr(policy, name)
        drawn = least + (greatest - least) * r[:, 2 * place + 1]
        factor[name] = drawn, r[:, 2 * place] < chance
    sigma, blurred = factor.pop("blur")
    rows = (blurred & (sigma > 0)).nonzero()[:, 0]
    if len(rows):
        here = rows.to(image.device, non_blocking=True)
        unit[here] = gaussian_blur(unit[here], sigma[rows], radius=math.ceil(SIGMAS * policy.blur[2]))
    bright, contrast, gamma = (
        torch.where(on, drawn, 1.0).to(image.dtype).to(image.device, non_blocking=True).reshape(shape)
        for drawn, on in factor.values()
    )
    unit = (unit * bright).clamp_(0.0, 1.0)
    mean = unit.flatten(1).mean(1).reshape(shape)
    unit = ((unit - mean) * contrast + mean).clamp_(0.0, 1.0)
    result = unit.pow_(gamma) * span + low
    return result if valid is None else result * valid[:, None]
