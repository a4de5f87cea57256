"""Swin-UNet, a U-Net whose blocks are shifted-window transformers, in the small configuration of SSL4MIS.

Patches of 4 x 4, 96-192-384-768 channels, two blocks per stage, 3-6-12-24 heads, windows of 7 tokens, drop-path up to .2
(Cao et al., ECCV Workshops 2022; Liu et al., Swin Transformer, ICCV 2021, equations 3 and 4). Skips are the inputs of the
encoder's stages. 27,168,420 parameters for four classes, 27,168,228 for two. A single channel is repeated to three, as
published. Weights are initialised randomly; the authors found the network weaker without ImageNet weights.

Windows must tile the tokens of every stage; if a stage has fewer tokens than a window, the window is the whole stage. At
224 the window is the published 7, at 256 it is 8, and at 64 it is 8, 8, 4 and 2.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from semibench import Backbone, BackboneOptions, Decoder, UsageError

EMBEDDING = 96
HEADS = (3, 6, 12, 24)
STRIDES = (4, 8, 16, 32)
DEPTH = 2
MLP_RATIO = 4
WINDOWS = (7, 8, 6, 5, 4, 3, 2)
"""Windows to try, in this order, if the option isn't set; the published one is first."""


class SwinUNetOptions(BackboneOptions, frozen=True, extra="forbid"):
    """Options of `swin-unet`. width multiplies the 96 channels; the result is a multiple of three, the first stage's heads."""

    window: int | None = Field(
        None,
        ge=1,
        description="tokens per side of a window; default: 7 if it tiles the patch, else the best of 8 to 2",
    )
    drop_path: float = Field(
        0.2, ge=0.0, lt=1.0, description="drop-path rate of the deepest block; rates rise linearly from 0 to it"
    )


class DropPath(nn.Module):
    """In training, drops the residual branch of each sample with probability p and rescales the remaining branches."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, branch: Tensor) -> Tensor:
        """(B, ...) -> the same shape."""
        if not self.training or self.p == 0.0:
            return branch
        keep = torch.rand(len(branch), *[1] * (branch.ndim - 1), device=branch.device) >= self.p
        return branch * keep.to(branch.dtype) / (1.0 - self.p)

    def extra_repr(self) -> str:
        return f"p={self.p:.3g}"


def partition(tokens: Tensor, window: int) -> Tensor:
    """(B, H, W, C) -> (B * windows, window * window, C), row by row."""
    b, h, w, c = tokens.shape
    cut = tokens.view(b, h // window, window, w // window, window, c)
    return cut.transpose(2, 3).reshape(-1, window * window, c)


def assemble(windows: Tensor, size: Sequence[int], window: int) -> Tensor:
    """The inverse of `partition`: (B * windows, window * window, C) -> (B, *size, C)."""
    h, w = size
    cut = windows.view(-1, h // window, w // window, window, window, windows.shape[-1])
    return cut.transpose(2, 3).reshape(-1, h, w, windows.shape[-1])


def relative_positions(window: int) -> Tensor:
    """(window^2, window^2): row of the bias table for each pair of tokens; the table has (2 window - 1)^2 rows, one per
    offset."""
    axis = torch.arange(window)
    position = torch.stack(torch.meshgrid(axis, axis, indexing="ij")).flatten(1)
    offset = position[:, :, None] - position[:, None, :] + window - 1
    return offset[0] * (2 * window - 1) + offset[1]


def regions(size: Sequence[int], window: int, shift: Sequence[int], device: torch.device) -> Tensor:
    """(windows, window^2, window^2): True for two tokens that share a window only because of the cyclic shift."""
    axes = []
    for side, moved in zip(size, shift, strict=True):
        index = torch.arange(side, device=device)
        axes.append(
            (index >= side - window).long() + (index >= side - moved).long() if moved else torch.zeros_like(index)
        )
    label = (3 * axes[0][:, None] + axes[1][None, :])[None, :, :, None]
    parts = partition(label, window).squeeze(-1)
    return parts[:, :, None] != parts[:, None, :]


class WindowAttention(nn.Module):
    """softmax(q k' / sqrt(d) + bias) v within each window, multi-head (Liu et al., eq. 4)."""

    index: Tensor

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.bias: nn.Parameter | None = None
        if window > 1:
            self.bias = nn.Parameter(nn.init.trunc_normal_(torch.empty((2 * window - 1) ** 2, heads), std=0.02))
        self.register_buffer("index", relative_positions(window), persistent=False)

    def forward(self, tokens: Tensor, separated: Tensor | None) -> Tensor:
        """tokens: (B * windows, N, C); separated: bool (windows, N, N), pairs that must not see each other."""
        count, length, channels = tokens.shape
        query, key, value = self.qkv(tokens).view(count, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        if self.bias is not None:
            scores = scores + self.bias[self.index.flatten()].view(length, length, -1).permute(2, 0, 1)
        if separated is not None:
            blocked = torch.zeros(separated.shape, dtype=scores.dtype, device=scores.device).masked_fill(
                separated, -100.0
            )
            scores = scores.view(-1, len(separated), self.heads, length, length) + blocked[:, None]
            scores = scores.view(count, self.heads, length, length)
        return self.proj((scores.softmax(-1) @ value).transpose(1, 2).reshape(count, length, channels))


class SwinBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); odd blocks shift their windows by half a window (eq. 3), except along
    axes that aren't longer than a window."""

    def __init__(self, channels: int, heads: int, window: int, shifted: bool, drop: float) -> None:
        super().__init__()
        self.window, self.shifted = window, shifted
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attention = WindowAttention(channels, heads, window)
        wide = MLP_RATIO * channels
        self.mlp = nn.Sequential(nn.Linear(channels, wide), nn.GELU(), nn.Linear(wide, channels))
        self.drop = DropPath(drop)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, H, W, C) -> the same shape."""
        size = tokens.shape[1:3]
        shift = [self.window // 2 if self.shifted and side > self.window else 0 for side in size]
        shifted = self.norm1(tokens)
        separated = None
        if any(shift):
            shifted = shifted.roll((-shift[0], -shift[1]), (1, 2))
            separated = regions(size, self.window, shift, tokens.device)
        attended = assemble(self.attention(partition(shifted, self.window), separated), size, self.window)
        if any(shift):
            attended = attended.roll((shift[0], shift[1]), (1, 2))
        tokens = tokens + self.drop(attended)
        return tokens + self.drop(self.mlp(self.norm2(tokens)))


class Merge(nn.Module):
    """Merges 2 x 2 tokens into one with twice the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduce = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H / 2, W / 2, 2 C)."""
        corners = [tokens[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
        return self.reduce(self.norm(torch.cat(corners, -1)))


class Expand(nn.Module):
    """Expands each token to factor x factor tokens with `outputs` channels."""

    def __init__(self, inputs: int, outputs: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.grow = nn.Linear(inputs, factor * factor * outputs, bias=False)
        self.norm = nn.LayerNorm(outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, H, W, inputs) -> (B, factor H, factor W, outputs)."""
        b, h, w, _ = tokens.shape
        spread = self.grow(tokens).view(b, h, w, self.factor, self.factor, -1).transpose(2, 3)
        return self.norm(spread.reshape(b, h * self.factor, w * self.factor, -1))


class EncoderStage(nn.Module):
    """The layers between two encoder maps: blocks and merging. Input and output have channels first."""

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W')."""
        return self.layers(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).contiguous()


class Embedding(nn.Module):
    """Embeds patches of 4 x 4 pixels as tokens; a single channel is repeated to three."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.inputs = 3 if channels == 1 else channels
        self.project = nn.Conv2d(self.inputs, outputs, STRIDES[0], stride=STRIDES[0])
        self.norm = nn.LayerNorm(outputs)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, outputs, H / 4, W / 4)."""
        wide = images.expand(-1, self.inputs, -1, -1) if images.shape[1] == 1 else images
        return self.norm(self.project(wide).permute(0, 2, 3, 1)).permute(0, 3, 1, 2).contiguous()


def _draw(module: nn.Module) -> None:
    """Published initialisation: linear layers from a normal distribution with deviation .02, truncated at two, and zero
    bias."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class _Plan:
    """Channels, windows and drop rates of the stages, finest first."""

    def __init__(self, width: float, windows: Sequence[int], drop_path: float) -> None:
        base = HEADS[0] * max(1, round(EMBEDDING * width / HEADS[0]))
        self.channels = tuple(base * 2**level for level in range(len(HEADS)))
        self.windows = tuple(windows)
        self.rates = [drop_path * n / (DEPTH * len(HEADS) - 1) for n in range(DEPTH * len(HEADS))]

    def blocks(self, level: int) -> list[nn.Module]:
        """Returns new blocks for a stage; encoder and decoder stages have the same structure."""
        return [
            SwinBlock(
                self.channels[level], HEADS[level], self.windows[level], n % 2 == 1, self.rates[DEPTH * level + n]
            )
            for n in range(DEPTH)
        ]


class SwinDecoder(Decoder):
    """At each level: expand, concatenate the skip, linear layer, two blocks. Finally expands to four times the size."""

    def __init__(self, plan: _Plan, outputs: int) -> None:
        super().__init__()
        levels = plan.channels
        self.channels = (levels[0], *levels[:-1])
        self.expand = nn.ModuleList(Expand(2 * fine, fine, 2) for fine in levels[:-1])
        self.join = nn.ModuleList(nn.Linear(2 * fine, fine) for fine in levels[:-1])
        self.blocks = nn.ModuleList(nn.Sequential(*plan.blocks(level)) for level in range(len(levels) - 1))
        self.norm = nn.LayerNorm(levels[0])
        self.final = Expand(levels[0], levels[0], STRIDES[0])
        self.last = nn.Conv2d(levels[0], outputs, 1, bias=False)
        self.apply(_draw)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Four encoder maps, finest first -> four decoder maps with strides 1, 4, 8 and 16."""
        tokens = features[-1].permute(0, 2, 3, 1)
        decoded: list[Tensor] = []
        for level in reversed(range(len(self.blocks))):
            skip = features[level].permute(0, 2, 3, 1)
            tokens = self.blocks[level](self.join[level](torch.cat([self.expand[level](tokens), skip], -1)))
            decoded.insert(0, tokens)
        decoded[0] = self.norm(decoded[0])
        decoded.insert(0, self.final(decoded[0]))
        return [tokens.permute(0, 3, 1, 2) for tokens in decoded]

    def head(self, decoded: Tensor) -> Tensor:
        """(B, channels[0], H, W) -> logits (B, outputs, H, W)."""
        return self.last(decoded)


def stage_windows(patch: Sequence[int], window: int) -> tuple[int, ...] | None:
    """Returns the windows of the four stages, finest first: `window`, or the shorter side of a stage with fewer tokens.
    Returns None if they don't tile the patch."""
    windows = []
    for stride in STRIDES:
        tokens = [side // stride for side in patch]
        size = min(window, *tokens)
        if any(count % size for count in tokens):
            return None
        windows.append(size)
    return tuple(windows)


class SwinUNet(Backbone):
    """See the module docstring. Takes any size whose tokens its windows tile: multiples of `divisor`, which follows from
    the patch and the window (224 for the published network, whose sizes are 224 and 448)."""

    Options = SwinUNetOptions
    provides = frozenset({"stages", "dropout"})

    def __init__(
        self, *, dims: int, channels: int, outputs: int, patch: Sequence[int], options: SwinUNetOptions
    ) -> None:
        super().__init__(dims=dims, channels=channels, outputs=outputs, patch=patch, options=options)
        if dims != 2:
            raise UsageError(
                f"swin-unet is a 2D network; expected dims=2, got {dims}: choose another backbone for volumes"
            )
        windows = self._windows(patch, options.window)
        plan = _Plan(options.width, windows, options.drop_path)
        self.dims, self.channels, self.strides = dims, plan.channels, STRIDES
        self.divisor = math.lcm(*(stride * window for stride, window in zip(STRIDES, windows, strict=True)))
        self.windows = windows
        self._plan, self._outputs = plan, outputs
        self.embedding = Embedding(channels, plan.channels[0])
        levels: list[nn.Module] = []
        for level, count in enumerate(plan.channels[:-1]):
            layers = [*plan.blocks(level), Merge(count)]
            if level == len(plan.channels) - 2:
                layers += [*plan.blocks(level + 1), nn.LayerNorm(plan.channels[-1])]
            levels.append(EncoderStage(layers))
        self.levels = nn.ModuleList(levels)
        self.levels.apply(_draw)
        self.decoder = self.new_decoder()

    @staticmethod
    def _windows(patch: Sequence[int], window: int | None) -> tuple[int, ...]:
        if len(patch) != 2 or any(side < STRIDES[-1] or side % STRIDES[-1] for side in patch):
            raise UsageError(
                f"swin-unet needs two sides that are multiples of {STRIDES[-1]}, such as 224 or 256; got {tuple(patch)}"
            )
        for candidate in WINDOWS if window is None else (window,):
            windows = stage_windows(patch, candidate)
            if windows is not None:
                return windows
        tried = "windows of 2 to 8 tokens" if window is None else f"windows of {window} tokens"
        raise UsageError(
            f"swin-unet: {tried} don't tile a patch of {tuple(patch)} at strides 4, 8, 16 and 32; "
            f"use another patch (224 with window 7, 256 with window 8) or set the option `window`"
        )

    @property
    def stages(self) -> tuple[nn.Module, ...]:
        """The modules whose outputs are the four maps of `encode`."""
        return (self.embedding, *self.levels)

    def encode(self, images: Tensor) -> list[Tensor]:
        """(B, C, H, W) -> four maps, finest first: the inputs of the first three stages and the normalised output of the
        last. Raises UsageError if the windows don't tile the size."""
        size = tuple(images.shape[2:])
        if any(side % self.divisor for side in size):
            raise UsageError(f"this swin-unet needs sides that are multiples of {self.divisor}, got {size}")
        maps: list[Tensor] = []
        for stage in self.stages:
            maps.append(stage(maps[-1] if maps else images))
        return maps

    def new_decoder(self, **variant: Any) -> Decoder:
        """Returns a fresh decoder. There are no variants."""
        if variant:
            raise UsageError(f"swin-unet has only one kind of decoder; got the variant {variant}")
        return SwinDecoder(self._plan, self._outputs)
