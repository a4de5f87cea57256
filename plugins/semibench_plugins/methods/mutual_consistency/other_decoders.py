"""Decoders for the maps of a network that differ from its own decoder in how they enlarge maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import nn

from semibench import Backbone, Decoder

Upsampling = Literal["transposed", "linear", "nearest"]
KINDS: tuple[Upsampling, ...] = ("transposed", "linear", "nearest")
"""MC-Net's order: transposed convolutions, linear upsampling, nearest upsampling."""


def other_decoders(net: Backbone, count: int, order: Sequence[Upsampling] = KINDS) -> list[Decoder]:
    """Returns `count` fresh decoders, at most two, each with another upsampling. Those of `order` come in that order, without
    the one that the network's own decoder has."""
    own = _layers(net.decoder)
    fresh = [net.new_decoder(upsampling=kind) for kind in order]
    return [decoder for decoder in fresh if _layers(decoder) != own][:count]


def _layers(decoder: nn.Module) -> list[tuple[type[Any], str]]:
    return [(type(part), part.extra_repr()) for part in decoder.modules()]
