"""The adapter: a plain torch network with the contract of a backbone."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, SupportsIndex

import torch
from torch import Tensor, nn

from semibench.contracts.backbone import Backbone, Decoder
from semibench.contracts.errors import SemibenchError, UnsupportedError, UsageError, one_line
from semibench.discovery.adapted.arguments import Arguments, arguments_of
from semibench.discovery.adapted.probing import Parts, parts_of


class Levels(tuple[int, ...]):
    """Channels or strides of the maps of a network that has one map or none. Asking for another says which network lacks it."""

    network: str = ""

    @classmethod
    def of(cls, network: str, values: Sequence[int]) -> Levels:
        """Return the values as levels of a network."""
        levels = cls(values)
        levels.network = network
        return levels

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, SupportsIndex) and not -len(self) <= index.__index__() < len(self):
            raise UnsupportedError(
                f"network {self.network} gives {len(self) or 'no'} encoder map{'' if len(self) == 1 else 's'}, and this method "
                f"asks for another; it needs a network that is written as a backbone (semibench.Backbone)"
            )
        return super().__getitem__(index)


class LastLayer(Decoder):
    """The last layer of a network: its map is what the rest of the network returns."""

    def __init__(self, network: str, layer: nn.Module, channels: int) -> None:
        super().__init__()
        self.channels = Levels.of(network, (channels,))
        self.layer = layer

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Return the map of the encoder."""
        return features[:1]

    def head(self, decoded: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.layer(decoded)
        return logits


class NoDecoder(Decoder):
    """Stands for the decoder of a network that can't be taken apart. why: the sentence for whoever uses it."""

    def __init__(self, network: str, why: str) -> None:
        super().__init__()
        self.channels, self.why = Levels.of(network, ()), why

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Raise UnsupportedError."""
        raise UnsupportedError(self.why)

    def head(self, decoded: Tensor) -> Tensor:
        """Raise UnsupportedError."""
        raise UnsupportedError(self.why)


class PlainNetwork(Backbone):
    """A plain network as a backbone: the encoder is everything but the last layer, the decoder is that layer.

    A network whose result isn't that of a last convolution to the classes can't be taken apart: it predicts, and says so to
    methods that ask for its encoder or decoder."""

    arguments: ClassVar[Arguments]

    def __init__(self, *, dims: int, channels: int, outputs: int, patch: Sequence[int], options: Any) -> None:
        super().__init__(dims=dims, channels=channels, outputs=outputs, patch=patch, options=options)
        name = type(self).__name__
        size = tuple(patch)
        self.dims, self.size = dims, size
        self.network = self._built(dims, channels, outputs, size, options)
        parts = _parts(type(self), dims, channels, outputs, size, options)
        self.divisor = parts.divisor
        if any(side % parts.divisor for side in size):
            raise UsageError(f"network {name}: sides must be multiples of {parts.divisor}; the patch is {size}")
        self.last = parts.last
        if not parts.last:
            self.channels, self.strides = Levels.of(name, ()), Levels.of(name, ())
            self.decoder: Decoder = NoDecoder(name, _why_whole(name, parts))
            return
        self.channels, self.strides = Levels.of(name, (parts.channels,)), Levels.of(name, (parts.stride,))
        parent, _, leaf = parts.last.rpartition(".")
        holder = self.network.get_submodule(parent)
        self.decoder = LastLayer(name, holder._modules[leaf], parts.channels)  # type: ignore[arg-type]
        holder._modules[leaf] = nn.Identity()

    @classmethod
    def _built(cls, dims: int, channels: int, outputs: int, patch: Sequence[int], options: Any) -> nn.Module:
        try:
            return cls.arguments.build(dims=dims, channels=channels, outputs=outputs, patch=patch, options=options)
        except SemibenchError:
            raise
        except Exception as error:
            given = ", ".join(f"{name}={value!r}" for name, value in options.model_dump().items())
            raise UsageError(
                f"network {cls.__name__} can't be built for {dims}D with {channels} channels and {outputs} classes"
                f"{f' and {given}' if given else ''}: {type(error).__name__}: {one_line(error)[:300]}"
            ) from error

    @classmethod
    def remark(cls, *, dims: int, channels: int, outputs: int, patch: Sequence[int], options: Any) -> str:
        """Return a sentence on how the network is taken apart."""
        parts = _parts(cls, dims, channels, outputs, tuple(patch), options)
        if not parts.last:
            return _why_whole(cls.__name__, parts)
        return (
            f"network {cls.__name__}: all but its last layer {parts.last!r} is the encoder, with one map of {parts.channels} "
            "channels; a new decoder is a new last layer"
        )

    def encode(self, images: Tensor) -> list[Tensor]:
        """See `Backbone.encode`."""
        if not self.last:
            raise UnsupportedError(self.decoder.why)
        return [self.network(images)]

    def new_decoder(self, **variant: Any) -> Decoder:
        """See `Backbone.new_decoder`; the decoder is a new last layer."""
        if variant:
            raise UsageError(f"network {type(self).__name__} has no variants of its decoder; got {', '.join(variant)}")
        if not isinstance(self.decoder, LastLayer):
            raise UnsupportedError(self.decoder.why)
        layer = copy.deepcopy(self.decoder.layer)
        for module in layer.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
        return LastLayer(type(self).__name__, layer, self.decoder.channels[0])

    def forward(self, images: Tensor) -> Tensor:
        """See `Backbone.forward`."""
        if self.last:
            return super().forward(images)
        return self.enlarge(self.network(images), images.shape[2:])

    def start_weights(self, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """See `Backbone.start_weights`: files have the names of the plain network."""
        if any(name.startswith(("network.", "decoder.layer.")) for name in state):
            return state
        inside = f"{self.last}."
        return {
            f"decoder.layer.{name.removeprefix(inside)}"
            if self.last and name.startswith(inside)
            else f"network.{name}": value
            for name, value in state.items()
        }


def _why_whole(name: str, parts: Parts) -> str:
    return (
        f"network {name} can't be taken apart: {parts.why}; methods that only call the network can use it, those that need its "
        "encoder maps or further decoders can't"
    )


_known: dict[tuple[Any, ...], Parts] = {}


def _parts(
    cls: type[PlainNetwork], dims: int, channels: int, outputs: int, patch: Sequence[int], options: Any
) -> Parts:
    """Return how the network is taken apart; found out once for each way to build it."""
    key = (cls, dims, channels, outputs, patch, options.model_dump_json())
    if key not in _known:
        try:
            with torch.device("meta"):
                network = cls._built(dims, channels, outputs, patch, options)
        except UsageError:  # its constructor computes something
            with torch.random.fork_rng(devices=[]):
                network = cls._built(dims, channels, outputs, patch, options)
        _known[key] = parts_of(network, cls.__name__, channels=channels, outputs=outputs, patch=patch)
    return _known[key]


DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "monai:UNet": {"channels": (16, 32, 64, 128, 256), "strides": (2, 2, 2, 2), "num_res_units": 2},
    "monai:AttentionUnet": {"channels": (16, 32, 64, 128, 256), "strides": (2, 2, 2, 2)},
    "monai:DynUNet": {"kernel_size": (3, 3, 3, 3, 3), "strides": (1, 2, 2, 2, 2), "upsample_kernel_size": (2, 2, 2, 2)},
}
"""Arguments for which MONAI has no defaults: five levels, with the channels of MONAI's own examples."""


@functools.cache
def adapted(network: type[nn.Module]) -> type[PlainNetwork]:
    """Return a plain network's class as a backbone's class of the same name.

    Raises:
        UsageError: if its constructor needs what can't be given as a setting.
    """
    arguments = arguments_of(network, DEFAULTS.get(f"{network.__module__.partition('.')[0]}:{network.__name__}"))
    members = {
        "arguments": arguments, "Options": arguments.options, "__doc__": network.__doc__, "__module__": network.__module__,
        "__qualname__": network.__qualname__,
    }  # fmt: skip
    return type(network.__name__, (PlainNetwork,), members)
