"""The block of AllSpark between encoder and decoder: channels look at channels."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from semibench_plugins.methods.imbalance.skcdf.attention import ChannelAttention

WIDEST = 512
"""Channels of the block in the paper; a map with fewer has its own number."""
EPSILON = 1e-6


class Rebirth(nn.Module):
    """Rebuilds the channels of a map from channels of other samples (`reborn`), or from its own (`within`).

    x = GELU(conv(map)), a 1 x 1 convolution; f = LayerNorm(x) over the channels; then GELU(conv(LayerNorm(x + A(f)))). A is a
    `ChannelAttention` with weights of its own for each of the two paths. A channel is the vector of what it shows at the N
    positions of the map, so N is the same for queries and keys.
    """

    def __init__(self, dims: int, channels: int, heads: int, dropout: float) -> None:
        super().__init__()
        conv: Any = (nn.Conv2d, nn.Conv3d)[dims - 2]
        self.width = min(channels, WIDEST)
        self.inward = nn.Sequential(conv(channels, self.width, 1), nn.GELU())
        self.outward = nn.Sequential(conv(self.width, channels, 1), nn.GELU())
        self.before, self.after = (nn.LayerNorm(self.width, eps=EPSILON) for _ in range(2))
        self.across, self.inside = (ChannelAttention(self.width, heads, dropout) for _ in range(2))

    def tokens(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (B, C, *grid) -> x and f, both (B, N, width)."""
        x = self.inward(maps).flatten(2).transpose(1, 2)
        return x, self.before(x)

    def reborn(self, f: Tensor, keys: Tensor) -> Tensor:
        """f (B, N, width) from the channels of all of keys (B', N, width): A(f), (B, N, width)."""
        return cast(Tensor, self.across(f.unsqueeze(1), keys.unsqueeze(1))).squeeze(1)

    def alone(self, f: Tensor) -> Tensor:
        """`reborn` with each sample as its own and only keys, which is how images are predicted."""
        return cast(Tensor, self.across(f.unsqueeze(0), f.unsqueeze(0))).squeeze(0)

    def within(self, f: Tensor) -> Tensor:
        """f from the channels of the same sample, by the weights of the unlabeled path: A(f), (B, N, width)."""
        return cast(Tensor, self.inside(f.unsqueeze(1))).squeeze(1)

    def folded(self, x: Tensor, attended: Tensor, grid: torch.Size) -> Tensor:
        """x and A(f), both (B, N, width) -> maps (B, C, *grid)."""
        return cast(Tensor, self.outward(self.after(x + attended).transpose(1, 2).unflatten(2, grid)))
