"""Common base of the networks that halve their input four times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from torch import nn

from semibench import Backbone, UsageError

Upsampling = Literal["transposed", "linear", "nearest"]
DIVISOR = 16
NORM_HELP = "normalisation layers; published: batch. Instance and group norm have no running statistics"


class Halving(Backbone):
    """Base of unet, vnet and diffusion-vnet: checks dims and sizes, and exposes the modules of the levels.

    title: name used in messages. A subclass fills `blocks` with one module for each of five levels.
    """

    title: ClassVar[str]
    supported_dims: ClassVar[tuple[int, ...]] = (2, 3)
    blocks: nn.ModuleList

    def __init__(self, *, dims: int, channels: int, outputs: int, patch: Sequence[int], options: Any) -> None:
        super().__init__(dims=dims, channels=channels, outputs=outputs, patch=patch, options=options)
        if dims not in self.supported_dims:
            supported = " or ".join(str(number) for number in self.supported_dims)
            raise UsageError(f"{self.title} works in {supported} dimensions, got dims={dims}: choose another backbone")
        self.dims, self.divisor = dims, DIVISOR
        self.check_size(patch)

    def check_size(self, size: Sequence[int]) -> None:
        """Raises UsageError if a side is not a multiple of 16."""
        if len(size) != self.dims or any(side < DIVISOR or side % DIVISOR for side in size):
            raise UsageError(
                f"{self.title} halves its input four times: expected {self.dims} sides that are multiples of {DIVISOR}, "
                f"got {tuple(size)}"
            )

    @property
    def stages(self) -> tuple[nn.Module, ...]:
        """The modules whose outputs are the five maps of `encode`."""
        return tuple(self.blocks)

    def upsampling_of(self, variant: Mapping[str, Any], default: Upsampling) -> Upsampling:
        """Returns the upsampling that a decoder variant asks for. Raises UsageError for other variants."""
        settings = {"upsampling": default, **variant}
        if len(settings) > 1 or settings["upsampling"] not in ("transposed", "linear", "nearest"):
            raise UsageError(
                f"decoders of {self.title} differ in upsampling='transposed', 'linear' or 'nearest'; got {dict(variant)}"
            )
        return settings["upsampling"]
