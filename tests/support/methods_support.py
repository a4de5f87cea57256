"""Small tasks, samples and backbones for tests of single methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from semibench import Clock, Losses, Method, Samples
from semibench.conformance import MethodCase
from semibench_plugins.backbones.unet import UNet
from semibench_plugins.backbones.vnet import VNet


def case_of(method: type[Method], dims: int = 2, **changes: Any) -> MethodCase:
    values: dict[str, Any] = {"backbone": UNet if dims == 2 else VNet, "dims": dims} | changes
    return MethodCase(method, **values)


def clock(stage: str = "train", step: int = 0, steps: int = 100) -> Clock:
    return Clock(stage, step, steps, {})


def samples(image: Tensor, label: Tensor | None = None, domain: Tensor | None = None) -> Samples:
    valid = torch.ones((len(image), *image.shape[2:]), dtype=torch.bool)
    where = torch.zeros(len(image), dtype=torch.int64) if domain is None else domain
    return Samples(image, (), label, valid, where, torch.arange(len(image)))


class Collected:
    """An `optimise` that only records its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[dict[str, Tensor], tuple[str, ...]]] = []

    def __call__(self, losses: Losses, *, on: Sequence[str] = (), step: bool = True) -> bool:
        self.calls.append((dict(losses), tuple(on)))
        return step

    @property
    def losses(self) -> dict[str, Tensor]:
        return {name: value for losses, _ in self.calls for name, value in losses.items()}
