"""The range of an image's intensities, for networks that draw images in [-1, 1]."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor


class ImageRange(NamedTuple):
    """Smallest and largest intensity of each channel of each image.

    Args:
        low: (B, C, 1 ...).
        high: (B, C, 1 ...).

    Examples:
        >>> ImageRange(torch.tensor(10.0), torch.tensor(20.0)).restored(torch.tensor([-1.0, 0.0, 1.0]))
        tensor([10., 15., 20.])
    """

    low: Tensor
    high: Tensor

    def scaled(self, images: Tensor) -> Tensor:
        """Maps intensities to [-1, 1]; a constant image becomes -1, and what lies outside the range is clipped."""
        span = (self.high - self.low).clamp_min(1e-6)
        return (2.0 * (images - self.low) / span - 1.0).clamp(-1.0, 1.0)

    def restored(self, images: Tensor) -> Tensor:
        """Maps images in [-1, 1] to this range."""
        return self.low + 0.5 * (images + 1.0) * (self.high - self.low)


def image_range(images: Tensor, valid: Tensor | None = None) -> ImageRange:
    """Finds the range of each channel of each image.

    Args:
        images: (B, C, *spatial).
        valid: bool (B, *spatial), the positions that count; None: all.

    Returns:
        The range; that of an image without valid positions is 0 to 0.

    Examples:
        >>> image_range(torch.tensor([[[0.0, 3.0, 1.0]]])).scaled(torch.tensor([[[0.0, 3.0, 1.5]]]))
        tensor([[[-1.,  1.,  0.]]])
    """
    low, high = images, images
    if valid is not None:
        outside = ~valid.unsqueeze(1)
        low, high = images.masked_fill(outside, math.inf), images.masked_fill(outside, -math.inf)
    over = tuple(range(2, images.ndim))
    smallest, largest = low.amin(over, keepdim=True), high.amax(over, keepdim=True)
    if valid is not None:
        empty = ~valid.flatten(1).any(1).view(-1, *[1] * (images.ndim - 1))
        smallest, largest = smallest.masked_fill(empty, 0.0), largest.masked_fill(empty, 0.0)
    return ImageRange(smallest, largest)
