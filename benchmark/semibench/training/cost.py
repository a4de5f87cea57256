"""The cost of a method: its parameters, those used for prediction, and the operations for one patch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from semibench.contracts.method import Method, Task


@dataclass(frozen=True)
class Cost:
    """The cost of a method."""

    parameters: int
    """Number of parameters that the method holds, teachers included, each counted once."""
    inference_parameters: int
    """Number of parameters that the default predictor reads."""
    gflops: float
    """10^9 floating-point operations of convolutions, matrix products and attention for one patch of one image; a multiply-add
    counts as two."""

    def record(self) -> dict[str, float | int]:
        """Return the part "model" of result.json."""
        return asdict(self)


class _Reads(TorchDispatchMode):
    """Collects the storages that operations read while the mode is active."""

    def __init__(self) -> None:
        super().__init__()
        self.storages: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        for value in tree_leaves((args, kwargs or {})):
            if isinstance(value, Tensor):
                self.storages.add(value.untyped_storage().data_ptr())
        return func(*args, **(kwargs or {}))


def predictor_cost(module: nn.Module, predict: Callable[[Tensor], Tensor], image: Tensor) -> Cost:
    """Measure `predict(image)` among the parameters of `module`. The image is (1, C, *spatial), on the module's device."""
    with torch.no_grad(), _Reads() as reads, FlopCounterMode(display=False) as counter:
        predict(image)
    parameters = list(dict.fromkeys(module.parameters()))
    read = [p for p in parameters if p.untyped_storage().data_ptr() in reads.storages]
    return Cost(
        parameters=sum(p.numel() for p in parameters),
        inference_parameters=sum(p.numel() for p in read),
        gflops=counter.get_total_flops() / 1e9,
    )


def measure(method: Method, task: Task) -> Cost:
    """Measure a method's default predictor on one patch of the task; the method's mode is restored afterwards.

    Custom kernels (selective scans) are not counted. A method without parameters costs nothing.
    """
    like = next(method.parameters(), None)
    if like is None:
        return Cost(parameters=0, inference_parameters=0, gflops=0.0)
    image = torch.zeros((1, task.channels, *task.patch), device=like.device, dtype=like.dtype)
    training = {module: module.training for module in method.modules()}
    method.eval()
    try:
        return predictor_cost(method, next(iter(method.predictors().values())), image)
    finally:
        for module, mode in training.items():
            module.training = mode
