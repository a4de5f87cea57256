"""The diffusion network of Diff-CL: a V-Net on an image, a noisy label map and its diffusion step, in 2D and 3D.

Diff-CL doesn't print the layers. This is the denoising path of A&D (xmed-lab/GenericSSL) with the 16 filters of the field's
V-Net (A&D: 32, width=2): one stem on concat(image, noisy one-hot label), levels of 16-32-64-128-256 channels, units of
convolution, ReLU, batch norm, channel dropout .1. The embedded step is added after every unit but the last of a level and
after every strided or transposed convolution. The layers are those of `diff-vnet`, which also has a second stem for images
alone and plain decoders.

Parameters in 3D, one channel, two classes: 10,837,266. A&D's module has 11,214,834 (n = 16; 40,980,962 with n = 32),
because it also holds 377,568 parameters of projections for the last unit of each level, which no forward pass uses;
idle=true adds them here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from semibench import Decoder, UsageError
from semibench.blocks import exchange_batch_norm
from semibench_plugins.backbones.diff_vnet import (
    DOWN,
    EMBEDDING,
    DiffVNetDecoder,
    DiffVNetOptions,
    Level,
    StepEmbedding,
)
from semibench_plugins.backbones.diff_vnet import _Parts as Parts
from semibench_plugins.backbones.halving import Halving

FILTERS = 16
"""Filters of the finest level; each further level doubles them."""


class DiffusionVNetOptions(DiffVNetOptions, frozen=True, extra="forbid"):
    """Options of `diffusion-vnet`. width multiplies the 16 filters of the finest level (each further level doubles them)
    and the 512 numbers of the embedding (at least 16, at most 512)."""

    idle: bool = Field(
        False,
        description="add the frozen projections that A&D's module has but never uses, to match its parameter count",
    )


class TimedMaps(list[Tensor]):
    """The maps of `encode`, finest first, with the step's embedding, (B, E) or None, which the decoder adds as well. A plain
    list decodes without an embedding."""

    def __init__(self, maps: Sequence[Tensor], embedding: Tensor | None = None) -> None:
        super().__init__(maps)
        self.embedding = embedding


class TimedDecoder(DiffVNetDecoder):
    """A decoder that takes the step's embedding from the maps."""

    def forward(self, features: list[Tensor], embedding: Tensor | None = None) -> list[Tensor]:
        """Five encoder maps, finest first -> four decoder maps, finest first (the first after dropout). embedding: overrides
        that of the maps."""
        return super().forward(features, getattr(features, "embedding", None) if embedding is None else embedding)


class DiffusionVNet(Halving):
    """See the module docstring. The noisy label map has `outputs` channels. Decoders have no variants.

    A backbone must also take images alone. The stem then sees a label map of zeros, which adds nothing, and no embedding is
    fused.
    """

    Options = DiffusionVNetOptions
    provides = frozenset({"stages", "time", "dropout"})
    title = "diffusion-vnet"

    def __init__(
        self, *, dims: int, channels: int, outputs: int, patch: Sequence[int], options: DiffusionVNetOptions
    ) -> None:
        super().__init__(dims=dims, channels=channels, outputs=outputs, patch=patch, options=options)
        filters = max(1, round(FILTERS * options.width))
        self.channels = tuple(filters * 2**level for level in range(len(DOWN)))
        self.strides = tuple(2**level for level in range(len(DOWN)))
        self._outputs, self._parts = outputs, Parts(dims, options)
        parts = self._parts
        parts.embedding = min(parts.embedding, EMBEDDING)
        self.embedding = StepEmbedding(parts.embedding)
        levels = [Level(parts.units(DOWN[0], channels + outputs, filters, timed=True))]
        for fine, coarse, count in zip(self.channels[:-1], self.channels[1:], DOWN[1:], strict=True):
            down = parts.resize(parts.conv(fine, coarse, 2, stride=2), coarse, timed=True)
            last = parts.dropout() if coarse == self.channels[-1] else None
            levels.append(Level([down, *parts.units(count, coarse, coarse, timed=True)], last))
        self.blocks = nn.ModuleList(levels)
        exchange_batch_norm(self, options.norm)
        self.decoder = self.new_decoder()
        if options.idle:
            ends = (*self.channels, *self.decoder.channels)
            self.idle = nn.ModuleList(nn.Linear(parts.embedding, count) for count in ends).requires_grad_(False)

    def encode(self, images: Tensor, noisy: Tensor | None = None, time: Tensor | None = None) -> TimedMaps:
        """(B, C, *spatial) -> five maps, finest first (the last after dropout).

        noisy: label map with noise (B, outputs, *spatial); time: its step, int64 (B,). Raises UsageError if only one of
        the two is given."""
        self.check_size(images.shape[2:])
        if (noisy is None) != (time is None):
            raise UsageError(
                "diffusion-vnet encodes images with both a noisy label map and its step, or with neither; got only one of them"
            )
        if noisy is None:
            noisy = images.new_zeros((len(images), self._outputs, *images.shape[2:]))
        embedding = None if time is None else self.embedding(time)
        maps = [self.blocks[0](torch.cat([images, noisy], 1), embedding)]
        for level in list(self.blocks)[1:]:
            maps.append(level(maps[-1], embedding))
        return TimedMaps(maps, embedding)

    def new_decoder(self, **variant: Any) -> Decoder:
        """Returns a fresh decoder."""
        if variant:
            raise UsageError(f"decoders of diffusion-vnet have no variants; got {variant}")
        decoder = TimedDecoder(self._parts, self.channels, self._outputs, timed=True)
        return exchange_batch_norm(decoder, self._parts.options.norm)
