"""Octave convolution (Chen et al., ICCV 2019): maps split into a high-frequency part and a low-frequency part at half the size."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

Pair = tuple[Tensor, Tensor | None]
"""High-frequency map (B, C, h, w) and low-frequency map (B, D, h / 2, w / 2), or None if there is no such part."""
Channels = tuple[int, int]
"""Channels of the high and the low part; 0 where there is no low part."""


class OctaveConv(nn.Module):
    """high' = W_hh high + up2(W_lh low), low' = W_ll low + W_hl pool2(high), without bias.

    With stride 2, high is averaged to half its size first, which is the size of low, so W_lh low isn't enlarged; low is averaged
    to half its size, too.
    """

    def __init__(self, inputs: Channels, outputs: Channels, side: int, *, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride

        def between(source: int, goal: int) -> nn.Conv2d | None:
            return nn.Conv2d(source, goal, side, padding=side // 2, bias=False) if source and goal else None

        self.high_high, self.high_low = between(inputs[0], outputs[0]), between(inputs[0], outputs[1])
        self.low_high, self.low_low = between(inputs[1], outputs[0]), between(inputs[1], outputs[1])

    def forward(self, pair: Pair) -> Pair:
        """(high, low) -> (high, low)."""
        high, low = pair
        if self.stride == 2:
            high = F.avg_pool2d(high, 2)
        assert self.high_high is not None
        new_high, new_low = self.high_high(high), None
        if self.high_low is not None:
            new_low = self.high_low(F.avg_pool2d(high, 2, ceil_mode=True))
        if low is not None and self.low_high is not None:
            across = self.low_high(low)
            new_high = new_high + (
                across if self.stride == 2 else F.interpolate(across, new_high.shape[2:], mode="nearest")
            )
        if low is not None and self.low_low is not None:
            new_low = new_low + self.low_low(F.avg_pool2d(low, 2) if self.stride == 2 else low)
        return new_high, new_low


class OctaveUnit(nn.Module):
    """An octave convolution, batch norm of each part and, unless `plain`, ReLU."""

    def __init__(self, inputs: Channels, outputs: Channels, side: int, *, stride: int = 1, plain: bool = False) -> None:
        super().__init__()
        self.plain = plain
        self.conv = OctaveConv(inputs, outputs, side, stride=stride)
        self.norms = nn.ModuleList(nn.BatchNorm2d(count) for count in outputs if count)

    def forward(self, pair: Pair) -> Pair:
        """(high, low) -> (high, low)."""
        high, low = self.conv(pair)
        high, low = self.norms[0](high), None if low is None else self.norms[1](low)
        return (high, low) if self.plain else activated((high, low))


class Bottleneck(nn.Module):
    """The bottleneck of ResNet-50 with octave convolutions: 1x1, 3x3 with the stride, 1x1 to four times the channels."""

    def __init__(self, inputs: Channels, outputs: Channels, *, stride: int) -> None:
        super().__init__()
        inner = (outputs[0] // 4, outputs[1] // 4)
        self.first = OctaveUnit(inputs, inner, 1)
        self.second = OctaveUnit(inner, inner, 3, stride=stride)
        self.third = OctaveUnit(inner, outputs, 1, plain=True)
        same = stride == 1 and inputs == outputs
        self.short = None if same else OctaveUnit(inputs, outputs, 1, stride=stride, plain=True)

    def forward(self, pair: Pair) -> Pair:
        """(high, low) -> (high, low)."""
        high, low = pair if self.short is None else self.short(pair)
        new_high, new_low = self.third(self.second(self.first(pair)))
        return activated((new_high + high, None if new_low is None or low is None else new_low + low))


def activated(pair: Pair) -> Pair:
    """ReLU of both parts."""
    return F.relu(pair[0]), None if pair[1] is None else F.relu(pair[1])
