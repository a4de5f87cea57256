"""SAM's prompts and mask decoder (Kirillov et al., ICCV 2023), with one mask per class and a result at full size (CPC-SAM)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semibench import Decoder
from semibench_plugins.backbones.sam.image_encoder import ChannelNorm, Mlp

HEADS = 8
LAYERS = 2
SMALLEST = 8
"""Channels that a narrow network keeps where the published count is smaller: a norm over one channel would erase it."""


class Positions(nn.Module):
    """Sines and cosines of random frequencies: maps places in [0, 1] x [0, 1] to vectors."""

    frequencies: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.randn(2, channels // 2))

    def forward(self, places: Tensor) -> Tensor:
        """(..., 2) as (y, x) -> (..., channels)."""
        angles = 2 * math.pi * ((2 * places.flip(-1) - 1) @ self.frequencies)  # SAM's matrix takes (x, y)
        return torch.cat([angles.sin(), angles.cos()], -1)

    def of_grid(self, size: Sequence[int]) -> Tensor:
        """Returns the vectors of the centres of a grid's cells, (H, W, channels)."""
        axes = [(torch.arange(side, device=self.frequencies.device) + 0.5) / side for side in size]
        return self(torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).to(self.frequencies.dtype))


class PointPrompts(nn.Module):
    """Turns points into tokens: the vector of the place plus one of the class. A last token, as in SAM, says that the list ends."""

    def __init__(self, channels: int, classes: int, positions: Positions) -> None:
        super().__init__()
        self.classes = nn.Parameter(torch.randn(classes, channels))
        self.end = nn.Parameter(torch.randn(channels))
        self._positions = (positions,)  # in a tuple: the network owns them

    def forward(self, points: Tensor, labels: Tensor, size: Sequence[int]) -> Tensor:
        """Points (B, N, 2) as (y, x) in pixels of an image of this size, and their classes (B, N) -> (B, N + 1, channels)."""
        sides = torch.tensor(list(size), device=points.device, dtype=self.end.dtype)
        tokens = self._positions[0]((points.to(sides.dtype) + 0.5) / sides) + self.classes[labels]
        return torch.cat([tokens, self.end.expand(len(tokens), 1, -1)], 1)


class CrossAttention(nn.Module):
    """Multi-head attention whose queries, keys and values come from different tokens. inner: channels in the heads."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(channels, inner) for _ in range(3))
        self.out_proj = nn.Linear(inner, channels)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """(B, N, C), (B, M, C), (B, M, C) -> (B, N, C)."""
        parts = [
            layer(tokens).unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for layer, tokens in ((self.q_proj, query), (self.k_proj, key), (self.v_proj, value))
        ]
        return self.out_proj(F.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2))


class TwoWayLayer(nn.Module):
    """Tokens look at themselves and at the image, pass a perceptron, and the image looks at the tokens. first: tokens have no
    positions of their own yet, and are replaced instead of added to."""

    def __init__(self, channels: int, hidden: int, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = CrossAttention(channels, channels)
        self.cross_attn_token_to_image = CrossAttention(channels, channels // 2)
        self.mlp = Mlp(channels, hidden, nn.ReLU())
        self.cross_attn_image_to_token = CrossAttention(channels, channels // 2)
        self.norm1, self.norm2, self.norm3, self.norm4 = (nn.LayerNorm(channels) for _ in range(4))

    def forward(self, tokens: Tensor, image: Tensor, start: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, N, C) and image (B, M, C), with what is added to them in queries and keys -> both, updated."""
        if self.first:
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            placed = tokens + start
            tokens = tokens + self.self_attn(placed, placed, tokens)
        tokens = self.norm1(tokens)
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(tokens + start, image + places, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = self.norm4(image + self.cross_attn_image_to_token(image + places, tokens + start, tokens))
        return tokens, image


class TwoWayTransformer(nn.Module):
    """Two such layers; then the tokens look at the image once more."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayLayer(channels, hidden, first=number == 0) for number in range(LAYERS))
        self.final_attn_token_to_image = CrossAttention(channels, channels // 2)
        self.norm_final_attn = nn.LayerNorm(channels)

    def forward(self, start: Tensor, image: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, N, C), image (B, M, C) and its positions (M, C) -> tokens and image."""
        tokens = start
        for layer in self.layers:
            tokens, image = layer(tokens, image, start, places)
        seen = self.final_attn_token_to_image(tokens + start, image + places, image)
        return self.norm_final_attn(tokens + seen), image


class MaskDecoder(Decoder):
    """Image map and prompts -> logits at the image's size.

    A token for each class, and one that SAM uses to rate its masks, pass the transformer with those of the prompts. The image map
    is enlarged sixteen times by four transposed convolutions, and a perceptron of its own turns the token of a class into
    the weights of its last layer. SAM's ratings are left out, since nothing uses them. `forward` returns the logits as its
    only map: the last layer differs from image to image, so it can't be a head.
    """

    def __init__(self, channels: int, hidden: int, outputs: int, positions: Positions) -> None:
        super().__init__()
        self.channels = (outputs,)
        self.transformer = TwoWayTransformer(channels, hidden)
        self.iou_token = nn.Parameter(torch.randn(1, channels))
        self.mask_tokens = nn.Parameter(torch.randn(outputs, channels))
        widths = [channels, *(max(SMALLEST, channels // part) for part in (4, 8, 16, 16))]
        steps: list[nn.Module] = []
        for inputs, made in pairwise(widths):
            steps += [nn.ConvTranspose2d(inputs, made, 2, stride=2), ChannelNorm(made), nn.GELU()]
        self.enlarge = nn.Sequential(*steps[:-2], steps[-1])  # no norm after the last one
        self.last_layers = nn.ModuleList(
            nn.Sequential(
                nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, channels), nn.ReLU(),
                nn.Linear(channels, widths[-1]),
            )
            for _ in range(outputs)
        )  # fmt: skip
        self._positions = (positions,)  # in a tuple: the network owns them

    def forward(self, features: list[Tensor], prompts: Tensor | None = None) -> list[Tensor]:
        """Decodes the map of `encode`. prompts: tokens (B, N, channels) of `SAM.prompt`; None: no prompts.

        Returns:
            Logits (B, outputs, H, W), as the only map.
        """
        (maps,) = features
        size = maps.shape[2:]
        tokens = torch.cat([self.iou_token, self.mask_tokens]).expand(len(maps), -1, -1)
        tokens = tokens if prompts is None else torch.cat([tokens, prompts], 1)
        places = self._positions[0].of_grid(size).flatten(0, 1)
        tokens, image = self.transformer(tokens, maps.flatten(2).transpose(1, 2), places)
        weights = torch.stack([layer(tokens[:, 1 + k]) for k, layer in enumerate(self.last_layers)], 1)
        large = self.enlarge(image.transpose(1, 2).unflatten(2, size))
        return [torch.einsum("bkc,bchw->bkhw", weights, large)]

    def head(self, decoded: Tensor) -> Tensor:
        """Returns the logits, which `forward` has computed already."""
        return decoded
