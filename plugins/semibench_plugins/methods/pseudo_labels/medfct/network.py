"""The network of MedFCT: U-Net and Swin-UNet side by side, whose encoders exchange features in the Fourier domain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semibench import Backbone, UsageError
from semibench.blocks import exchange_batch_norm, norm_of
from semibench_plugins.backbones.swin_unet import SwinUNet
from semibench_plugins.backbones.unet import UNet

FILTER_DEVIATION = 0.02


class Outputs(NamedTuple):
    """What both branches say about a batch, the convolutional one first."""

    logits: tuple[Tensor, Tensor]
    """(B, K, *spatial) each."""
    features: tuple[Tensor, Tensor]
    """The coarsest encoder maps."""


def _gate(channels: int) -> nn.Sequential:
    """Real and imaginary parts (B, 2 C, H, W) -> logits of a gate (B, 1, H, W)."""
    hidden = max(1, channels // 4)
    return nn.Sequential(
        nn.Conv2d(2 * channels, hidden, 3, padding=1),
        nn.BatchNorm2d(hidden),
        nn.ReLU(inplace=True),
        nn.Conv2d(hidden, 1, 1),
    )


def _by_position(layer: nn.Linear, maps: Tensor) -> Tensor:
    return layer(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class FourierFusion(nn.Module):
    """Two maps of one size exchange what their spectra U (convolutional branch) and V (transformer) have in common.

    V' = gate(V) U + V, U' = gate(U) V' + U, with gate = sigmoid of a small network on real and imaginary parts. Each spectrum
    is multiplied by a learned real filter, then transformed back and projected to the channels of its branch. The
    filters start near 0, so the exchange grows from nothing.

    inner, outer: channels of the convolutional map and of the transformer's. size: of both maps in training; for
    others the filters are resized.
    """

    def __init__(self, inner: int, outer: int, size: Sequence[int]) -> None:
        super().__init__()
        height, width = size
        self.enter = nn.Conv2d(inner, outer, 1)
        self.first_gate, self.second_gate = _gate(outer), _gate(outer)
        self.first_filter, self.second_filter = (
            nn.Parameter(FILTER_DEVIATION * torch.randn(1, 1, height, width // 2 + 1)) for _ in range(2)
        )
        self.first_leave, self.second_leave = nn.Linear(outer, inner), nn.Linear(outer, outer)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """(B, inner, H, W), (B, outer, H, W) -> what to add to each, in the same shapes."""
        size = tuple(second.shape[2:])
        u = torch.fft.rfft2(self.enter(first).float(), norm="ortho")
        v = torch.fft.rfft2(second.float(), norm="ortho")
        v = self._weight(self.second_gate, v) * u + v
        u = self._weight(self.first_gate, u) * v + u
        back = [
            torch.fft.irfft2(spectrum * self._filter(learned, spectrum), s=size, norm="ortho")
            for spectrum, learned in ((u, self.first_filter), (v, self.second_filter))
        ]
        return _by_position(self.first_leave, back[0]), _by_position(self.second_leave, back[1])

    @staticmethod
    def _weight(gate: nn.Module, spectrum: Tensor) -> Tensor:
        return gate(torch.cat([spectrum.real, spectrum.imag], 1)).float().sigmoid()

    @staticmethod
    def _filter(learned: Tensor, spectrum: Tensor) -> Tensor:
        if learned.shape[2:] == spectrum.shape[2:]:
            return learned
        return F.interpolate(learned, tuple(spectrum.shape[2:]), mode="bilinear")


class JointNetwork(nn.Module):
    """Both encoders run in step; after each of the transformer's first three stages the maps of equal stride exchange
    features. Each branch has its own decoder. The gates use the normalisation of the U-Net.

    Raises:
        UsageError: if the networks aren't a U-Net and a Swin-UNet.
    """

    def __init__(self, first: Backbone, second: Backbone, patch: Sequence[int]) -> None:
        super().__init__()
        if not isinstance(first, UNet) or not isinstance(second, SwinUNet):
            raise UsageError(
                "medfct joins the encoders of unet and swin-unet; "
                f"got {type(first).__name__} and {type(second).__name__}: choose --backbone unet"
            )
        self.first, self.second = first, second
        self.start = first.strides.index(second.strides[0])
        shared = list(zip(first.channels[self.start :], second.channels, second.strides, strict=False))
        fusions = [FourierFusion(inner, outer, [side // stride for side in patch]) for inner, outer, stride in shared]
        self.fusions = nn.ModuleList(exchange_batch_norm(fusion, norm_of(first)) for fusion in fusions)

    def encode(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """(B, C, H, W) -> the maps of both encoders, finest first."""
        if any(side % self.second.divisor for side in images.shape[2:]):
            raise UsageError(
                f"this swin-unet needs sides that are multiples of {self.second.divisor}, got {tuple(images.shape[2:])}"
            )
        one: list[Tensor] = []
        for block in self.first.blocks[: self.start]:
            one.append(block(self.first.pool(one[-1]) if one else images))
        two: list[Tensor] = []
        for level, stage in enumerate(self.second.stages):
            two.append(stage(two[-1] if two else images))
            if level < len(self.fusions):
                one.append(self.first.blocks[self.start + level](self.first.pool(one[-1])))
                for maps, added in zip((one, two), self.fusions[level](one[-1], two[-1]), strict=True):
                    maps[-1] = maps[-1] + added
        return one, two

    def forward(self, images: Tensor) -> Outputs:
        """(B, C, H, W) -> logits and coarsest features of both branches."""
        one, two = self.encode(images)
        size = images.shape[2:]
        return Outputs((self.first.decode(one, size), self.second.decode(two, size)), (one[-1], two[-1]))
