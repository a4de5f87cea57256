"""Colour changes of RGB images, for strong views. Random numbers come from torch's global stream, which the harness seeds."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the grey value (ITU-R BT.601)."""


def colour_jitter(image: Tensor, *, saturation: float, hue: float, probability: float = 0.8) -> Tensor:
    """Changes saturation and hue of RGB images, with strengths drawn for each sample.

    Saturation: x -> g + f (x - g), where g is the grey value and f ~ U(max(0, 1 - s), 1 + s). Hue: a rotation about the grey
    axis by h full turns, h ~ U(-hue, hue). Both are one 3 x 3 matrix, so grey images stay as they are whatever the range of
    their values. Draws come from torch's global stream, which the harness seeds.

    Args:
        image: float (B, 3, *spatial), in any range.
        saturation: greatest relative change s of the saturation; 0 leaves it as it is.
        hue: greatest rotation in full turns, at most 0.5; 0 leaves the hue as it is.
        probability: chance that a sample is changed.

    Returns:
        float (B, 3, *spatial), clipped to the range of each sample; the image itself if both strengths are 0.

    Raises:
        ValueError: if the images do not have three channels.

    Examples:
        >>> colour_jitter(torch.rand(2, 3, 8, 8), saturation=0.5, hue=0.1).shape
        torch.Size([2, 3, 8, 8])
    """
    if saturation == 0.0 and hue == 0.0:
        return image
    if image.shape[1] != 3:
        raise ValueError(f"saturation and hue need three channels (RGB), the images have {image.shape[1]}")
    draws = torch.rand((len(image), 3), dtype=torch.float64)
    on = draws[:, 0] < probability
    factor = torch.where(on, (1.0 + saturation * (2.0 * draws[:, 1] - 1.0)).clamp_min(0.0), 1.0)
    angle = torch.where(on, 2.0 * math.pi * hue * (2.0 * draws[:, 2] - 1.0), 0.0)
    matrix = (_turn(angle) @ _saturate(factor)).to(image.dtype).to(image.device, non_blocking=True)
    low, high = (v.view(-1, *[1] * (image.ndim - 1)) for v in torch.aminmax(image.flatten(1), dim=1))
    changed = torch.einsum("bij,bj...->bi...", matrix, image)
    return torch.minimum(torch.maximum(changed, low), high)


def _saturate(factor: Tensor) -> Tensor:
    """(B,) -> (B, 3, 3): f I + (1 - f) 1 luma^T."""
    grey = torch.tensor(LUMA, dtype=factor.dtype).expand(3, 3)
    scale = factor.view(-1, 1, 1)
    return scale * torch.eye(3, dtype=factor.dtype) + (1.0 - scale) * grey


def _turn(angle: Tensor) -> Tensor:
    """(B,) -> (B, 3, 3): rotation about (1, 1, 1) (Rodrigues)."""
    third = torch.full((3, 3), 1.0 / 3.0, dtype=angle.dtype)
    root = 1.0 / math.sqrt(3.0)
    cross = root * torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]], dtype=angle.dtype)
    cosine, sine = angle.cos().view(-1, 1, 1), angle.sin().view(-1, 1, 1)
    return cosine * torch.eye(3, dtype=angle.dtype) + sine * cross + (1.0 - cosine) * third
