"""The contract of a backbone: an encoder and a decoder that can be called separately."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel, Field
from torch import Tensor, nn
from torch.nn import functional as F


class BackboneOptions(BaseModel, frozen=True, extra="forbid"):
    """Options that every backbone has."""

    width: float = Field(1.0, gt=0, le=64)
    """Factor on all published channel counts, so that small runs are possible; 1 is the published network. Each count is
    rounded to the nearest integer that the network's norms and heads accept."""


class Decoder(nn.Module):
    """Turns encoder maps into decoder maps."""

    channels: tuple[int, ...]
    """Channels of the maps that `forward` returns, finest first."""

    @abstractmethod
    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Decode the maps of `Backbone.encode`.

        Args:
            features: encoder maps (B, C_i, *spatial_i), finest first.

        Returns:
            Decoder maps, finest first.
        """

    @abstractmethod
    def head(self, decoded: Tensor) -> Tensor:
        """Turn the finest decoder map into logits.

        Args:
            decoded: the finest decoder map, (B, channels[0], *s).

        Returns:
            Logits (B, K, *s) at the same resolution.
        """


class Backbone(nn.Module):
    """A network. The harness builds it with `__init__(*, dims, channels, outputs, patch, options)`."""

    Options: ClassVar[type[BackboneOptions]] = BackboneOptions
    """The options of this backbone; a subclass of `BackboneOptions` adds more."""
    provides: ClassVar[frozenset[str]] = frozenset()
    """What the backbone offers beyond the contract: "stages" (a property that lists the modules whose outputs are the
    encoder maps, for hooks; they must not be registered twice), "time" (`encode(images, noisy=None, time=None)`; without
    a time the fusion is skipped), "dropout", "prompts" (`prompt(points, labels, size)` turns points (B, N, 2) as (y, x) in
    pixels of an image of that size, and their classes (B, N), into tokens; decoders take them as
    `decoder(features, prompts)`, and work without)."""
    dims: int
    """2 or 3."""
    channels: tuple[int, ...]
    """Channels of the maps that `encode` returns, finest first."""
    strides: tuple[int, ...]
    """Strides of the maps that `encode` returns, finest first."""
    divisor: int
    """Every side of the input must be a multiple of this number."""
    decoder: Decoder
    """The decoder that `forward` uses."""

    @abstractmethod
    def __init__(self, *, dims: int, channels: int, outputs: int, patch: Sequence[int], options: Any) -> None:
        """Build the network with fresh weights.

        Args:
            dims: 2 or 3.
            channels: channels of the input images.
            outputs: classes K of the logits.
            patch: spatial size of the training images.
            options: an instance of `Options`.

        Raises:
            UsageError: if the network cannot take these sizes.
        """
        super().__init__()

    @abstractmethod
    def encode(self, images: Tensor) -> list[Tensor]:
        """Compute the encoder maps.

        Args:
            images: (B, C, *spatial).

        Returns:
            Maps (B, channels[i], *spatial / strides[i]), finest first.
        """

    @abstractmethod
    def new_decoder(self, **variant: Any) -> Decoder:
        """Return a new decoder, with weights of its own, for the same encoder maps.

        Args:
            variant: names the variant, e.g. `upsampling="linear"`.
        """

    def decode(self, features: list[Tensor], size: Sequence[int], decoder: Decoder | None = None) -> Tensor:
        """Turn encoder maps into logits of a given size.

        Args:
            features: encoder maps, finest first.
            size: spatial size of the result; the logits are resized (linear) if their resolution differs.
            decoder: the decoder to use; the backbone's own by default.

        Returns:
            Logits (B, K, *size).
        """
        decoder = self.decoder if decoder is None else decoder
        return self.enlarge(decoder.head(decoder(features)[0]), size)

    def enlarge(self, logits: Tensor, size: Sequence[int]) -> Tensor:
        """Resize logits from a decoder's resolution (linear). For methods that call `decoder.head` themselves.

        Args:
            logits: (B, K, *s).
            size: spatial size of the result.

        Returns:
            Logits (B, K, *size).
        """
        if tuple(logits.shape[2:]) == tuple(size):
            return logits
        return F.interpolate(logits, tuple(size), mode=("bilinear", "trilinear")[self.dims - 2])

    def start_weights(self, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Rename the entries of a weight file to this network's names, before the harness checks names and shapes.

        Override it if published files use other names. By default the entries are returned unchanged.

        Args:
            state: the entries of the file.

        Returns:
            The entries under the names of this network's parameters and buffers.

        Raises:
            IdentityError: if the file belongs to another network.
        """
        return state

    def forward(self, images: Tensor) -> Tensor:
        """Predict.

        Args:
            images: (B, C, *spatial).

        Returns:
            Logits (B, outputs, *spatial).
        """
        return self.decode(self.encode(images), images.shape[2:])


class Backbones(Protocol):
    """Builds backbones for a method; each call draws fresh weights. Weight files that the user gave are loaded and recorded."""

    def __call__(
        self, name: str | None = None, *, channels: int | None = None, outputs: int | None = None, **options: Any
    ) -> Backbone:
        """Build the run's backbone, or another one by name.

        Args:
            name: the backbone to build; the run's own by default.
            channels: input channels, if not the task's.
            outputs: output classes, if not the task's.
            options: override the run's options (own backbone) or the defaults (another backbone).
        """
        ...
