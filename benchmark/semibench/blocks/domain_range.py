"""The range of intensities of a domain, for networks that translate images between domains."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

TAIL = 0.005
"""Share of an image's darkest and brightest values that may be clipped."""
MOST = 1_000_000
"""Values of an image and channel that its quantiles are taken from."""


class IntensityRange(nn.Module):
    """Maps the intensities of a domain to [-1, 1], in which networks that translate images work.

    `fit` looks at images: low is the least of their .5 % quantiles and high the greatest of their 99.5 % quantiles, for each
    channel. Both are buffers. Before that the range is [-1, 1].

    Args:
        channels: of an image.

    Examples:
        >>> domain = IntensityRange(1)
        >>> domain.fit([torch.tensor([[[0.0, 4.0]]])])
        >>> domain(torch.tensor([[[2.0, 9.0]]])).round(decimals=1)
        tensor([[[0., 1.]]])
    """

    low: Tensor
    high: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("low", torch.full((channels,), -1.0))
        self.register_buffer("high", torch.full((channels,), 1.0))

    @torch.no_grad()
    def fit(self, batches: Iterable[Tensor]) -> None:
        """Sets the range to that of images.

        Args:
            batches: images (B, C, *spatial).

        Raises:
            ValueError: if there are none.
        """
        found = []
        for images in batches:
            values = images.float().flatten(2)
            values = values[..., :: max(1, values.shape[-1] // MOST)]
            found.append(values.quantile(torch.tensor([TAIL, 1.0 - TAIL], device=values.device), -1))
        if not found:
            raise ValueError("expected images to take the range of intensities from, found none")
        bounds = torch.cat(found, 1)  # (2, images, channels)
        self.low.copy_(bounds[0].amin(0))
        self.high.copy_(torch.maximum(bounds[1].amax(0), self.low + 1e-6))

    def _of(self, bound: Tensor, images: Tensor) -> Tensor:
        return bound.view(-1, *[1] * (images.ndim - 2))

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> the same in [-1, 1]; what lies outside of the range is clipped."""
        low, high = self._of(self.low, images), self._of(self.high, images)
        return (2.0 * (images - low) / (high - low) - 1.0).clamp(-1.0, 1.0)
