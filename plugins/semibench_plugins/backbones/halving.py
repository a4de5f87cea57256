"""What the networks that halve their input four times have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from torch import nn

from semibench import Backbone, UsageError

Upsampling = Literal["transposed", "linear", "nearest"]
DIVISOR = 16


class Halving(Backbone):
    """Base of unet, vnet and diffusion-vnet: dims, divisor and the sizes they take, the modules of their levels.

    title: the name in messages; takes: the dims. A subclass fills `blocks`, one module for each of five levels.
    """

    title: ClassVar[str]
    takes: ClassVar[tuple[int, ...]] = (2, 3)
    blocks: nn.ModuleList

    def __init__(self, *, dims: int, channels: int, outputs: int, patch: Sequence[int], options: Any) -> None:
        super().__init__(dims=dims, channels=channels, outputs=outputs, patch=patch, options=options)
        if dims not in self.takes:
            known = " or ".join(str(number) for number in self.takes)
            raise UsageError(f"{self.title} works in {known} dimensions, got dims={dims}: choose another backbone")
        self.dims, self.divisor = dims, DIVISOR
        self.check_size(patch)

    def check_size(self, size: Sequence[int]) -> None:
        """Raises UsageError where a side is no multiple of 16."""
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
        """The upsampling that a decoder's variant asks for. Raises UsageError for anything else."""
        wanted = {"upsampling": default, **variant}
        if len(wanted) > 1 or wanted["upsampling"] not in ("transposed", "linear", "nearest"):
            raise UsageError(
                f"decoders of {self.title} differ in upsampling='transposed', 'linear' or 'nearest'; got {dict(variant)}"
            )
        return wanted["upsampling"]
