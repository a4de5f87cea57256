"""Intensity augmentation of A&D."""

from __future__ import annotations

import torch
from torch import Tensor

from semibench.blocks import gaussian_blur

CHANCE = 0.35
"""The code draws 3 of 6 operations and applies each with probability .7."""
LOW, HIGH = 0.7, 1.3


@torch.no_grad()
def changed_intensities(images: Tensor, valid: Tensor) -> Tensor:
    """Returns (B, C, *spatial) after blur (sigma .7 to 1.3 voxels), brightness, contrast and gamma (factor or exponent .7
    to 1.3), in this order, each with probability .35 per sample, on values scaled to [0, 1] by the sample's minimum and
    maximum. Operations are drawn independently; the code draws three of six (including rotation and scaling, which here
    belong to the recipe's weak policy). valid: bool (B, *spatial); padding stays 0."""
    shape = (len(images), *[1] * (images.ndim - 1))
    draws = torch.rand((len(images), 8), device=images.device)
    on, factor = draws[:, :4] < CHANCE, LOW + (HIGH - LOW) * draws[:, 4:]
    low, high = (v.reshape(shape) for v in torch.aminmax(images.flatten(1), dim=1))
    span = (high - low).clamp(min=torch.finfo(images.dtype).tiny)
    unit = (images - low) / span
    unit = torch.where(on[:, 0].reshape(shape), gaussian_blur(unit, factor[:, 0], radius=4), unit)
    bright, contrast, gamma = (torch.where(on[:, n], factor[:, n], 1.0).reshape(shape) for n in (1, 2, 3))
    unit = (unit * bright).clamp(0.0, 1.0)
    mean = unit.flatten(1).mean(1).reshape(shape)
    unit = ((unit - mean) * contrast + mean).clamp(0.0, 1.0)
    return (unit**gamma * span + low) * valid.unsqueeze(1)
