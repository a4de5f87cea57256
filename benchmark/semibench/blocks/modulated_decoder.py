"""Images from maps of anatomy and a code of appearance: decoders whose features a code scales and shifts."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Modulation = Literal["film", "adain"]
"""How a code changes features: "film" scales and shifts them (Perez et al., AAAI 2018), "adain" normalises each channel of each
image first (Huang & Belongie, ICCV 2017)."""


class ModulatedDecoder(nn.Module):
    """Draws images in [-1, 1] from spatial maps and a code (SDNet, DGNet).

    `layers` convolutions of kernel 3 keep the number of channels; behind each, every channel is scaled and shifted by numbers
    that a small network makes of the code, and a leaky ReLU follows. Two more convolutions, to half the channels and to the
    image, end in tanh. The network has two hidden layers with ReLU. Its last biases start at a scale of 1 and a shift of 0.

    Args:
        dims: 2 or 3.
        contents: channels of the spatial maps.
        code: length of the code.
        outputs: channels of the images.
        kind: the modulation.
        layers: number of modulated convolutions.
        hidden: width of the small network.
        positive: whether a ReLU keeps scales and shifts from being negative (DGNet).

    Examples:
        >>> decoder = ModulatedDecoder(2, contents=8, code=16, outputs=1)
        >>> decoder(torch.zeros(3, 8, 6, 6), torch.zeros(3, 16)).shape
        torch.Size([3, 1, 6, 6])
    """

    def __init__(
        self,
        dims: int,
        *,
        contents: int,
        code: int,
        outputs: int,
        kind: Modulation = "adain",
        layers: int = 2,
        hidden: int = 256,
        positive: bool = False,
    ) -> None:
        super().__init__()
        conv: type[nn.Conv2d] | type[nn.Conv3d] = nn.Conv2d if dims == 2 else nn.Conv3d
        self.kind, self.positive = kind, positive
        self.modulated = nn.ModuleList(conv(contents, contents, 3, padding=1) for _ in range(layers))
        half = max(1, contents // 2)
        self.last = nn.Sequential(
            conv(contents, half, 3, padding=1), nn.LeakyReLU(0.01, inplace=True), conv(half, outputs, 3, padding=1)
        )
        numbers = nn.Linear(hidden, 2 * layers * contents)
        with torch.no_grad():
            scales, shifts = numbers.bias.view(layers, 2, contents).unbind(1)
            scales.fill_(1.0)
            shifts.zero_()
        self.scales_and_shifts = nn.Sequential(
            nn.Linear(code, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, hidden), nn.ReLU(inplace=True), numbers
        )

    def forward(self, contents: Tensor, code: Tensor) -> Tensor:
        """Maps (B, contents, *spatial) and codes (B, code) to images (B, outputs, *spatial) in [-1, 1]."""
        numbers: Tensor = self.scales_and_shifts(code)
        if self.positive:
            numbers = numbers.relu()
        shape = (len(contents), len(self.modulated), 2, contents.shape[1], *[1] * (contents.ndim - 2))
        features = contents
        for layer, both in zip(self.modulated, numbers.view(shape).unbind(1), strict=True):
            scale, shift = both.unbind(1)
            features = layer(features)
            if self.kind == "adain":
                features = F.instance_norm(features)
            features = F.leaky_relu(scale * features + shift, 0.01)
        drawn: Tensor = torch.tanh(self.last(features).float())
        return drawn
