"""The V-Net of the semi-supervised 3D literature: the lighter rewrite that came with UA-MT (Yu et al., MICCAI 2019).

Strided convolutions down, transposed convolutions up, skips by addition, 16-32-64-128-256 channels. 9,448,866 parameters
for one channel, two classes and batch norm (encoder 7,376,896, decoder 2,071,970; with upsampling and a 3x3x3 convolution
instead of transposed convolutions 2,898,850).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

from pydantic import Field
from torch import Tensor, nn

from semibench import BackboneOptions, Decoder
from semibench_plugins.backbones.halving import Halving, Upsampling

Normalisation = Literal["batch", "group", "instance", "none"]
FILTERS = 16
GROUPS = 16
DOWN = (1, 2, 3, 3, 3)
UP = (1, 2, 3, 3)


class VNetOptions(BackboneOptions, frozen=True, extra="forbid"):
    """Options of `vnet`. width multiplies the 16 filters of the finest level; each further level doubles them. With group
    norm (16 groups) the filters are rounded to a multiple of 16."""

    norm: Normalisation = Field(
        "batch",
        description="normalisation layers; published: batch. Instance norm has no affine parameters, as in UA-MT",
    )
    upsampling: Upsampling = Field(
        "transposed", description="upsampling; a 3x3x3 convolution follows linear and nearest"
    )
    has_dropout: bool = Field(True, description="channel dropout on the coarsest and on the finest decoded map")
    dropout: float = Field(0.5, ge=0.0, lt=1.0, description="probability of that channel dropout")


def _norm(kind: Normalisation, channels: int) -> list[nn.Module]:
    match kind:
        case "batch":
            return [nn.BatchNorm3d(channels)]
        case "group":
            return [nn.GroupNorm(GROUPS, channels)]
        case "instance":
            return [nn.InstanceNorm3d(channels)]
        case "none":
            return []


def _unit(conv: nn.Module, channels: int, kind: Normalisation) -> list[nn.Module]:
    return [conv, *_norm(kind, channels), nn.ReLU(inplace=True)]


def _units(count: int, inputs: int, outputs: int, kind: Normalisation) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for number in range(count):
        conv = nn.Conv3d(outputs if number else inputs, outputs, 3, padding=1)
        layers += _unit(conv, outputs, kind)
    return layers


def _up(inputs: int, outputs: int, upsampling: Upsampling, kind: Normalisation) -> nn.Sequential:
    if upsampling == "transposed":
        return nn.Sequential(*_unit(nn.ConvTranspose3d(inputs, outputs, 2, stride=2), outputs, kind))
    if upsampling == "linear":
        grow = nn.Upsample(scale_factor=2, mode="trilinear", align_corners=True)
    else:
        grow = nn.Upsample(scale_factor=2, mode="nearest")
    return nn.Sequential(grow, *_units(1, inputs, outputs, kind))


class VNetDecoder(Decoder):
    """Four levels: upsample, add the skip, one to three units; channel dropout on the finest map."""

    def __init__(self, levels: Sequence[int], outputs: int, upsampling: Upsampling, options: VNetOptions) -> None:
        super().__init__()
        self.channels = tuple(levels[:-1])
        kind = options.norm
        pairs = list(pairwise(levels))
        self.up = nn.ModuleList(_up(coarse, fine, upsampling, kind) for fine, coarse in pairs)
        self.blocks = nn.ModuleList(
            nn.Sequential(*_units(count, fine, fine, kind)) for count, (fine, _) in zip(UP, pairs, strict=True)
        )
        self.dropout = nn.Dropout3d(options.dropout) if options.has_dropout else nn.Identity()
        self.last = nn.Conv3d(levels[0], outputs, 1)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Five encoder maps, finest first -> four decoder maps, finest first (the first after dropout)."""
        decoded: list[Tensor] = []
        coarse = features[-1]
        for level in reversed(range(len(self.blocks))):
            coarse = self.blocks[level](self.up[level](coarse) + features[level])
            decoded.insert(0, coarse)
        decoded[0] = self.dropout(decoded[0])
        return decoded

    def head(self, decoded: Tensor) -> Tensor:
        """(B, channels[0], *spatial) -> logits (B, outputs, *spatial)."""
        return self.last(decoded)


class VNet(Halving):
    """See the module docstring. Decoder variant: upsampling="transposed" | "linear" | "nearest" (MC-Net, CAML)."""

    Options = VNetOptions
    provides = frozenset({"stages", "dropout"})
    title = "vnet"
    supported_dims = (3,)

    def __init__(self, *, dims: int, channels: int, outputs: int, patch: Sequence[int], options: VNetOptions) -> None:
        super().__init__(dims=dims, channels=channels, outputs=outputs, patch=patch, options=options)
        kind = options.norm
        grain = GROUPS if kind == "group" else 1
        filters = grain * max(1, round(FILTERS * options.width / grain))
        self.channels = tuple(filters * 2**level for level in range(len(DOWN)))
        self.strides = tuple(2**level for level in range(len(DOWN)))
        self._outputs, self._options = outputs, options
        levels: list[nn.Module] = [nn.Sequential(*_units(DOWN[0], channels, filters, kind))]
        for fine, coarse, count in zip(self.channels[:-1], self.channels[1:], DOWN[1:], strict=True):
            down = _unit(nn.Conv3d(fine, coarse, 2, stride=2), coarse, kind)
            levels.append(nn.Sequential(*down, *_units(count, coarse, coarse, kind)))
        if options.has_dropout:
            levels[-1] = nn.Sequential(levels[-1], nn.Dropout3d(options.dropout))
        self.blocks = nn.ModuleList(levels)
        self.decoder = self.new_decoder()

    def encode(self, images: Tensor) -> list[Tensor]:
        """(B, C, *spatial) -> five maps, finest first (the last after dropout)."""
        self.check_size(images.shape[2:])
        maps: list[Tensor] = []
        for block in self.blocks:
            maps.append(block(maps[-1] if maps else images))
        return maps

    def new_decoder(self, **variant: Any) -> Decoder:
        """Returns a fresh decoder. upsampling: overrides the network's own."""
        upsampling = self.upsampling_of(variant, self._options.upsampling)
        return VNetDecoder(self.channels, self._outputs, upsampling, self._options)
