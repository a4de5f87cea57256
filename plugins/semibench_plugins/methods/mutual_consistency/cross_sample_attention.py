"""Cross-sample mutual attention of CAML: the samples of a batch look at each other."""

from __future__ import annotations

import math

from torch import Tensor, nn

HEADS = 4


class CrossSampleAttention(nn.Module):
    """Two transformer layers (post-norm, ReLU, 4 channels in the hidden layer for each one): the first attends over the
    positions of each sample, the second over the samples of the batch at each position. In eval mode nothing changes.

    Four heads, or as many as divide the channels of a narrow network.
    """

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        heads = math.gcd(HEADS, channels)
        self.within, self.across = (
            nn.TransformerEncoderLayer(channels, heads, 4 * channels, dropout, batch_first=True) for _ in range(2)
        )

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, *spatial) -> the same shape."""
        if not self.training:
            return maps
        tokens = self.within(maps.flatten(2).transpose(1, 2))
        mixed = self.across(tokens.transpose(0, 1)).transpose(0, 1)
        return mixed.transpose(1, 2).unflatten(2, maps.shape[2:])
