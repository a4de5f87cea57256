"""A memory of generated images, which a discriminator learns from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ImagePool(nn.Module):
    """Remembers generated images, so that a discriminator sees older ones, too (Shrivastava et al., CVPR 2017).

    Until the pool is full it keeps every image and returns it. Afterwards it returns a new image with probability 1/2; else it
    returns one that it kept, and keeps the new one instead. The images are buffers: a checkpoint holds them.

    Args:
        size: number of images; 0: there is no memory, and images are returned as they are.
        channels: of an image.
        patch: spatial size of an image.

    Examples:
        >>> pool = ImagePool(2, 1, (4, 4))
        >>> images = torch.rand(2, 1, 4, 4)
        >>> torch.equal(pool(images), images), int(pool.held)
        (True, 2)
    """

    images: Tensor
    held: Tensor

    def __init__(self, size: int, channels: int, patch: Sequence[int]) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("images", torch.zeros(size, channels, *patch))
        self.register_buffer("held", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *patch) -> new and older images of the same shape, without gradient."""
        if not self.size:
            return images.detach()
        returned = []
        for image in images.detach().to(self.images.dtype):
            choice, slot = torch.rand(2, device=image.device)
            full = self.held >= self.size
            place = torch.where(full, (slot * self.size).long().clamp(max=self.size - 1), self.held)
            exchanged = full & (choice < 0.5)
            old = self.images.index_select(0, place.view(1))[0]
            returned.append(torch.where(exchanged, old, image))
            kept = torch.where(full & ~exchanged, old, image)
            self.images.index_copy_(0, place.view(1), kept.unsqueeze(0))
            self.held += (~full).long()
        return torch.stack(returned)

    def extra_repr(self) -> str:
        return f"size={self.size}"
