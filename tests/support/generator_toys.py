"""Pictures for tests of generators."""

from __future__ import annotations

import torch
from torch import Tensor


def frames(count: int, side: int = 40, channels: int = 3, seed: int = 0) -> Tensor:
    """Returns smooth layered pictures with a dark disc, all different, with grey levels in [0, 1]."""
    draw = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.linspace(0, 1, side), torch.linspace(0, 1, side), indexing="ij")
    made = []
    for _ in range(count):
        a = torch.rand(6, generator=draw)
        layers = 0.5 + 0.25 * torch.sin((4 + 8 * a[0]) * y + 6 * a[1] + 3 * (a[2] - 0.5) * x)
        disc = ((x - 0.2 - 0.6 * a[3]) ** 2 + (y - 0.2 - 0.6 * a[4]) ** 2).sqrt() - 0.1 - 0.1 * a[5]
        speckle = 0.05 * torch.randn(side, side, generator=draw)
        made.append((layers * (0.3 + 0.7 * (disc * 40).sigmoid()) + speckle).clamp(0, 1))
    return torch.stack(made)[:, None].repeat(1, channels, 1, 1)
