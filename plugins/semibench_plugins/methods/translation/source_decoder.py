"""The decoder of SIFA that makes source-style images of the features of target-style images."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semibench.blocks import ResidualBlock, add_change, start_from_normal

RESIDUAL_BLOCKS = 4


class SourceDecoder(nn.Module):
    """A convolution to 4f channels, four residual blocks, transposed convolutions that double the sides (2f channels, the last one
    f) and a convolution of kernel 7, with instance norm and ReLU; tanh at the end.

    Args:
        dims: 2 or 3.
        inputs: channels of the features.
        channels: of the images.
        stride: of the features.
        filters: f.
        residual: what is computed is added to the image, as in `TranslationGenerator`.
        plain: how, as in `TranslationGenerator`.
    """

    def __init__(
        self, dims: int, inputs: int, channels: int, stride: int, filters: int, residual: bool, plain: bool = False
    ) -> None:
        super().__init__()
        self.residual, self.plain = residual, plain
        conv = (nn.Conv2d, nn.Conv3d)[dims - 2]
        transposed = (nn.ConvTranspose2d, nn.ConvTranspose3d)[dims - 2]
        steps = round(math.log2(stride))
        widths = [4 * filters, *[2 * filters] * (steps - 1), *[filters] * min(steps, 1)]
        self.start = conv(inputs, widths[0], 3, padding=1)
        self.blocks = nn.Sequential(*(ResidualBlock(dims, widths[0]) for _ in range(RESIDUAL_BLOCKS)))
        self.up = nn.ModuleList(transposed(a, b, 4, stride=2, padding=1) for a, b in pairwise(widths))
        self.end = conv(widths[-1], channels, 7, padding=3)
        start_from_normal(self)
        if residual and not plain:
            nn.init.zeros_(self.end.weight)

    def forward(self, features: Tensor, images: Tensor) -> Tensor:
        """features: (B, inputs, *spatial / stride), of the images (B, C, *spatial) in [-1, 1] -> images of the same shape."""
        maps = self.blocks(F.relu(F.instance_norm(self.start(features))))
        for layer in self.up:
            maps = F.relu(F.instance_norm(layer(maps)))
        if maps.shape[2:] != images.shape[2:]:
            maps = F.interpolate(maps, images.shape[2:], mode=("bilinear", "trilinear")[images.ndim - 4])
        translated = self.end(maps)
        return add_change(images, translated, plain=self.plain) if self.residual else torch.tanh(translated)
