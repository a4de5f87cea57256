"""Images as binary maps of anatomy: the spatial part of a disentangled representation."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def round_straight_through(values: Tensor) -> Tensor:
    """Rounds to the nearest integer; the gradient passes as if nothing were rounded.

    Args:
        values: a tensor of any shape.

    Returns:
        The rounded values. Halves go to the even neighbour, as in `torch.round`.

    Examples:
        >>> x = torch.tensor([0.2, 0.7], requires_grad=True)
        >>> round_straight_through(x).tolist()
        [0.0, 1.0]
        >>> torch.autograd.grad(round_straight_through(x).sum(), x)[0].tolist()
        [1.0, 1.0]
    """
    return values + (values.round() - values).detach()


class AnatomyEncoder(nn.Module):
    """Turns images into binary maps with a network whose outputs are the channels of the anatomy (SDNet).

    The maps are the softmax of the outputs, rounded; gradients pass the rounding unchanged. At most one channel is 1 at each
    position, and none where no channel has more than one half.

    Args:
        net: maps images to as many outputs as the anatomy has channels: `backbones(outputs=channels)`.
        rounded: whether to round; otherwise the maps are the softmax.

    Examples:
        >>> AnatomyEncoder(torch.nn.Conv2d(1, 8, 3, padding=1))(torch.rand(2, 1, 6, 6)).shape
        torch.Size([2, 8, 6, 6])
    """

    def __init__(self, net: nn.Module, *, rounded: bool = True) -> None:
        super().__init__()
        self.net, self.rounded = net, rounded

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (B, C, *spatial) to the anatomy (B, channels, *spatial)."""
        soft = torch.softmax(self.net(images).float(), 1)
        return round_straight_through(soft) if self.rounded else soft
