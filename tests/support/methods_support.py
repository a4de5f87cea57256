"""Small tasks, samples and backbones for tests of single methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

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


class Constant(nn.Module):
    """The same logits whatever the image; shape (K,) or (K, *spatial)."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, images: Tensor) -> Tensor:
        logits = self.logits.view(len(self.logits), *[1] * (images.ndim - 2)) if self.logits.ndim == 1 else self.logits
        return logits.expand(len(images), len(self.logits), *images.shape[2:])


def blank(label: Tensor | None = None) -> dict[str, Any]:
    """One labeled and one unlabeled image of 2 x 2."""
    label = torch.zeros(1, 2, 2, dtype=torch.int64) if label is None else label
    return {"labeled": samples(torch.zeros(1, 1, 2, 2), label), "unlabeled": samples(torch.zeros(1, 1, 2, 2))}


def quiet(method: Method) -> Method:
    for module in method.modules():
        if isinstance(module, nn.Dropout | nn.Dropout2d | nn.Dropout3d):
            module.p = 0.0
    return method


def gradient(loss: Tensor, module: nn.Module) -> list[Tensor | None]:
    return list(torch.autograd.grad(loss, list(module.parameters()), allow_unused=True, retain_graph=True))


def reached(loss: Tensor, module: nn.Module) -> bool:
    return any(g is not None and bool(g.abs().sum() > 0) for g in gradient(loss, module))
