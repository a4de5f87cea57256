"""Attention between the channels of two sets of maps, in small windows and over whole maps (SKCDF)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ChannelAttention(nn.Module):
    """Attends from channels to channels: a token is what one channel shows in a window.

    Tokens are (B, windows, n, C), n numbers for each of C channels. With h heads, q, k, v map C to h C channels. From other
    samples, a channel looks at the h C channels of the same window in *all* of them; within a sample, each head on its
    own looks at its C channels, every h-th of them (in the code so in small windows; over whole maps it takes C in a row).
    Scores are normalised over each matrix (mean 0, deviation 1) instead of scaled.
    """

    def __init__(self, channels: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(channels, heads * channels, bias=False) for _ in range(3))
        self.out = nn.Linear(heads * channels, channels, bias=False)
        self.dropout = nn.Dropout(dropout)
        for layer in (self.query, self.key, self.value, self.out):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, tokens: Tensor, others: Tensor | None = None) -> Tensor:
        """Tokens (B, W, n, C), those of other samples (B', W, n, C) or None -> (B, W, n, C)."""
        found = self._within(tokens) if others is None else self._between(tokens, others)
        return cast(Tensor, self.dropout(self.out(found)))

    def _between(self, tokens: Tensor, others: Tensor) -> Tensor:
        query = self.query(tokens).transpose(2, 3)  # (B, W, hC, n)
        key, value = (part(others).permute(1, 2, 0, 3).flatten(2) for part in (self.key, self.value))  # (W, n, B' hC)
        return (self._weights(query @ key) @ value.transpose(1, 2)).transpose(2, 3)

    def _within(self, tokens: Tensor) -> Tensor:
        query, key, value = (
            part(tokens).unflatten(3, (-1, self.heads)).permute(0, 1, 4, 3, 2)  # (B, W, h, C, n)
            for part in (self.query, self.key, self.value)
        )
        return (self._weights(query @ key.transpose(3, 4)) @ value).permute(0, 1, 4, 3, 2).flatten(3)

    def _weights(self, scores: Tensor) -> Tensor:
        return cast(Tensor, self.dropout(F.layer_norm(scores, scores.shape[-2:]).softmax(-1)))


class WindowAttention(nn.Module):
    """Attention block over windows of a map: tokens by a convolution shared by all channels, attention, sum with the tokens,
    layer norm, 1 x 1 convolution, GELU. grid: sides of the map; window: sides of a window, which divide them."""

    def __init__(self, channels: int, grid: Sequence[int], window: Sequence[int], heads: int, dropout: float) -> None:
        super().__init__()
        conv: Any = (nn.Conv2d, nn.Conv3d)[len(grid) - 2]
        self.window, self.windows = tuple(window), tuple(g // w for g, w in zip(grid, window, strict=True))
        size = math.prod(window)
        self.tokens = conv(1, size, self.window, stride=self.window)
        self.before, self.after = nn.LayerNorm(channels, eps=1e-6), nn.LayerNorm(channels, eps=1e-6)
        self.attention = ChannelAttention(channels, heads, dropout)
        self.project = conv(channels, channels, 1)

    def tokenised(self, maps: Tensor) -> Tensor:
        """(B, C, *grid) -> tokens (B, windows, numbers of a window, C)."""
        count, channels = maps.shape[:2]
        tokens = self.tokens(maps.flatten(0, 1).unsqueeze(1)).flatten(2)
        return cast(Tensor, tokens.unflatten(0, (count, channels)).permute(0, 3, 2, 1))

    def forward(self, maps: Tensor, others: Tensor | None = None) -> Tensor:
        """Maps (B, C, *grid), those of other samples or None -> maps of the same shape."""
        tokens = self.tokenised(maps)
        context = None if others is None else self.before(self.tokenised(others))
        found = self.after(tokens + self.attention(self.before(tokens), context))
        return F.gelu(self.project(self.folded(found)))

    def folded(self, tokens: Tensor) -> Tensor:
        """Tokens (B, windows, numbers of a window, C) -> (B, C, *grid): each number at its place in the window."""
        dims = len(self.window)
        parts = tokens.permute(0, 3, 1, 2).unflatten(3, self.window).unflatten(2, self.windows)
        order = [axis for place in range(dims) for axis in (2 + place, 2 + dims + place)]
        grid = [w * s for w, s in zip(self.windows, self.window, strict=True)]
        return parts.permute(0, 1, *order).reshape(*parts.shape[:2], *grid)


class Complementarity(nn.Module):
    """Attention in windows of two per side (one where a side is odd), then over the whole map. It is built for the grid of a
    training patch; a map of another size is resized to it and back."""

    def __init__(self, channels: int, grid: Sequence[int], *, heads: int = 2, dropout: float = 0.1) -> None:
        super().__init__()
        self.grid = tuple(grid)
        window = [2 if side % 2 == 0 else 1 for side in grid]
        self.near = WindowAttention(channels, grid, window, heads, dropout)
        self.far = WindowAttention(channels, grid, grid, heads, dropout)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, *spatial): each sample looks at itself."""
        size = tuple(maps.shape[2:])
        if size == self.grid:
            return cast(Tensor, self.far(self.near(maps)))
        return self._resized(self.far(self.near(self._resized(maps, self.grid))), size)

    def between(self, labeled: Tensor, unlabeled: Tensor) -> Tensor:
        """(B_l, C, *spatial), (B_u, C, *spatial) -> (B_l + B_u, C, *spatial): labeled samples look at unlabeled ones and the other
        way round. Gradients flow through the labeled maps of the first B_l results alone."""
        size = tuple(labeled.shape[2:])
        if size != self.grid:
            looked = self.between(self._resized(labeled, self.grid), self._resized(unlabeled, self.grid))
            return self._resized(looked, size)
        unlabeled = unlabeled.detach()
        for block in (self.near, self.far):
            with torch.no_grad():
                complemented = block(unlabeled, labeled)
            labeled, unlabeled = block(labeled, unlabeled), complemented
        return torch.cat([labeled, unlabeled])

    @staticmethod
    def _resized(maps: Tensor, size: Sequence[int]) -> Tensor:
        mode = ("bilinear", "trilinear")[maps.ndim - 4]
        return F.interpolate(maps, tuple(size), mode=mode, align_corners=False)
