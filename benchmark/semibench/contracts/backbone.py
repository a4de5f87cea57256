"""What a network is: an encoder and a decoder that can be called apart."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel
from torch import Tensor, nn
from torch.nn import functional as F


class BackboneOptions(BaseModel, frozen=True, extra="forbid"):
    """Options every backbone has. width: factor on all published channel counts (1: the published network), so that
    small runs are possible; a count is rounded to the nearest integer that the network's norms and heads admit."""

    width: float = 1.0


class Decoder(nn.Module):
    """Turns encoder maps into decoder maps. channels: of the maps it returns, finest first."""

    channels: tuple[int, ...]

    @abstractmethod
    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Encoder maps, finest first -> decoder maps, finest first."""

    @abstractmethod
    def head(self, decoded: Tensor) -> Tensor:
        """Finest decoder map (B, channels[0], *s) -> logits (B, K, *s) at its resolution."""


class Backbone(nn.Module):
    """`__init__(*, dims, channels, outputs, patch, options)`; raises UsageError for sizes it can't take.

    dims: 2 or 3. channels, strides: of encode's maps, finest first. divisor: input sides must be multiples of it.
    provides: "stages" (a property with the modules whose outputs are the maps, for hooks; not a second registration),
    "time" (`encode(images, noisy=None, time=None)`; no time skips the fusion), "dropout", "prompts".
    """

    Options: ClassVar[type[BackboneOptions]] = BackboneOptions
    provides: ClassVar[frozenset[str]] = frozenset()
    dims: int
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    divisor: int
    decoder: Decoder

    @abstractmethod
    def __init__(self, *, dims: int, channels: int, outputs: int, patch: Sequence[int], options: Any) -> None:
        super().__init__()

    @abstractmethod
    def encode(self, images: Tensor) -> list[Tensor]:
        """(B, C, *spatial) -> maps, finest first."""

    @abstractmethod
    def new_decoder(self, **variant: Any) -> Decoder:
        """A fresh decoder (own weights) for the same maps; variants are named, e.g. upsampling="linear"."""

    def decode(self, features: list[Tensor], size: Sequence[int], decoder: Decoder | None = None) -> Tensor:
        """Logits (B, K, *size) of the finest decoder map, resized (linear) where its resolution differs."""
        chosen = self.decoder if decoder is None else decoder
        return self.enlarge(chosen.head(chosen(features)[0]), size)

    def enlarge(self, logits: Tensor, size: Sequence[int]) -> Tensor:
        """Logits at a decoder's resolution -> (B, K, *size), linear; for methods that call `decoder.head` themselves."""
        if tuple(logits.shape[2:]) == tuple(size):
            return logits
        return F.interpolate(logits, tuple(size), mode=("bilinear", "trilinear")[self.dims - 2])

    def start_weights(self, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Entries of a weight file under this network's names, before they are checked by key and shape; default: as they
        are. Override where published files have other names. May raise IdentityError."""
        return state

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, outputs, *spatial)."""
        return self.decode(self.encode(images), images.shape[2:])


class Backbones(Protocol):
    """Builds the run's backbone, or another by name; each call draws fresh weights. Given weight files are loaded and
    recorded. channels, outputs: other than the task's; options: over the run's (own backbone) or the defaults (another)."""

    def __call__(
        self, name: str | None = None, *, channels: int | None = None, outputs: int | None = None, **options: Any
    ) -> Backbone: ...
