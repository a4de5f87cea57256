"""A correct backbone and a correct method, which tests of the battery break on purpose."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semibench import (
    Backbone,
    Batch,
    Clock,
    Decoder,
    Losses,
    Method,
    Stage,
    Term,
    UsageError,
)
from semibench.blocks import Teacher, cross_entropy, softmax_mse


class TinyDecoder(Decoder):
    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.channels = (width,)
        self.up = nn.Conv2d(2 * width, width, 1)
        self.last = nn.Conv2d(width, outputs, 1)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return [features[0] + F.interpolate(self.up(features[1]), scale_factor=2.0)]

    def head(self, decoded: Tensor) -> Tensor:
        return self.last(decoded)


class Tiny(Backbone):
    """A correct backbone with two levels."""

    provides = frozenset({"stages"})

    def __init__(self, *, dims: int, channels: int, outputs: int, patch: Any, options: Any) -> None:
        super().__init__(dims=dims, channels=channels, outputs=outputs, patch=patch, options=options)
        if dims != 2 or any(side % 2 for side in patch):
            raise UsageError("2D, even sides")
        width = max(1, round(32 * options.width))
        self.dims, self.divisor, self.channels, self.strides = 2, 2, (width, 2 * width), (1, 2)
        self.fine = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.coarse = nn.Conv2d(width, 2 * width, 2, stride=2)
        self.outputs = outputs
        self.decoder = self.new_decoder()

    @property
    def stages(self) -> tuple[nn.Module, ...]:
        return self.fine, self.coarse

    def encode(self, images: Tensor) -> list[Tensor]:
        first = self.fine(images)
        return [first, self.coarse(first)]

    def new_decoder(self, **variant: Any) -> Decoder:
        if variant:
            raise UsageError("no variants")
        return TinyDecoder(self.channels[0], self.outputs)


class Good(Method):
    """A correct method: a mean teacher trained in two stages."""

    terms: Mapping[str, Term] = {"sup": Term(), "unsup": Term(0.5)}

    def __init__(self, task: Any, backbones: Any, options: Any) -> None:
        super().__init__(task, backbones, options)
        self.net = backbones()
        self.teacher = Teacher(self.net, 0.9)

    def stages(self) -> tuple[Stage, ...]:
        return Stage("first", 0.5), Stage("second", 0.5)

    def begin(self, stage: str, pools: Any) -> None:
        self.teacher.copy(self.net)

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        u = batch["unlabeled"].image
        target = self.teacher(u + 0.1 * torch.randn_like(u)).softmax(1)
        return {
            "sup": cross_entropy(self.net(batch["labeled"].image), batch["labeled"].target),
            "unsup": softmax_mse(self.net(u), target),
        }

    def after_step(self, clock: Clock) -> None:
        self.teacher.update(self.net)

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)

    def predictors(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        return {"net": self, "teacher": self.teacher}
