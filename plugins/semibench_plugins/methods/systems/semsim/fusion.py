"""The spatial-aware fusion module of SemSim (arXiv 2410.13486, Eq. 14 to 17) and the plain convolution that replaces it.

Three encoder maps at consecutive scales are projected to D channels and cut into windows that cover the same part of the
image at each scale. The tokens of a window (8 x 8 + 4 x 4 + 2 x 2 = 84 for the stages 112, 56 and 28 of an image of 224)
pass through one transformer block; the scales are then merged on the middle grid. Sizes are those of the predecessor's
code (MedicalMatch).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Fusion = Literal["reverse", "direct"]
CONV: dict[int, type[nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
NORM: dict[int, type[nn.Module]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
LINEAR = {2: "bilinear", 3: "trilinear"}
SCALES = 3
HEADS = 8
DROPOUT = 0.1


def windows(maps: Tensor, sides: Sequence[int]) -> Tensor:
    """(B, *spatial, D) -> (B, windows, tokens per window, D). sides: sides of a window; they must divide the map's sides."""
    count, channels, dims = len(maps), maps.shape[-1], maps.ndim - 2
    split: list[int] = []
    for size, side in zip(maps.shape[1:-1], sides, strict=True):
        split += [size // side, side]
    order = [0, *range(1, 2 * dims, 2), *range(2, 2 * dims + 1, 2), 2 * dims + 1]
    cut = maps.reshape(count, *split, channels).permute(order)
    return cut.flatten(1, dims).flatten(2, 1 + dims)


def unwindow(tokens: Tensor, size: Sequence[int], sides: Sequence[int]) -> Tensor:
    """The inverse of `windows`: (B, windows, tokens, D) -> (B, *size, D)."""
    dims, channels = len(size), tokens.shape[-1]
    cells = [whole // side for whole, side in zip(size, sides, strict=True)]
    order = [0]
    for axis in range(dims):
        order += [1 + axis, 1 + dims + axis]
    apart = tokens.reshape(len(tokens), *cells, *sides, channels).permute(*order, 2 * dims + 1)
    return apart.reshape(len(tokens), *size, channels)


class WindowBlock(nn.Module):
    """A pre-norm transformer block on the tokens of each window: attention with 8 heads, then an MLP four times as wide.

    scaled: divide the logits by the root of a head's channels; the predecessor's code doesn't.
    """

    def __init__(self, channels: int, *, scaled: bool = True) -> None:
        super().__init__()
        self.scaled = scaled
        self.before_attention = nn.LayerNorm(channels, eps=1e-6)
        self.before_mlp = nn.LayerNorm(channels, eps=1e-6)
        self.queries_keys_values = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, 4 * channels), nn.GELU(), nn.Dropout(DROPOUT), nn.Linear(4 * channels, channels),
            nn.Dropout(DROPOUT),
        )  # fmt: skip

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, windows, tokens, D) -> the same shape; windows don't see each other."""
        tokens = tokens + self.project(self._attend(self.before_attention(tokens)))
        return tokens + self.mlp(self.before_mlp(tokens))

    def _attend(self, tokens: Tensor) -> Tensor:
        apart = self.queries_keys_values(tokens).unflatten(-1, (3, HEADS, -1)).flatten(0, 1)
        queries, keys, values = apart.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(queries, keys, values, scale=None if self.scaled else 1.0)
        return attended.transpose(1, 2).flatten(-2).reshape(tokens.shape)


class SpatialAwareFusion(nn.Module):
    """Encoder maps at three scales, finest first -> features (B, D, *grid) on the middle grid.

    window: side of a window at the coarsest scale; the others have 2 and 4 times that. fusion "reverse" (the code): a
    linear layer restores each scale's own channels c; the maps are resized and concatenated; then 3x3 convolution with
    batch norm and ReLU, and 1x1 to D. "direct" (Eq. 17 to the letter): ReLU(BN(conv3x3)) from 3 D to D.
    Parameters for c = 32, 64, 128, D = 128, 2D: 737,280 (29,056 in + 198,272 block + 28,896 out + 452,256 + 28,800);
    direct: 670,080.
    """

    def __init__(
        self,
        channels: Sequence[int],
        dims: int,
        *,
        width: int = 128,
        window: int = 2,
        blocks: int = 1,
        scaled: bool = True,
        fusion: Fusion = "reverse",
    ) -> None:
        super().__init__()
        self.dims = dims
        self.sides = tuple((window * 2**level,) * dims for level in reversed(range(SCALES)))
        self.inward = nn.ModuleList(nn.Linear(count, width) for count in channels)
        self.blocks = nn.Sequential(*(WindowBlock(width, scaled=scaled) for _ in range(blocks)))
        self.outward = nn.ModuleList(
            nn.Linear(width, count) if fusion == "reverse" else nn.Identity() for count in channels
        )
        total = sum(channels) if fusion == "reverse" else SCALES * width
        hidden = total if fusion == "reverse" else width
        last = [CONV[dims](hidden, width, 1)] if fusion == "reverse" else []
        self.fuse = nn.Sequential(CONV[dims](total, hidden, 3, padding=1), NORM[dims](hidden), nn.ReLU(), *last)

    def mix(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Eq. 14 to 16: three maps (B, c, *spatial) -> three maps of the same sizes after attention within windows."""
        inward = [layer(one.movedim(1, -1)) for layer, one in zip(self.inward, maps, strict=True)]
        tokens = [windows(one, sides) for one, sides in zip(inward, self.sides, strict=True)]
        mixed = self.blocks(torch.cat(tokens, 2)).split([part.shape[2] for part in tokens], dim=2)
        back = [unwindow(part, one.shape[2:], sides) for part, one, sides in zip(mixed, maps, self.sides, strict=True)]
        return [layer(one).movedim(-1, 1) for layer, one in zip(self.outward, back, strict=True)]

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Three maps, finest first -> (B, D, *grid of the second)."""
        fine, middle, coarse = self.mix(maps)
        size, mode = middle.shape[2:], LINEAR[self.dims]
        level = [F.interpolate(one, size, mode=mode, align_corners=True) for one in (fine, coarse)]
        return self.fuse(torch.cat([level[0], middle, level[1]], 1))


class PlainFusion(nn.Sequential):
    """SemSim^-'s replacement: ReLU(BN(conv3x3)) of the middle map, c -> D channels. The paper says only "plain
    convolution"; 74,112 parameters for c = 64, D = 128 in 2D."""

    def __init__(self, channels: Sequence[int], dims: int, *, width: int = 128) -> None:
        super().__init__(CONV[dims](channels[1], width, 3, padding=1), NORM[dims](width), nn.ReLU())

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Three maps, finest first -> (B, D, *grid of the second)."""
        return super().forward(maps[1])
