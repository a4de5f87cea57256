"""The network of MGCC: a large U-Net, a chain of ConvMixer layers at the bottleneck, attention gates on the skips.

Source: arXiv 2305.09447 (2023), section III-C; layer order and normalisation follow the authors' code. With three input
channels and one output it has 52,142,145 parameters (encoder 18,851,136, chain 9,944,064, one decoder 23,346,945); each
further decoder of the method adds 23,346,945. Without gates 44,471,105; without gates and chain 34,527,041.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any, ClassVar

import torch
from pydantic import AfterValidator, Field, field_validator
from torch import Tensor, nn

from semibench import Backbone, BackboneOptions, Decoder, UsageError
from semibench.blocks import Norm, exchange_batch_norm
from semibench_plugins.backbones.halving import NORM_HELP

LEVELS = (64, 128, 256, 512, 1024)
DIVISOR = 16


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError(f"kernel must be odd so that maps keep their size; got {value}")
    return value


OddKernel = Annotated[int, AfterValidator(_odd)]
"""Side of a convolution that keeps the size of its map."""


class MGCCNetOptions(BackboneOptions, frozen=True, extra="forbid"):
    """Options of `mgcc-net`."""

    depths: tuple[int, ...] = Field(
        (0, 3, 6, 9), description="ConvMixer layers before each tap, cumulative; the last tap feeds the main decoder"
    )
    kernel: OddKernel = Field(7, ge=1, description="side of the depthwise convolutions; must be odd")
    gates: bool = Field(True, description="attention gates on the skips of every decoder")
    norm: Norm = Field("batch", description=NORM_HELP)

    @field_validator("depths")
    @classmethod
    def _depths(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or value[0] < 0 or list(value) != sorted(value):
            raise ValueError(
                f"depths must be cumulative layer counts that never descend, e.g. (0, 3, 6, 9); got {value}"
            )
        return value


def _conv(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


def conv_block(inputs: int, outputs: int) -> nn.Sequential:
    """Two 3x3 convolutions, each with batch normalisation and ReLU."""
    return nn.Sequential(*_conv(inputs, outputs), *_conv(outputs, outputs))


class ConvMixerLayer(nn.Module):
    """Depthwise convolution, GELU, BN with a residual around the three; then 1x1 convolution, GELU, BN (Eqs. 3, 4)."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.norm = nn.BatchNorm2d(channels)
        self.pointwise = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.GELU(), nn.BatchNorm2d(channels))

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        mixed = maps + self.norm(nn.functional.gelu(self.depthwise(maps)))
        return self.pointwise(mixed)


class AttentionGate(nn.Module):
    """Multi-scale attention gate (Eqs. 5, 6): x (1 + a), with a in (0, 1) voted by three views of a skip.

    The vote is normalised before the sigmoid, as in the authors' code; Eq. (6) shows no normalisation."""

    def __init__(self, channels: int) -> None:
        super().__init__()

        def view(kernel: int, dilation: int) -> nn.Sequential:
            padding = dilation * (kernel // 2)
            return nn.Sequential(
                nn.Conv2d(channels, channels, kernel, padding=padding, dilation=dilation), nn.BatchNorm2d(channels)
            )

        self.views = nn.ModuleList((view(1, 1), view(3, 1), view(3, 2)))
        self.vote = nn.Sequential(nn.Conv2d(3 * channels, channels, 1), nn.BatchNorm2d(channels))

    def forward(self, skip: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        views = torch.cat([view(skip) for view in self.views], 1).relu()
        return skip + skip * self.vote(views).sigmoid()


class GatedDecoder(Decoder):
    """Up path of the U-Net: nearest upsampling with a convolution, then concatenation [(gated) skip, up]."""

    def __init__(self, levels: Sequence[int], outputs: int, gates: bool) -> None:
        super().__init__()
        self.channels = tuple(levels[:-1])
        pairs = list(pairwise(levels))
        self.gates = nn.ModuleList(AttentionGate(fine) if gates else nn.Identity() for fine, _ in pairs)
        self.up = nn.ModuleList(
            nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), *_conv(coarse, fine)) for fine, coarse in pairs
        )
        self.blocks = nn.ModuleList(conv_block(2 * fine, fine) for fine, _ in pairs)
        self.last = nn.Conv2d(levels[0], outputs, 1)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Five maps, finest first -> four decoded maps, finest first."""
        decoded: list[Tensor] = []
        coarse = features[-1]
        for level in reversed(range(len(self.blocks))):
            skip = self.gates[level](features[level])
            coarse = self.blocks[level](torch.cat([skip, self.up[level](coarse)], 1))
            decoded.insert(0, coarse)
        return decoded

    def head(self, decoded: Tensor) -> Tensor:
        """(B, channels[0], H, W) -> logits (B, outputs, H, W)."""
        return self.last(decoded)


class MGCCNet(Backbone):
    """See the module docstring. `encode` runs the whole chain; `taps` returns the features of every depth in one pass."""

    title: ClassVar[str] = "mgcc-net"
    """Name used in messages."""
    Options: ClassVar[type[BackboneOptions]] = MGCCNetOptions
    provides = frozenset({"stages"})

    def __init__(
        self, *, dims: int, channels: int, outputs: int, patch: Sequence[int], options: MGCCNetOptions
    ) -> None:
        super().__init__(dims=dims, channels=channels, outputs=outputs, patch=patch, options=options)
        if dims != 2:
            raise UsageError(
                f"{self.title} is a 2D network; expected dims=2, got {dims}: choose another backbone for volumes"
            )
        if any(side % DIVISOR for side in patch):
            raise UsageError(
                f"{self.title} halves the image four times: sides must be multiples of 16, got {tuple(patch)}"
            )
        levels = tuple(max(1, round(count * options.width)) for count in LEVELS)
        self.dims, self.divisor = dims, DIVISOR
        self.channels, self.strides = levels, tuple(2**level for level in range(len(levels)))
        self.depths, self.outputs, self._gates, self._norm = options.depths, outputs, options.gates, options.norm
        self.blocks = nn.ModuleList(conv_block(a, b) for a, b in zip((channels, *levels), levels, strict=False))
        self.pool = nn.MaxPool2d(2)
        self.chain = nn.ModuleList(ConvMixerLayer(levels[-1], options.kernel) for _ in range(options.depths[-1]))
        exchange_batch_norm(self, self._norm)
        self.decoder = self.new_decoder()

    @property
    def stages(self) -> tuple[nn.Module, ...]:
        """The modules whose outputs are the five maps of `encode`."""
        return (*self.blocks[:-1], self.chain[-1] if len(self.chain) else self.blocks[-1])

    def taps(self, images: Tensor) -> list[list[Tensor]]:
        """(B, C, H, W) -> five maps for each of `depths`, finest first. They share the skips and differ in the last map,
        the bottleneck after that many ConvMixer layers."""
        skips: list[Tensor] = []
        maps = images
        for level, block in enumerate(self.blocks):
            maps = block(self.pool(maps) if level else maps)
            skips.append(maps)
        bottlenecks = [skips.pop()]
        for layer in self.chain:
            bottlenecks.append(layer(bottlenecks[-1]))
        return [[*skips, bottlenecks[depth]] for depth in self.depths]

    def encode(self, images: Tensor) -> list[Tensor]:
        """(B, C, H, W) -> five maps, finest first; the last is the output of the whole chain."""
        return self.taps(images)[-1]

    def new_decoder(self, **variant: Any) -> Decoder:
        """Returns a fresh decoder with its own gates. There are no variants."""
        if variant:
            raise UsageError(f"{self.title} has only one kind of decoder; got the variant {variant}")
        return exchange_batch_norm(GatedDecoder(self.channels, self.outputs, self._gates), self._norm)
