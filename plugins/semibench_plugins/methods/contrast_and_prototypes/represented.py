"""A network with a second head that represents each position by a vector."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from semibench import Backbone

LEAST_WIDTH = 8


class Represented(nn.Module):
    """A network with a second head on the decoder's last map: two 3x3 convolutions (batch norm, ReLU, channel dropout .1) and a 1x1
    convolution give the representation. width: its channels; by default half of the map's, at least 8."""

    def __init__(self, net: Backbone, width: int | None = None) -> None:
        super().__init__()
        self.net = net
        inputs = net.decoder.channels[0]
        self.width = width or max(inputs // 2, LEAST_WIDTH)
        layers: list[nn.Module] = []
        for channels in (inputs, self.width):
            layers += [nn.Conv2d(channels, self.width, 3, padding=1), nn.BatchNorm2d(self.width), nn.ReLU(inplace=True)]
            layers += [nn.Dropout2d(0.1)]
        self.represent = nn.Sequential(*layers, nn.Conv2d(self.width, self.width, 1))

    def both(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) -> logits (B, K, H, W) and the representation (B, D, h, w)."""
        decoded = self.net.decoder(self.net.encode(images))[0]
        return self.net.enlarge(self.net.decoder.head(decoded), images.shape[2:]), self.represent(decoded)

    def forward(self, images: Tensor, *, features: bool = False) -> Any:
        """(B, C, H, W) -> logits (B, K, H, W), or these and the representation."""
        return self.both(images) if features else self.net(images)
