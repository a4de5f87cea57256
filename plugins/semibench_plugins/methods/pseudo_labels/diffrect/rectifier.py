"""The rectifier of DiffRect: a U-Net on an image and a coloured label map, whose coarsest feature is drawn by diffusion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semibench.blocks import LabelDiffusion

LEVELS = (16, 32, 64, 128, 256)
DROPOUT = (0.05, 0.1, 0.2, 0.3, 0.5)
DENOISER = (256, 384, 512)
EMBEDDING = 512
WAVES = 128
COLOURS = 3


class CosineDiffusion(LabelDiffusion):
    """The diffusion of `LabelDiffusion` with the cosine schedule (Nichol & Dhariwal, ICML 2021): kept[t] is proportional to
    cos^2(((t + 1) / T + .008) / 1.008 * pi / 2), each variance at most .999."""

    def __init__(self, steps: int) -> None:
        super().__init__(steps)
        course = [math.cos((t / steps + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(steps + 1)]
        factors = [max(after / before, 0.001) for before, after in pairwise(course)]
        self.kept.copy_(torch.tensor(factors, dtype=torch.float64).cumprod(0))


class TimeEmbedding(nn.Module):
    """Times (B,) -> (B, size): sines and cosines, two linear layers with swish in between."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(WAVES, size), nn.Linear(size, size)

    def forward(self, time: Tensor) -> Tensor:
        half = WAVES // 2
        rate = torch.exp(torch.arange(half, device=time.device) * (-math.log(10000.0) / (half - 1)))
        angle = time.float()[:, None] * rate
        return self.second(F.silu(self.first(torch.cat([angle.sin(), angle.cos()], 1))))


class Block(nn.Module):
    """Two units of 3x3 convolution, batch norm and leaky ReLU; the embedded time is added after the first, dropout follows."""

    def __init__(self, inputs: int, outputs: int, dropout: float, embedding: int) -> None:
        super().__init__()
        self.first, self.second = self._unit(inputs, outputs), self._unit(outputs, outputs)
        self.project = nn.Linear(embedding, outputs)
        self.dropout = nn.Dropout(dropout)

    @staticmethod
    def _unit(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.01))

    def forward(self, maps: Tensor, time: Tensor) -> Tensor:
        shifted = self.first(maps) + self.project(F.silu(time))[:, :, None, None]
        return self.second(self.dropout(shifted))


class Up(nn.Module):
    """1x1 convolution, linear upsampling to the skip's size, concatenation [skip, up], a block."""

    def __init__(self, coarse: int, fine: int, embedding: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(coarse, fine, 1)
        self.block = Block(2 * fine, fine, 0.0, embedding)

    def forward(self, maps: Tensor, skip: Tensor, time: Tensor) -> Tensor:
        up = F.interpolate(self.narrow(maps), tuple(skip.shape[2:]), mode="bilinear", align_corners=True)
        return self.block(torch.cat([skip, up], 1), time)


def _halved(maps: Tensor) -> Tensor:
    return F.max_pool2d(maps, 2, ceil_mode=True)


class Encoder(nn.Module):
    """Five blocks with pooling in between; maps of another encoder may be added after each."""

    def __init__(self, inputs: int, levels: Sequence[int], embedding: int) -> None:
        super().__init__()
        pairs = pairwise((inputs, *levels))
        self.blocks = nn.ModuleList(Block(a, b, p, embedding) for (a, b), p in zip(pairs, DROPOUT, strict=True))

    def forward(self, images: Tensor, time: Tensor, added: Sequence[Tensor] = ()) -> list[Tensor]:
        maps: list[Tensor] = []
        for level, block in enumerate(self.blocks):
            found = block(_halved(maps[-1]) if maps else images, time)
            maps.append(found + added[level] if added else found)
        return maps


class Denoiser(nn.Module):
    """Guesses the clean feature from a noisy one, its step and a condition, which joins the finest skip alone."""

    def __init__(self, levels: Sequence[int], embedding: int) -> None:
        super().__init__()
        self.time = TimeEmbedding(embedding)
        self.down = nn.ModuleList(Block(fine, coarse, 0.0, embedding) for fine, coarse in pairwise(levels))
        self.up = nn.ModuleList(Up(coarse, fine, embedding) for fine, coarse in pairwise(levels))

    def forward(self, noisy: Tensor, step: Tensor, condition: Tensor) -> Tensor:
        time = self.time(step)
        middle = self.down[0](_halved(noisy), time)
        coarse = self.down[1](_halved(middle), time)
        return self.up[0](self.up[1](coarse, middle, time), noisy + condition, time)


class Rectifier(nn.Module):
    """Corrects a coloured label map of an image; 17,468,212 parameters for one channel and four classes.

    The image is encoded alone and together with the map; the former's features are added to the latter's. The coarsest
    feature is replaced by one that the denoiser guesses, with the feature of the map as condition; the decoder turns
    the features into logits.

    channels: of the image. outputs: K. width: factor on all channels and on the embedding (at least 16). steps: of the
    diffusion. sampling_steps: of them, those that DDIM takes.
    """

    def __init__(self, channels: int, outputs: int, width: float, *, steps: int = 10, sampling_steps: int = 2) -> None:
        super().__init__()
        self.sampling_steps = sampling_steps
        levels = [max(1, round(width * count)) for count in LEVELS]
        embedding = max(16, round(EMBEDDING * width))
        self.time = TimeEmbedding(embedding)
        self.joint = Encoder(channels + COLOURS, levels, embedding)
        self.alone = Encoder(channels, levels, embedding)
        self.denoiser = Denoiser([levels[-1], *(max(1, round(width * count)) for count in DENOISER[1:])], embedding)
        self.up = nn.ModuleList(Up(coarse, fine, embedding) for fine, coarse in pairwise(levels))
        self.head = nn.Conv2d(levels[0], outputs, 3, padding=1)
        self.diffusion = CosineDiffusion(steps)

    def forward(self, image: Tensor, given: Tensor, quality: Tensor, goal: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the logits (B, K, H, W), and the mean square between guessed and true feature of the goal.

        image: (B, C, H, W). given, goal: coloured maps (B, 3, H, W), the one to correct and the better one.
        quality: (B,), how far the former is from the latter, times 999."""
        time = self.time(quality)
        alone = self.alone(image, time)
        maps = self.joint(torch.cat([image, given], 1), time, alone)
        with torch.no_grad():
            clean = self.joint(torch.cat([image, goal], 1), time, alone)[-1]
        step = self.diffusion.draw(len(image))
        guess = self.denoiser(self.diffusion.noised(clean, step), step, maps[-1])
        return self._decode([*maps[:-1], guess], time), F.mse_loss(guess.float(), clean.float())

    @torch.no_grad()
    def sample(self, image: Tensor, given: Tensor, quality: Tensor) -> Tensor:
        """Returns the logits (B, K, H, W) of a corrected map whose coarsest feature is drawn from noise by DDIM."""
        time = self.time(quality)
        maps = self.joint(torch.cat([image, given], 1), time, self.alone(image, time))
        feature = self.diffusion.ddim(
            lambda noisy, step: self.denoiser(noisy, step, maps[-1]),
            torch.randn_like(maps[-1]),
            count=self.sampling_steps,
            bounds=None,
        )
        return self._decode([*maps[:-1], feature], time)

    def _decode(self, maps: list[Tensor], time: Tensor) -> Tensor:
        coarse = maps[-1]
        for level in reversed(range(len(self.up))):
            coarse = self.up[level](coarse, maps[level], time)
        logits: Tensor = self.head(coarse)
        return logits
