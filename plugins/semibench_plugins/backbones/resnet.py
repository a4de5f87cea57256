"""ResNets as encoders for dense prediction: four maps, dilated later stages, plain or deep stem.

Module names are torchvision's (conv1, bn1, layer1.0.conv1 ... layer1.0.downsample.0), so that its weight files fit by key.
The deep stem (three 3x3 convolutions, 64, 64 and 128 channels) is that of the PSPNet and U2PL lineage, whose files fit too.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

DEPTHS: dict[int, tuple[int, int, int, int]] = {
    18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3),
}  # fmt: skip
SIMPLE = frozenset({18, 34})
"""Depths with two 3x3 convolutions per block; the others have bottlenecks that end in four times the channels."""

BASE = 64
MULTI_GRID = (2, 2, 4)
"""Factors on the dilations of the last stage, block by block."""


def scaled(channels: int, width: float) -> int:
    """Multiplies a channel count by the width; at least 1."""
    return max(1, round(channels * width))


def conv(inputs: int, outputs: int, side: int, *, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    """Returns a convolution without bias that keeps the size at stride 1."""
    return nn.Conv2d(
        inputs, outputs, side, stride=stride, padding=dilation * (side // 2), dilation=dilation, bias=False
    )


class SimpleBlock(nn.Module):
    """Two 3x3 convolutions plus the identity (He et al., CVPR 2016)."""

    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int, dilation: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(inputs, planes, 3, stride=stride, dilation=dilation), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = conv(planes, planes, 3, dilation=dilation), nn.BatchNorm2d(planes)
        self.relu, self.downsample = nn.ReLU(inplace=True), downsample

    @property
    def last(self) -> nn.BatchNorm2d:
        """The norm before the sum."""
        return self.bn2

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, planes, H / stride, W / stride)."""
        short = x if self.downsample is None else self.downsample(x)
        return self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))) + short)


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride and the dilation) and 1x1 convolutions plus the identity."""

    expansion = 4

    def __init__(self, inputs: int, planes: int, stride: int, dilation: int, downsample: nn.Module | None) -> None:
        super().__init__()
        outputs = planes * self.expansion
        self.conv1, self.bn1 = conv(inputs, planes, 1), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = conv(planes, planes, 3, stride=stride, dilation=dilation), nn.BatchNorm2d(planes)
        self.conv3, self.bn3 = conv(planes, outputs, 1), nn.BatchNorm2d(outputs)
        self.relu, self.downsample = nn.ReLU(inplace=True), downsample

    @property
    def last(self) -> nn.BatchNorm2d:
        """The norm before the sum."""
        return self.bn3

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, 4 planes, H / stride, W / stride)."""
        short = x if self.downsample is None else self.downsample(x)
        inner = self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))))
        return self.relu(self.bn3(self.conv3(inner)) + short)


def dilations(blocks: Sequence[int], output_stride: int, multi_grid: bool) -> tuple[list[int], list[list[int]]]:
    """Returns (stride of each stage, dilations of its blocks) for an output stride of 8, 16 or 32.

    A stage that would exceed the output stride multiplies the dilation instead; its first block keeps the previous
    dilation. multi_grid multiplies the last stage's dilations by (2, 2, 4): [1,2,2,2,2,2] and [4,8,16] for stride 8.
    """
    strides, table = [], []
    total_stride, dilation = 4, 1
    for number, count in enumerate(blocks):
        stride = 1 if number == 0 else 2
        previous = dilation
        if total_stride * stride > output_stride:
            stride, dilation = 1, dilation * stride
        total_stride *= stride
        row = [previous, *[dilation] * (count - 1)]
        if multi_grid and number == len(blocks) - 1:
            row = [value * MULTI_GRID[min(k, len(MULTI_GRID) - 1)] for k, value in enumerate(row)]
        strides.append(stride)
        table.append(row)
    return strides, table


class ResNet(nn.Module):
    """A ResNet without final pooling and classifier. channels, strides: of the four maps, strides relative to the image.

    depth: 18, 34, 50 or 101. inputs: image channels. ceil_pool: round up in the pooling after the stem; the result is the
    same if the map before it has odd sides (513 -> 257 -> 129). zero_last: start the last norm of each block at 0.
    23,508,032 parameters for depth 50 and three channels, 23,631,808 with the deep stem.
    """

    def __init__(
        self,
        depth: int = 50,
        inputs: int = 3,
        *,
        width: float = 1.0,
        output_stride: int = 32,
        deep_stem: bool = False,
        multi_grid: bool = False,
        ceil_pool: bool = False,
        zero_last: bool = False,
    ) -> None:
        super().__init__()
        blocks = DEPTHS[depth]
        kind = SimpleBlock if depth in SIMPLE else Bottleneck
        base = scaled(BASE, width)
        stem = 2 * base if deep_stem else base
        self.conv1: nn.Module = _deep_stem(inputs, base) if deep_stem else nn.Conv2d(inputs, base, 7, 2, 3, bias=False)
        self.bn1, self.relu = nn.BatchNorm2d(stem), nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1, ceil_mode=ceil_pool)
        steps, table = dilations(blocks, output_stride, multi_grid)
        stages, strides, inputs_of_stage, total_stride = [], [], stem, 4
        for number, (step, row) in enumerate(zip(steps, table, strict=True)):
            planes = base * 2**number
            stages.append(_stage(kind, inputs_of_stage, planes, step, row))
            inputs_of_stage, total_stride = planes * kind.expansion, total_stride * step
            strides.append(total_stride)
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.channels = tuple(base * 2**number * kind.expansion for number in range(4))
        self.strides = tuple(strides)
        self._draw(zero_last)

    def _draw(self, zero_last: bool) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif zero_last and isinstance(module, (SimpleBlock, Bottleneck)):
                nn.init.zeros_(module.last.weight)

    @property
    def stages(self) -> tuple[nn.Module, ...]:
        """The modules whose outputs are the four maps."""
        return (self.layer1, self.layer2, self.layer3, self.layer4)

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, inputs, H, W) -> four maps, finest first."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        maps: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


def _deep_stem(inputs: int, base: int) -> nn.Sequential:
    return nn.Sequential(
        conv(inputs, base, 3, stride=2), nn.BatchNorm2d(base), nn.ReLU(inplace=True),
        conv(base, base, 3), nn.BatchNorm2d(base), nn.ReLU(inplace=True),
        conv(base, 2 * base, 3),
    )  # fmt: skip


def _stage(
    kind: type[SimpleBlock] | type[Bottleneck], inputs: int, planes: int, stride: int, row: Sequence[int]
) -> nn.Sequential:
    outputs = planes * kind.expansion
    downsample = None
    if stride != 1 or inputs != outputs:
        downsample = nn.Sequential(conv(inputs, outputs, 1, stride=stride), nn.BatchNorm2d(outputs))
    blocks = [kind(inputs, planes, stride, row[0], downsample)]
    blocks += [kind(outputs, planes, 1, dilation, None) for dilation in row[1:]]
    return nn.Sequential(*blocks)
