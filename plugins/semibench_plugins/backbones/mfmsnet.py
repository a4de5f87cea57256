"""MFMSNet (Wu et al., Computers in Biology and Medicine 2024): an octave ResNet-50 whose skips exchange frequencies, in 2D.

The published code gives the architecture; the paper's text was not at hand. As in the variant of the code that is called, the
last block convolves at half the size and then enlarges. Convolutions start as torch has them, where the code draws them by
Kaiming's rule, and the names of layers are others, so weight files of the authors don't fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from semibench import Backbone, BackboneOptions, Decoder, UsageError
from semibench.blocks import Norm, exchange_batch_norm
from semibench_plugins.backbones.halving import NORM_HELP
from semibench_plugins.backbones.octave import Bottleneck, OctaveUnit, Pair
from semibench_plugins.backbones.resnet import conv

HEADS = 8
BLOCKS = (3, 4, 6, 3)
TRANSFORMERS = 2
"""Transformer blocks of a level."""


def base_of(width: float) -> int:
    """Channels of the stem: 64 times the width, a multiple of 4, so that each level divides into 8 heads."""
    return max(1, round(16 * width)) * 4


def unit(inputs: int, outputs: int, side: int, *, stride: int = 1) -> nn.Sequential:
    """A convolution, batch norm and ReLU."""
    return nn.Sequential(conv(inputs, outputs, side, stride=stride), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class MultiFrequencyBlock(nn.Module):
    """Each position of the high-frequency map attends to all of the low-frequency map, and back with the same weights (MF-Trans).

    With A = softmax over low positions of Q^T K / sqrt(d), 8 heads, high' = A V_l and low' = A^T V_h, whose rows don't sum to
    1. Q and V_h come from a depthwise 3x3 convolution, K and V_l from a 1x1 one.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = nn.ModuleList(unit(channels, channels, 1) for _ in range(2))
        self.high = nn.Conv2d(channels, 2 * channels, 3, padding=1, groups=channels)
        self.low = nn.Conv2d(channels, 2 * channels, 1)
        self.leave_high = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.leave_low = nn.Conv2d(channels, channels, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(2))

    def weights(self, query: Tensor, key: Tensor) -> Tensor:
        """Q (B, 8, d, N) and K (B, 8, d, M) -> A (B, 8, N, M), whose rows sum to 1."""
        return (query.transpose(2, 3) @ key * query.shape[2] ** -0.5).softmax(3)

    def forward(self, high: Tensor, low: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (B, C, h, w) and (B, C, h / 2, w / 2) -> the same shapes."""
        query, value_high = self.high(self.enter[0](high)).flatten(2).unflatten(1, (2, HEADS, -1)).unbind(1)
        key, value_low = self.low(self.enter[1](low)).flatten(2).unflatten(1, (2, HEADS, -1)).unbind(1)
        weights = self.weights(query, key)
        new_high = (value_low @ weights.transpose(2, 3)).flatten(1, 2).view_as(high)
        new_low = (value_high @ weights).flatten(1, 2).view_as(low)
        new_high, new_low = F.relu(self.leave_high(new_high)), F.relu(self.leave_low(new_low))
        return F.relu(self.norms[0](new_high + high)), F.relu(self.norms[1](new_low + low))


class UpBlock(nn.Module):
    """Joins skip and previous map, doubles their size with a transposed convolution of an eighth of the channels, and mixes the
    frequencies again. inputs, outputs: (high, low) channels; low is 0 without such a map."""

    def __init__(self, inputs: tuple[int, int], outputs: tuple[int, int]) -> None:
        super().__init__()
        inner = (sum(inputs) // 16, sum(inputs) // 16)
        self.squeeze = OctaveUnit(inputs, inner, 1)
        self.enlarge = nn.ModuleList(
            nn.Sequential(
                nn.ConvTranspose2d(width, width, 3, 2, 1, output_padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            )
            for width in inner
        )
        self.mix = OctaveUnit(inner, outputs, 1)

    def forward(self, pair: Pair) -> Pair:
        """Maps at a size -> maps at twice the size."""
        high, low = self.squeeze(pair)
        assert low is not None
        high, low = self.enlarge[0](high), self.enlarge[1](low)
        half = [side // 2 for side in high.shape[2:]]  # of a map with an odd side, the low frequencies had a row more
        return self.mix((high, low[..., : half[0], : half[1]]))


class MultiScaleFusion(nn.Module):
    """Joins the high-frequency skips of three levels at the size of the middle one (MSIF): a fusion of all three, the finest
    under spatial attention, the coarsest under channel attention. `levels`: their channels. Returns `outputs` channels."""

    def __init__(self, levels: Sequence[int], wide: int, outputs: int) -> None:
        super().__init__()
        self.fine = unit(levels[0], wide, 3, stride=2)
        self.middle = unit(levels[1], wide, 1)
        self.coarse = nn.Sequential(
            unit(levels[2], wide, 1), nn.ConvTranspose2d(wide, wide, 3, 2, 1, output_padding=1, bias=False),
            nn.BatchNorm2d(wide), nn.ReLU(inplace=True),
        )  # fmt: skip
        self.norm, self.fuse = nn.LayerNorm(3 * wide, eps=1e-6), nn.Conv2d(3 * wide, wide, 1)
        self.spatial = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        less = max(1, wide // 8)
        self.channel = nn.Sequential(
            nn.Conv2d(wide, less, 1, bias=False), nn.ReLU(), nn.Conv2d(less, wide, 1, bias=False)
        )  # fmt: skip
        self.last = unit(3 * wide, outputs, 3)
        self.efficient = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(self, fine: Tensor, middle: Tensor, coarse: Tensor) -> Tensor:
        """Maps at three sizes -> (B, outputs, h, w) at the middle one."""
        high, mid, low = self.fine(fine), self.middle(middle), self.coarse(coarse)
        joined = torch.cat([high, mid, low], 1)
        fused = F.gelu(self.fuse(self.norm(joined.movedim(1, -1)).movedim(-1, 1)))
        where = self.spatial(torch.cat([high.mean(1, keepdim=True), high.amax(1, keepdim=True)], 1)).sigmoid()
        what = (self.channel(low.mean((2, 3), keepdim=True)) + self.channel(low.amax((2, 3), keepdim=True))).sigmoid()
        result = self.last(torch.cat([where * high, fused, what * low], 1))
        gate = self.efficient(result.mean((2, 3)).unsqueeze(1)).sigmoid()
        return result * gate.transpose(1, 2).unsqueeze(3)


class MFMSDecoder(Decoder):
    """Transformer blocks on the three skips, octave up-blocks, the fusion of scales, and a 1x1 convolution as the head."""

    def __init__(self, base: int, outputs: int) -> None:
        super().__init__()
        halves = [base * 2, base * 4, base * 8]
        self.exchange = nn.ModuleList(
            nn.ModuleList(MultiFrequencyBlock(half) for _ in range(TRANSFORMERS)) for half in halves
        )
        self.up = nn.ModuleList([
            UpBlock((base * 32, 0), (base * 4, base * 4)),
            UpBlock((base * 12, base * 12), (base * 2, base * 2)),
            UpBlock((base * 6, base * 6), (base, base)),
            UpBlock((base * 3, base * 3), (base, 0)),
        ])  # fmt: skip
        self.finest = unit(2 * base, base, 3)
        self.fusion = MultiScaleFusion(halves, base * 4, base)
        self.channels = (2 * base,)
        self.last = nn.Conv2d(2 * base, outputs, 1)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Maps of `MFMSNet.encode` -> one map (B, channels[0], H, W) at the size of the image."""
        stem, deepest = features[0], features[-1]
        skips: list[tuple[Tensor, Tensor]] = []
        for level, blocks in enumerate(self.exchange):
            high, low = features[1 + 2 * level], features[2 + 2 * level]
            for block in blocks:  # type: ignore[attr-defined]
                high, low = block(high, low)
            skips.append((high, low))
        pair: Pair = self.up[0]((deepest, None))
        for up, (high, low) in zip(list(self.up)[1:], reversed(skips), strict=True):
            assert pair[1] is not None
            pair = up((torch.cat([high, pair[0]], 1), torch.cat([low, pair[1]], 1)))
        size = [2 * side for side in stem.shape[2:]]
        parts = self.finest(torch.cat([pair[0], stem], 1)), self.fusion(*[high for high, _ in skips])
        return [torch.cat([F.interpolate(part, size, mode="bilinear", align_corners=True) for part in parts], 1)]

    def head(self, decoded: Tensor) -> Tensor:
        """(B, channels[0], H, W) -> logits (B, outputs, H, W)."""
        return self.last(decoded)


class MFMSNetOptions(BackboneOptions, frozen=True, extra="forbid"):
    """Options of `mfmsnet`. width multiplies the 64 channels of the stem; the result is a multiple of four."""

    norm: Norm = Field("batch", description=NORM_HELP)


class MFMSNet(Backbone):
    """See the module docstring. Sides must be multiples of 32; the attention of the finest skip needs 2.1 GB for an image of
    512 x 512 pixels. `encode` returns the stem, the high- and the low-frequency map of three stages, and the last stage."""

    Options: ClassVar[type[BackboneOptions]] = MFMSNetOptions

    def __init__(
        self, *, dims: int, channels: int, outputs: int, patch: Sequence[int], options: MFMSNetOptions
    ) -> None:
        super().__init__(dims=dims, channels=channels, outputs=outputs, patch=patch, options=options)
        self.dims, self.divisor = 2, 32
        if dims != 2 or len(patch) != 2:
            raise UsageError(f"mfmsnet is a 2D network; got dims={dims}, patch {tuple(patch)}")
        self._check(patch)
        self._base, self._outputs, self._norm = base_of(options.width), outputs, options.norm
        base = self._base
        self.stem = nn.Sequential(
            nn.Conv2d(channels, base, 7, 2, 3, bias=False), nn.BatchNorm2d(base), nn.ReLU(inplace=True)
        )
        self.levels = nn.ModuleList()
        before = (base, 0)
        for number, count in enumerate(BLOCKS):
            total = base * 4 * 2**number
            after = (total, 0) if number == len(BLOCKS) - 1 else (total // 2, total // 2)
            blocks = [Bottleneck(before, after, stride=1 if number == 0 else 2)]
            blocks += [Bottleneck(after, after, stride=1) for _ in range(count - 1)]
            self.levels.append(nn.ModuleList(blocks))
            before = after
        halves = [base * 2, base * 4, base * 8]
        self.channels = (base, *[half for half in halves for _ in range(2)], base * 32)
        self.strides = (2, 4, 8, 8, 16, 16, 32, 32)
        for part in (self.stem, self.levels):
            exchange_batch_norm(part, options.norm)
        self.decoder = self.new_decoder()

    def _check(self, size: Sequence[int]) -> None:
        if any(side % self.divisor for side in size):
            raise UsageError(
                f"mfmsnet needs sides that are multiples of 32; got {tuple(size)}: set recipe.patch, e.g. [512, 512]"
            )

    def encode(self, images: Tensor) -> list[Tensor]:
        """(B, C, H, W) -> stem, (high, low) of three stages, last stage; strides 2, 4, 8, 8, 16, 16, 32, 32.

        Raises:
            UsageError: if a side isn't a multiple of 32.
        """
        self._check(images.shape[2:])
        stem = self.stem(images)
        maps: list[Tensor] = [stem]
        pair: Pair = (F.max_pool2d(stem, 3, 2, 1), None)
        for blocks in self.levels:
            for block in blocks:  # type: ignore[attr-defined]
                pair = block(pair)
            maps += [part for part in pair if part is not None]
        return maps

    def new_decoder(self, **variant: Any) -> Decoder:
        """Returns a fresh decoder; there are no variants."""
        if variant:
            raise UsageError(f"decoders of mfmsnet have no variants; got {variant}")
        return exchange_batch_norm(MFMSDecoder(self._base, self._outputs), self._norm)
