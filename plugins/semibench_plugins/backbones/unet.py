"""The U-Net of the semi-supervised literature, in its two usual sizes, in 2D and 3D.

`ssl4mis` (default; code/networks/unet.py of SSL4MIS): 16-32-64-128-256 channels, leaky ReLU, dropout .05 to .5 in the
encoder, 1x1 convolution and linear upsampling in the decoder, 3x3 head. 1,813,764 parameters for one channel and four
classes. `34m` (MGCC, CMU-Net): 64-128-256-512-1024, ReLU, no dropout, nearest upsampling with a 3x3 convolution, 1x1
head. 34,527,041 parameters for three channels and one output.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from semibench import BackboneOptions, Decoder
from semibench.blocks import Norm, exchange_batch_norm
from semibench_plugins.backbones.halving import NORM_HELP, Halving, Upsampling

WIDTHS = {"ssl4mis": (16, 32, 64, 128, 256), "34m": (64, 128, 256, 512, 1024)}
DROPOUT = {"ssl4mis": (0.05, 0.1, 0.2, 0.3, 0.5), "34m": (0.0,) * 5}
UPSAMPLING: dict[str, Upsampling] = {"ssl4mis": "linear", "34m": "nearest"}
CONV: dict[int, type[nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
NORM: dict[int, type[nn.Module]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
POOL: dict[int, type[nn.Module]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
TRANSPOSED: dict[int, type[nn.Module]] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


class UNetOptions(BackboneOptions, frozen=True, extra="forbid"):
    """Options of `unet`."""

    variant: Literal["ssl4mis", "34m"] = Field("ssl4mis", description="channel counts, activation, decoder and head")
    dropout: tuple[float, float, float, float, float] | None = Field(
        None, description="element-wise dropout of the five encoder blocks, finest first; default: the variant's"
    )
    upsampling: Upsampling | None = Field(None, description="upsampling in the decoder; default: the variant's")
    norm: Norm = Field("batch", description=NORM_HELP)


class _Plan:
    """The layers of a variant in 2D or 3D."""

    def __init__(self, dims: int, variant: str) -> None:
        self.dims, self.variant = dims, variant

    def unit(self, inputs: int, outputs: int) -> list[nn.Module]:
        """3x3 convolution, batch norm, activation."""
        activation = nn.ReLU(inplace=True) if self.variant == "34m" else nn.LeakyReLU(0.01, inplace=True)
        return [CONV[self.dims](inputs, outputs, 3, padding=1), NORM[self.dims](outputs), activation]

    def block(self, inputs: int, outputs: int, dropout: float = 0.0) -> nn.Sequential:
        """Two units with element-wise dropout between them."""
        between = [nn.Dropout(dropout)] if dropout else []
        return nn.Sequential(*self.unit(inputs, outputs), *between, *self.unit(outputs, outputs))

    def up(self, inputs: int, outputs: int, upsampling: Upsampling) -> nn.Sequential:
        """Doubles the size and returns `outputs` channels."""
        if upsampling == "transposed":
            return nn.Sequential(TRANSPOSED[self.dims](inputs, outputs, 2, stride=2))
        if upsampling == "linear":
            mode = ("bilinear", "trilinear")[self.dims - 2]
            grow = nn.Upsample(scale_factor=2, mode=mode, align_corners=True)
        else:
            grow = nn.Upsample(scale_factor=2, mode="nearest")
        if self.variant == "34m":
            return nn.Sequential(grow, *self.unit(inputs, outputs))
        return nn.Sequential(CONV[self.dims](inputs, outputs, 1), grow)

    def head(self, inputs: int, outputs: int) -> nn.Module:
        """Returns the layer from the finest map to logits."""
        side = 1 if self.variant == "34m" else 3
        return CONV[self.dims](inputs, outputs, side, padding=side // 2)


class UNetDecoder(Decoder):
    """Four levels: upsample, concatenate [skip, up], two units."""

    def __init__(self, plan: _Plan, levels: Sequence[int], outputs: int, upsampling: Upsampling) -> None:
        super().__init__()
        self.channels = tuple(levels[:-1])
        pairs = list(pairwise(levels))
        self.up = nn.ModuleList(plan.up(coarse, fine, upsampling) for fine, coarse in pairs)
        self.blocks = nn.ModuleList(plan.block(2 * fine, fine) for fine, _ in pairs)
        self.last = plan.head(levels[0], outputs)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Five encoder maps, finest first -> four decoder maps, finest first."""
        decoded: list[Tensor] = []
        coarse = features[-1]
        for level in reversed(range(len(self.blocks))):
            coarse = self.blocks[level](torch.cat([features[level], self.up[level](coarse)], 1))
            decoded.insert(0, coarse)
        return decoded

    def head(self, decoded: Tensor) -> Tensor:
        """(B, channels[0], *spatial) -> logits (B, outputs, *spatial)."""
        return self.last(decoded)


class UNet(Halving):
    """See the module docstring. Decoder variant: upsampling="linear" | "nearest" | "transposed"."""

    Options = UNetOptions
    provides = frozenset({"stages", "dropout"})
    title = "unet"

    def __init__(self, *, dims: int, channels: int, outputs: int, patch: Sequence[int], options: UNetOptions) -> None:
        super().__init__(dims=dims, channels=channels, outputs=outputs, patch=patch, options=options)
        self.channels = tuple(max(1, round(count * options.width)) for count in WIDTHS[options.variant])
        self.strides = tuple(2**level for level in range(len(self.channels)))
        self._plan, self._outputs = _Plan(dims, options.variant), outputs
        self._upsampling = options.upsampling or UPSAMPLING[options.variant]
        dropout = DROPOUT[options.variant] if options.dropout is None else options.dropout
        inputs = (channels, *self.channels[:-1])
        self.blocks = nn.ModuleList(
            self._plan.block(a, b, p) for a, b, p in zip(inputs, self.channels, dropout, strict=True)
        )
        self.pool = POOL[dims](2)
        self._norm = options.norm
        exchange_batch_norm(self.blocks, self._norm)
        self.decoder = self.new_decoder()

    def encode(self, images: Tensor) -> list[Tensor]:
        """(B, C, *spatial) -> five maps, finest first."""
        self.check_size(images.shape[2:])
        maps: list[Tensor] = []
        for block in self.blocks:
            maps.append(block(self.pool(maps[-1]) if maps else images))
        return maps

    def new_decoder(self, **variant: Any) -> Decoder:
        """Returns a fresh decoder. upsampling: overrides the network's own."""
        upsampling = self.upsampling_of(variant, self._upsampling)
        return exchange_batch_norm(UNetDecoder(self._plan, self.channels, self._outputs, upsampling), self._norm)
