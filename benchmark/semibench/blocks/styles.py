"""The style of images, changed to that of others while the content stays: amplitude spectra, and mean and deviation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def mix_amplitude(content: Tensor, style: Tensor, share: float | Tensor, *, low: float | None = None) -> Tensor:
    """Mixes the amplitude spectrum of images with that of others; the phase, which carries the outlines, stays.

    A = (1 - share) |F(content)| + share |F(style)|, and the result is the inverse transform of A with the phase of F(content).
    share = 1 with `low` exchanges the low frequencies (Yang & Soatto, CVPR 2020; FedDG); without `low` all frequencies are mixed
    (Xu et al., CVPR 2021). The transform is computed in at least float32, over the spatial axes of each channel.

    Args:
        content: (B, C, *spatial).
        style: of the shape of `content`. Its mean should have the sign of the content's, since the sign belongs to the phase:
            scale images to [0, 1] first.
        share: share of the style in the amplitude, one number or one for each sample (B,).
        low: L; only frequencies up to floor(L * side) along every axis are mixed. A side below 1 / L contributes its frequency 0
            alone. None: all of them.

    Returns:
        Of the shape and type of `content`.

    Raises:
        ValueError: if the shapes differ.

    Examples:
        >>> image = torch.rand(2, 1, 8, 8)
        >>> torch.allclose(mix_amplitude(image, image, 1.0), image, atol=1e-5)
        True
    """
    if content.shape != style.shape:
        raise ValueError(
            f"expected content and style of one shape, got {tuple(content.shape)} and {tuple(style.shape)}"
        )
    axes, size = tuple(range(2, content.ndim)), content.shape[2:]
    wide = content if content.dtype == torch.float64 else content.float()
    own = torch.fft.rfftn(wide, dim=axes)
    other = torch.fft.rfftn(style.to(wide.dtype), dim=axes).abs()
    amplitude = own.abs()
    part = torch.as_tensor(share, dtype=wide.dtype, device=wide.device).reshape(-1, *[1] * (content.ndim - 1))
    mixed = torch.lerp(amplitude, other, part.expand_as(amplitude))
    if low is not None:
        mixed = torch.where(_low_frequencies(size, low, wide.device), mixed, amplitude)
    return torch.fft.irfftn(torch.polar(mixed, own.angle()), s=size, dim=axes).to(content.dtype)


def _low_frequencies(size: Sequence[int], low: float, device: torch.device) -> Tensor:
    """bool (*sides of the spectrum of `rfftn`): frequencies up to floor(low * side) along every axis."""
    mask = torch.ones((), dtype=torch.bool, device=device)
    for axis, side in enumerate(size):
        last = axis == len(size) - 1
        frequency = torch.arange(side // 2 + 1 if last else side, device=device)
        frequency = torch.minimum(frequency, side - frequency)
        mask = mask.unsqueeze(-1) & (frequency <= int(low * side + 1e-9))
    return mask


def adain(
    content: Tensor,
    style: Tensor,
    share: float = 1.0,
    *,
    valid: Tensor | None = None,
    style_valid: Tensor | None = None,
) -> Tensor:
    """Gives each channel of each sample the mean and standard deviation of another (AdaIN, Huang & Belongie, ICCV 2017).

    The result is (1 - share) x + share ((x - mean_x) / std_x * std_y + mean_y), for images or for feature maps.

    Args:
        content: x, (B, C, *spatial).
        style: y, (B, C, *spatial), of any spatial size.
        share: share of the changed values.
        valid: bool (B, *spatial), where the content counts and is changed; None: everywhere.
        style_valid: the same of the style.

    Returns:
        Of the shape and type of `content`.

    Examples:
        >>> x, y = torch.tensor([[[-1.0, 1.0]]]), torch.tensor([[[2.0, 8.0]]])
        >>> adain(x, y)
        tensor([[[2., 8.]]])
    """
    mean_x, std_x = _moments(content, valid)
    mean_y, std_y = _moments(style, style_valid)
    changed = (content - mean_x) * (std_y / std_x) + mean_y
    mixed = torch.lerp(content, changed.to(content.dtype), share)
    return mixed if valid is None else torch.where(valid.unsqueeze(1), mixed, content)


def _moments(maps: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (B, C, 1, ...) of each channel of each sample, at least float32."""
    wide = maps if maps.dtype == torch.float64 else maps.float()
    over = tuple(range(2, maps.ndim))
    weights = torch.ones_like(wide[:, :1]) if valid is None else valid.unsqueeze(1).to(wide.dtype)
    count = weights.sum(over, keepdim=True).clamp(min=1.0)
    mean = (wide * weights).sum(over, keepdim=True) / count
    variance = ((wide - mean).square() * weights).sum(over, keepdim=True) / count
    return mean, (variance + 1e-8).sqrt()
