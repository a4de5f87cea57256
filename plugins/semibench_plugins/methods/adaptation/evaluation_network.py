"""The network with which DAN tells segmentations of labeled images from those of unlabeled ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEVELS = 4
SLOPE = 0.2
PUBLISHED_WINDOW = 7
"""Side of the pooling windows in SSL4MIS, which leaves two of them along each side of 224 or 256 pixels."""


class EvaluationNetwork(nn.Module):
    """Judges pairs of an image and its softmax map: 1 "the image has a label", 0 "it has none".

    Image and map have a convolution each (f channels), whose sum goes through three more (2f, 4f, 8f); kernel 4,
    stride 2, leaky ReLU .2 behind the three, channel dropout .5 behind the first two of them. Pooling leaves two values along
    each axis in 2D (2048 features for f = 64, as in SSL4MIS) and the mean of the whole map in 3D (512, as in its 3D
    network, which also has an activation and a dropout behind the sum). 2,762,754 parameters in 2D for one channel and
    four classes. Axes too short to halve (under 2) use kernel 3 and stride 1, so inputs under 32 also work.
    """

    def __init__(self, dims: int, channels: int, classes: int, patch: Sequence[int], filters: int = 64) -> None:
        super().__init__()
        conv: type[nn.Conv2d] | type[nn.Conv3d] = nn.Conv2d if dims == 2 else nn.Conv3d
        sides = list(patch)
        convolutions: list[nn.Module] = []
        for level in range(LEVELS):
            halved = [side >= 2 for side in sides]
            kernel, stride = (tuple(a if yes else b for yes in halved) for a, b in ((4, 3), (2, 1)))
            outputs = filters * 2**level
            for inputs in (classes, channels) if level == 0 else (outputs // 2,):
                convolutions.append(conv(inputs, outputs, kernel, stride=stride, padding=1))  # type: ignore[arg-type]
            sides = [side // 2 if yes else side for side, yes in zip(sides, halved, strict=True)]
        self.of_map, self.of_image, *later = convolutions
        self.later = nn.ModuleList(later)
        self.dropout = (nn.Dropout2d if dims == 2 else nn.Dropout3d)(0.5)
        self.parts = [min(2, side) if dims == 2 else 1 for side in sides]
        self.last = nn.Linear(outputs * int(torch.tensor(self.parts).prod()), 2)

    def forward(self, probabilities: Tensor, images: Tensor) -> Tensor:
        """Maps (B, K, *spatial) and images (B, C, *spatial) -> logits (B, 2)."""
        features = self.of_map(probabilities) + self.of_image(images)
        for level, convolution in enumerate(self.later):
            features = F.leaky_relu(convolution(features), SLOPE)
            if level < len(self.later) - 1:
                features = self.dropout(features)
        for axis, parts in enumerate(self.parts, start=2):
            features = pooled(features, axis, parts)
        return self.last(features.flatten(1))


def pooled(maps: Tensor, axis: int, parts: int) -> Tensor:
    """Means of `parts` windows along an axis. Two windows have the published side of 7 where that fits, else half of the side;
    what is left over doesn't count. (Torch's pooling has no deterministic gradient on a GPU in 3D, or if adaptive.)"""
    side = maps.shape[axis]
    published = parts == 2 and 2 * PUBLISHED_WINDOW <= side < 3 * PUBLISHED_WINDOW
    window = PUBLISHED_WINDOW if published else side // parts
    return maps.narrow(axis, 0, parts * window).unflatten(axis, (parts, window)).mean(axis + 1)
