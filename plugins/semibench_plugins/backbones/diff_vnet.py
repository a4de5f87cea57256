"""Diff-VNet: the V-Net whose encoder takes either an image or an image with a noisy label map (A&D, NeurIPS 2023;
DTLP-Net).

One encoder has two stems: for the image alone, and for the image with a noisy one-hot label map at a diffusion step. The
levels have 32-64-128-256-512 channels, strided convolutions down, transposed convolutions up, and skips by addition. A
unit is convolution, ReLU, batch norm, channel dropout .1; channel dropout .5 acts on the coarsest map and before the head.
The step is embedded (128 sines and cosines, two linear layers of 512 with swish in between) and added, through
Linear(swish(.)), after every unit but the last of a level and after every strided or transposed convolution. Without a
step the fusion is skipped; it doesn't get a 0.

Parameters in 3D, one channel, two classes: encoder with both stems and the embedding 31,271,296, plain decoder
8,282,434, decoder with the step 8,955,490; inference uses 37,777,730. The noisy path alone (noisy stem, encoder,
decoder with the step) has 40,225,826 (10,837,266 with 16 filters and the embedding of 512). The authors' module has
40,980,962 (11,214,834), because it also holds a projection with 513 C numbers for the last unit of each level and for
the stem, which no forward pass uses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from semibench import Backbone, BackboneOptions, Decoder, UsageError
from semibench.blocks import Norm, exchange_batch_norm
from semibench_plugins.backbones.halving import NORM_HELP

FILTERS = 32
EMBEDDING = 512
WAVES = 128
DIVISOR = 16
DOWN = (1, 2, 3, 3, 3)
UP = (1, 2, 3, 3)


class DiffVNetOptions(BackboneOptions, frozen=True, extra="forbid"):
    """Options of `diff-vnet`. width multiplies the 32 filters of the finest level (each further level doubles them) and,
    if `embedding` isn't set, its 512 numbers (at least 16)."""

    embedding: int | None = Field(None, ge=1, description="length of the step's embedding; default: 512 width")
    has_dropout: bool = Field(True, description="channel dropout on the coarsest map and before the head")
    dropout: float = Field(0.5, ge=0.0, lt=1.0, description="probability of that channel dropout")
    unit_dropout: float = Field(0.1, ge=0.0, lt=1.0, description="probability of channel dropout after every unit")
    norm: Norm = Field("batch", description=NORM_HELP)


def waves(time: Tensor, size: int = WAVES) -> Tensor:
    """Steps (B,) -> (B, size): sines, then cosines, of t * 10000^(-i / (size / 2 - 1))."""
    half = size // 2
    rate = torch.exp(torch.arange(half, device=time.device) * (-math.log(10000.0) / (half - 1)))
    angle = time.float()[:, None] * rate[None]
    return torch.cat([angle.sin(), angle.cos()], 1)


class StepEmbedding(nn.Module):
    """Embeds diffusion steps: (B,) -> (B, size)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(WAVES, size), nn.Linear(size, size)

    def forward(self, time: Tensor) -> Tensor:
        return self.second(F.silu(self.first(waves(time))))


class Unit(nn.Module):
    """Convolution, ReLU, batch norm, channel dropout; then, if it has one, the projection of the step's embedding."""

    def __init__(self, conv: nn.Module, channels: int, dims: int, dropout: float, embedding: int) -> None:
        super().__init__()
        self.conv = conv
        self.norm: nn.Module = (nn.BatchNorm2d, nn.BatchNorm3d)[dims - 2](channels)
        self.dropout = (nn.Dropout2d, nn.Dropout3d)[dims - 2](dropout) if dropout else nn.Identity()
        self.project = nn.Linear(embedding, channels) if embedding else None

    def forward(self, maps: Tensor, embedding: Tensor | None = None) -> Tensor:
        maps = self.dropout(self.norm(F.relu(self.conv(maps))))
        if self.project is None or embedding is None:
            return maps
        shift = self.project(F.silu(embedding))
        return maps + shift.view(*shift.shape, *[1] * (maps.ndim - 2))


class Level(nn.Module):
    """Units in sequence, all with the same embedding, followed by a channel dropout."""

    def __init__(self, units: Sequence[Unit], dropout: nn.Module | None = None) -> None:
        super().__init__()
        self.units = nn.ModuleList(units)
        self.dropout = dropout or nn.Identity()

    def forward(self, maps: Tensor, embedding: Tensor | None = None) -> Tensor:
        for unit in self.units:
            maps = unit(maps, embedding)
        return self.dropout(maps)


class _Parts:
    """Builds the units of a network."""

    def __init__(self, dims: int, options: DiffVNetOptions) -> None:
        self.dims, self.options = dims, options
        self.embedding = options.embedding or max(16, round(EMBEDDING * options.width))
        self.conv = (nn.Conv2d, nn.Conv3d)[dims - 2]
        self.transposed = (nn.ConvTranspose2d, nn.ConvTranspose3d)[dims - 2]

    def units(self, count: int, inputs: int, outputs: int, *, timed: bool) -> list[Unit]:
        """Returns units with 3-convolutions; the last has no projection."""
        units = []
        for number in range(count):
            conv = self.conv(outputs if number else inputs, outputs, 3, padding=1)
            embedding = self.embedding if timed and number + 1 < count else 0
            units.append(Unit(conv, outputs, self.dims, self.options.unit_dropout, embedding))
        return units

    def resize(self, conv: nn.Module, outputs: int, *, timed: bool) -> Unit:
        """Returns a unit with a strided or transposed convolution and without dropout."""
        return Unit(conv, outputs, self.dims, 0.0, self.embedding if timed else 0)

    def dropout(self) -> nn.Module:
        """Returns the strong dropout, used on the coarsest and the finest decoded map."""
        if not self.options.has_dropout:
            return nn.Identity()
        return (nn.Dropout2d, nn.Dropout3d)[self.dims - 2](self.options.dropout)


class DiffVNetDecoder(Decoder):
    """Four levels: upsample, add the skip, one to three units. timed: the decoder uses the step's embedding."""

    def __init__(self, parts: _Parts, levels: Sequence[int], outputs: int, timed: bool) -> None:
        super().__init__()
        self.channels, self.timed = tuple(levels[:-1]), timed
        pairs = list(pairwise(levels))
        self.up = nn.ModuleList(
            parts.resize(parts.transposed(coarse, fine, 2, stride=2), fine, timed=timed) for fine, coarse in pairs
        )
        self.blocks = nn.ModuleList(
            Level(parts.units(count, fine, fine, timed=timed)) for count, (fine, _) in zip(UP, pairs, strict=True)
        )
        self.dropout = parts.dropout()
        self.last = parts.conv(levels[0], outputs, 1)

    def forward(self, features: list[Tensor], embedding: Tensor | None = None) -> list[Tensor]:
        """Five encoder maps, finest first -> four decoder maps, finest first (the first after dropout). embedding: the
        step's, (B, E); None skips the fusion."""
        decoded: list[Tensor] = []
        coarse = features[-1]
        for level in reversed(range(len(self.blocks))):
            coarse = self.blocks[level](self.up[level](coarse, embedding) + features[level], embedding)
            decoded.insert(0, coarse)
        decoded[0] = self.dropout(decoded[0])
        return decoded

    def head(self, decoded: Tensor) -> Tensor:
        """(B, channels[0], *spatial) -> logits (B, outputs, *spatial)."""
        return self.last(decoded)


class DiffVNet(Backbone):
    """See the module docstring. The noisy label map has `outputs` channels. Decoder variant: time=True fuses the step."""

    Options = DiffVNetOptions
    provides = frozenset({"stages", "time", "dropout"})

    def __init__(
        self, *, dims: int, channels: int, outputs: int, patch: Sequence[int], options: DiffVNetOptions
    ) -> None:
        super().__init__(dims=dims, channels=channels, outputs=outputs, patch=patch, options=options)
        if dims not in (2, 3):
            raise UsageError(f"diff-vnet is a 2D or 3D network; expected dims 2 or 3, got {dims}")
        self.dims, self.divisor = dims, DIVISOR
        self._check(patch)
        filters = max(1, round(FILTERS * options.width))
        self.channels = tuple(filters * 2**level for level in range(len(DOWN)))
        self.strides = tuple(2**level for level in range(len(DOWN)))
        self._outputs, self._parts = outputs, _Parts(dims, options)
        parts = self._parts
        self.image_stem = Level(parts.units(1, channels, filters, timed=False))
        self.noisy_stem = Level(parts.units(1, channels + outputs, filters, timed=False))
        self.embedding = StepEmbedding(parts.embedding)
        levels = []
        for fine, coarse, count in zip(self.channels[:-1], self.channels[1:], DOWN[1:], strict=True):
            down = parts.resize(parts.conv(fine, coarse, 2, stride=2), coarse, timed=True)
            last = parts.dropout() if coarse == self.channels[-1] else None
            levels.append(Level([down, *parts.units(count, coarse, coarse, timed=True)], last))
        self.levels = nn.ModuleList(levels)
        exchange_batch_norm(self, options.norm)
        self.decoder = self.new_decoder()

    def _check(self, size: Sequence[int]) -> None:
        if len(size) != self.dims or any(side < DIVISOR or side % DIVISOR for side in size):
            raise UsageError(
                f"diff-vnet halves its input four times: expected {self.dims} sides that are multiples of {DIVISOR}, "
                f"got {tuple(size)}"
            )

    @property
    def stages(self) -> tuple[nn.Module, ...]:
        """The modules whose outputs are the five maps of `encode(images)`; with a noisy map, `noisy_stem` is the first."""
        return (self.image_stem, *self.levels)

    def encode(self, images: Tensor, noisy: Tensor | None = None, time: Tensor | None = None) -> list[Tensor]:
        """(B, C, *spatial) -> five maps, finest first (the last after dropout).

        noisy: label map (B, outputs, *spatial) with noise; time: its diffusion step, int64 (B,); give both or neither.
        Without them the image stem is used and no embedding is fused. Raises UsageError if only one is given."""
        self._check(images.shape[2:])
        if (noisy is None) != (time is None):
            raise UsageError(
                "diff-vnet encodes images with both a noisy label map and its steps, or with neither; got only one of them"
            )
        embedding = None if time is None else self.embedding(time)
        maps = [self.image_stem(images) if noisy is None else self.noisy_stem(torch.cat([images, noisy], 1))]
        for level in self.levels:
            maps.append(level(maps[-1], embedding))
        return maps

    def decode(
        self, features: list[Tensor], size: Sequence[int], decoder: Decoder | None = None, time: Tensor | None = None
    ) -> Tensor:
        """See `Backbone.decode`. time: steps (B,), only for a decoder built with time=True."""
        if time is None:
            return super().decode(features, size, decoder)
        timed_decoder = cast(DiffVNetDecoder, self.decoder if decoder is None else decoder)
        if not timed_decoder.timed:
            raise UsageError("this decoder of diff-vnet doesn't take steps; build one with new_decoder(time=True)")
        return timed_decoder.head(timed_decoder(features, self.embedding(time))[0])

    def new_decoder(self, **variant: Any) -> Decoder:
        """Returns a fresh decoder; with time=True, one that fuses the step."""
        timed = variant.pop("time", False)
        if variant or not isinstance(timed, bool):
            raise UsageError(f"decoders of diff-vnet differ in time=True or False; got {variant or {'time': timed}}")
        decoder = DiffVNetDecoder(self._parts, self.channels, self._outputs, timed)
        return exchange_batch_norm(decoder, self._parts.options.norm)
