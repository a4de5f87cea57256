"""Recipe fields that change how a step is computed: precision, memory format, compilation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from semibench.contracts.backbone import Backbone, Decoder
from semibench.contracts.method import Batch

DTYPES: Mapping[str, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """Return the context for computing a step in "fp32" (no context), "bf16" or "fp16".

    Torch's cache of cast weights is off: in the second pass of an iteration it would return the weights from before the step.
    """
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=DTYPES[precision], cache_enabled=False)


@dataclass
class LossScale:
    """Scale of the loss in fp16 (Micikevicius et al., ICLR 2018), so that small gradients do not vanish.

    Gradients are divided by it as soon as they exist, so that several optimisations in one iteration and sums over passes
    need no special care; powers of two make this exact. It is halved after an iteration with an overflow, and doubled after
    `growth` iterations without one.
    """

    enabled: bool
    scale: float = 65536.0
    good: int = 0
    growth: int = 2000

    def apply(self, loss: Tensor) -> Tensor:
        return loss * self.scale if self.enabled else loss

    def restore(self, gradients: list[Tensor]) -> bool:
        """Divide the gradients in place; return whether all of them are finite (always True without scaling)."""
        if not self.enabled or not gradients:
            return True
        torch._foreach_mul_(gradients, 1.0 / self.scale)
        return bool(nn.utils.get_total_norm(gradients).isfinite())

    def update(self, overflow: bool) -> None:
        """Adapt the scale at the end of an iteration."""
        if not self.enabled:
            return
        if overflow:
            self.scale, self.good = max(self.scale / 2.0, 1.0), 0
        elif self.good + 1 >= self.growth:
            self.scale, self.good = self.scale * 2.0, 0
        else:
            self.good += 1

    def state(self) -> dict[str, float | int]:
        return {"scale": self.scale, "good": self.good}

    def load(self, state: Mapping[str, float | int]) -> None:
        self.scale, self.good = float(state["scale"]), int(state["good"])


def _channels_last(tensor: Tensor) -> Tensor:
    """Return the same values with channels-last strides."""
    # `to`, not `contiguous`: that leaves a single channel unchanged, so that the first convolution and everything after it
    # would run in the other layout.
    if tensor.dim() == 4:
        return tensor.to(memory_format=torch.channels_last)
    if tensor.dim() == 5:
        return tensor.to(memory_format=torch.channels_last_3d)
    return tensor


def weights_channels_last(module: nn.Module) -> None:
    """Convert all 4D and 5D parameters and buffers to channels last, in place; values do not change."""
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            tensor.data = _channels_last(tensor.data)


def batch_channels_last(batch: Batch) -> Batch:
    """Return the same batch with images and strong views in channels last."""
    return {
        name: replace(
            samples, image=_channels_last(samples.image), strong=tuple(_channels_last(view) for view in samples.strong)
        )
        for name, samples in batch.items()
    }


@contextmanager
def compiled(module: nn.Module, how: bool | Literal["cuda-graphs"]) -> Iterator[None]:
    """Compile the calls of every Backbone and Decoder of a method while the context lasts.

    This happens in place (`nn.Module.compile`), so that names in the state do not change. A separate call of `encode` is not
    compiled, but the decoder that uses its maps is.

    Args:
        module: the method.
        how: the recipe's field `compile`.
    """
    parts = [part for part in module.modules() if isinstance(part, Backbone | Decoder)] if how else []
    for part in parts:
        part.compile(mode="reduce-overhead" if how == "cuda-graphs" else None)
    try:
        yield
    finally:
        for part in parts:
            part._compiled_call_impl = None
