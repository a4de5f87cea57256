"""SAM's image encoder: a plain vision transformer with windows and decomposed relative positions (Kirillov et al., Segment
Anything, ICCV 2023; Li et al., Exploring Plain Vision Transformer Backbones for Object Detection, ECCV 2022)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STRIDE = 16
"""Pixels per side of a token."""
MLP_RATIO = 4
EPSILON = 1e-6
GLOBAL_EVERY = 4
"""A quarter of the blocks sees the whole image: the last of each quarter."""


class ChannelNorm(nn.Module):
    """Layer norm over the channels of maps (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        normed = F.layer_norm(maps.movedim(1, -1), self.weight.shape, self.weight, self.bias, EPSILON)
        return normed.movedim(-1, 1)


class LowRank(nn.Module):
    """LoRA of the queries and values: what a product of two thin matrices adds to them (Hu et al., ICLR 2022). It starts at 0."""

    def __init__(self, channels: int, rank: int) -> None:
        super().__init__()
        self.a_q, self.b_q = nn.Linear(channels, rank, bias=False), nn.Linear(rank, channels, bias=False)
        self.a_v, self.b_v = nn.Linear(channels, rank, bias=False), nn.Linear(rank, channels, bias=False)
        for down, up in ((self.a_q, self.b_q), (self.a_v, self.b_v)):
            nn.init.kaiming_uniform_(down.weight, a=math.sqrt(5))
            nn.init.zeros_(up.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., C) -> (..., 3 C): what is added to queries, keys (nothing) and values."""
        query = self.b_q(self.a_q(tokens))
        return torch.cat([query, torch.zeros_like(query), self.b_v(self.a_v(tokens))], -1)


class Attention(nn.Module):
    """softmax(q k' / sqrt(d) + q r_y + q r_x) v: the position of a key relative to a query counts along each axis by itself."""

    def __init__(self, channels: int, heads: int, size: Sequence[int]) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * size[0] - 1, channels // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * size[1] - 1, channels // heads))
        self.lora: LowRank | None = None

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, H, W, C) -> the same shape."""
        batch, height, width, channels = tokens.shape
        qkv = self.qkv(tokens) if self.lora is None else self.qkv(tokens) + self.lora(tokens)
        query, key, value = qkv.view(batch, height * width, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        grid = query.unflatten(2, (height, width))
        rows = torch.einsum("bnhwc,hkc->bnhwk", grid, table(self.rel_pos_h, height))
        columns = torch.einsum("bnhwc,wkc->bnhwk", grid, table(self.rel_pos_w, width))
        bias = (rows.unsqueeze(-1) + columns.unsqueeze(-2)).flatten(4).flatten(2, 3)
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.proj(seen.transpose(1, 2).reshape(batch, height, width, channels))


def table(positions: Tensor, side: int) -> Tensor:
    """Relative positions (2 n - 1, d), resized to this side -> (side, side, d): one vector for each pair of query and key."""
    wanted = 2 * side - 1
    if len(positions) != wanted:
        positions = F.interpolate(positions.T[None], wanted, mode="linear")[0].T
    index = torch.arange(side, device=positions.device)
    return positions[index[:, None] - index[None, :] + side - 1]


class Mlp(nn.Module):
    """Two layers with an activation between them."""

    def __init__(self, channels: int, hidden: int, activation: nn.Module) -> None:
        super().__init__()
        self.lin1, self.lin2, self.activation = nn.Linear(channels, hidden), nn.Linear(hidden, channels), activation

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., C) -> the same shape."""
        return self.lin2(self.activation(self.lin1(tokens)))


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)). window: tokens per side of a window; 0: the whole image is one."""

    def __init__(self, channels: int, heads: int, window: int, grid: Sequence[int]) -> None:
        super().__init__()
        self.window = window
        self.norm1, self.norm2 = nn.LayerNorm(channels, EPSILON), nn.LayerNorm(channels, EPSILON)
        self.attn = Attention(channels, heads, (window, window) if window else grid)
        self.mlp = Mlp(channels, MLP_RATIO * channels, nn.GELU())

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, H, W, C) -> the same shape."""
        normed = self.norm1(tokens)
        seen = in_windows(self.attn, normed, self.window) if self.window else self.attn(normed)
        tokens = tokens + seen
        return tokens + self.mlp(self.norm2(tokens))


def in_windows(attention: nn.Module, tokens: Tensor, window: int) -> Tensor:
    """Applies attention to each window of the tokens (B, H, W, C). The last windows are filled up with zeros, as published."""
    batch, height, width, channels = tokens.shape
    down, right = -height % window, -width % window
    padded = F.pad(tokens, (0, 0, 0, right, 0, down))
    rows, columns = (height + down) // window, (width + right) // window
    cut = padded.view(batch, rows, window, columns, window, channels).transpose(2, 3)
    seen = attention(cut.reshape(-1, window, window, channels)).view(cut.shape)
    whole = seen.transpose(2, 3).reshape(batch, height + down, width + right, channels)
    return whole[:, :height, :width]


class PatchEmbedding(nn.Module):
    """Cuts the image into tokens: one linear map of each 16 x 16 square."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(inputs, channels, STRIDE, stride=STRIDE)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, H / 16, W / 16, channels)."""
        return self.proj(images).movedim(1, -1)


class ImageEncoder(nn.Module):
    """Images (B, inputs, H, W) -> maps (B, outputs, H / 16, W / 16).

    Args:
        inputs: channels of the images.
        channels: of the tokens.
        heads: of each attention.
        depth: number of blocks, a multiple of four.
        window: tokens per side of a window.
        grid: tokens per side of the training images. Positions are resized for other images.
        outputs: channels of the maps.
    """

    def __init__(
        self, inputs: int, channels: int, heads: int, depth: int, window: int, grid: Sequence[int], outputs: int
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbedding(inputs, channels)
        self.pos_embed = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, *grid, channels), std=0.02))
        step = depth // GLOBAL_EVERY
        blocks = [Block(channels, heads, 0 if number % step == step - 1 else window, grid) for number in range(depth)]
        self.blocks = nn.Sequential(*blocks)
        self.neck = nn.Sequential(
            nn.Conv2d(channels, outputs, 1, bias=False), ChannelNorm(outputs),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), ChannelNorm(outputs),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        tokens = self.patch_embed(images)
        tokens = tokens + resized(self.pos_embed, tokens.shape[1:3])
        return self.neck(self.blocks(tokens).movedim(-1, 1))

    def adapt(self, rank: int) -> None:
        """Freezes everything and adds LoRA of this rank to each block."""
        self.requires_grad_(False)
        for attention in self.attentions():
            attention.lora = LowRank(attention.proj.in_features, rank)

    def attentions(self) -> list[Attention]:
        """Returns the attention of each block."""
        return [module for module in self.modules() if isinstance(module, Attention)]


def resized(positions: Tensor, grid: Sequence[int]) -> Tensor:
    """Positions (1, H, W, C), resized to a grid of tokens (bilinear)."""
    if tuple(positions.shape[1:3]) == tuple(grid):
        return positions
    return F.interpolate(positions.movedim(-1, 1), tuple(grid), mode="bilinear").movedim(1, -1)
