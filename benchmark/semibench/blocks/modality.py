"""Images as short codes of their appearance: the global part of a disentangled representation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

LARGEST_LOGARITHM = 30.0
"""Largest size of the logarithm of a variance, so that its exponential stays finite."""


class Code(NamedTuple):
    """The distribution of the code of each image: independent normal variables.

    Args:
        mean: (B, size).
        log_variance: natural logarithm of the variance, (B, size).

    Examples:
        >>> Code(torch.ones(2, 3), torch.full((2, 3), -60.0)).sample()
        tensor([[1., 1., 1.],
                [1., 1., 1.]])
    """

    mean: Tensor
    log_variance: Tensor

    def sample(self) -> Tensor:
        """Draws codes (B, size): mean + deviation * noise, so that gradients reach both."""
        return self.mean + (0.5 * self.log_variance).exp() * torch.randn_like(self.mean)


class ModalityEncoder(nn.Module):
    """Turns an image into the distribution of a short code of its appearance (SDNet, DGNet).

    A convolution with kernel 7, then convolutions with kernel 4 that halve the sides; sides of 1 stay. What is left is averaged
    over its positions, or flattened, and linear layers make mean and log-variance of it.

    Args:
        dims: 2 or 3.
        channels: channels of the images.
        patch: their spatial size. A flattened map takes no other.
        code: length of the code.
        filters: channels of the convolutions; the first has kernel 7.
        hidden: sizes of linear layers before mean and log-variance, each with a leaky ReLU.
        pooled: average over positions; otherwise flatten.
        activation: of the convolutions.

    Examples:
        >>> encoder = ModalityEncoder(2, 1, (32, 32), code=8, filters=(4, 8, 8))
        >>> encoder(torch.zeros(3, 1, 32, 32)).mean.shape
        torch.Size([3, 8])
    """

    def __init__(
        self,
        dims: int,
        channels: int,
        patch: Sequence[int],
        *,
        code: int,
        filters: Sequence[int],
        hidden: Sequence[int] = (),
        pooled: bool = True,
        activation: Literal["relu", "none"] = "relu",
    ) -> None:
        super().__init__()
        self.pooled = pooled
        conv: type[nn.Conv2d] | type[nn.Conv3d] = nn.Conv2d if dims == 2 else nn.Conv3d
        layers: list[nn.Module] = [conv(channels, filters[0], 7, padding=3)]
        sides = list(patch)
        for inputs, outputs in pairwise(filters):
            kernel, stride = tuple(4 if n > 1 else 3 for n in sides), tuple(2 if n > 1 else 1 for n in sides)
            layers += [nn.ReLU(inplace=True)] if activation == "relu" else []
            layers.append(conv(inputs, outputs, kernel, stride=stride, padding=1))  # type: ignore[arg-type]
            sides = [n // 2 if n > 1 else n for n in sides]
        layers += [nn.ReLU(inplace=True)] if activation == "relu" else []
        self.convolutions = nn.Sequential(*layers)
        sizes = [filters[-1] * (1 if pooled else math.prod(sides)), *hidden]
        linear: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            linear += [nn.Linear(inputs, outputs), nn.LeakyReLU(0.01, inplace=True)]
        self.linear = nn.Sequential(*linear)
        self.mean, self.log_variance = nn.Linear(sizes[-1], code), nn.Linear(sizes[-1], code)

    def forward(self, images: Tensor) -> Code:
        """Maps images (B, C, *patch) to their codes."""
        maps = self.convolutions(images)
        flat = maps.flatten(2).mean(2) if self.pooled else maps.flatten(1)
        seen = self.linear(flat)
        log_variance: Tensor = self.log_variance(seen).float().clamp(-LARGEST_LOGARITHM, LARGEST_LOGARITHM)
        return Code(self.mean(seen).float(), log_variance)


def code_kl(code: Code) -> Tensor:
    """Divergence of codes from the standard normal distribution: the sum over the code, the mean over the batch.

    KL = 1/2 sum (mean^2 + variance - 1 - ln variance).

    Args:
        code: the distribution of each code, or of a part of it.

    Returns:
        A scalar.

    Examples:
        >>> code_kl(Code(torch.ones(2, 3), torch.zeros(2, 3)))
        tensor(1.5000)
    """
    each = code.mean.square() + code.log_variance.exp() - 1.0 - code.log_variance
    return 0.5 * each.sum(1).mean()


def hsic(first: Tensor, second: Tensor, *, sigma: float = 5.0) -> Tensor:
    """Dependence of two sets of codes (Hilbert-Schmidt independence criterion, Gretton et al., ALT 2005).

    trace(K H L H) / (m - 1)^2 with the kernels K and L, exp(-|x - x'|^2 / (2 sigma^2)), of the m samples, and H = I - 1 / m.

    Args:
        first: (m, D).
        second: (m, E); row i belongs to row i of `first`.
        sigma: width of both kernels.

    Returns:
        A scalar, at least 0 but for rounding; 0 if one set is constant or there are fewer than two samples.

    Examples:
        >>> hsic(torch.randn(4, 8), torch.ones(4, 8))
        tensor(0.)
    """
    count = len(first)
    if count < 2:
        return 0.0 * (first.sum() + second.sum())
    # the trace is the sum of the products of both centred kernels, since H H = H
    one, other = (_centred(_gaussian_kernel(codes.float(), sigma)) for codes in (first, second))
    return (one * other).sum() / (count - 1) ** 2


def _gaussian_kernel(codes: Tensor, sigma: float) -> Tensor:
    distance = (codes[:, None] - codes[None]).square().sum(2)
    return torch.exp(-distance / (2.0 * sigma**2))


def _centred(kernel: Tensor) -> Tensor:
    return kernel - kernel.mean(0, keepdim=True) - kernel.mean(1, keepdim=True) + kernel.mean()


def content_rank(content: Tensor, rank: int, *, positions: int = 2000, valid: Tensor | None = None) -> Tensor:
    """How far the content at random positions is from a matrix of a given rank: its next singular value (LDDG, DGNet).

    Args:
        content: (B, D, *spatial).
        rank: the wanted rank, less than D.
        positions: how many valid positions are drawn, with repetition, from all images together; all of them where there
            aren't more.
        valid: bool (B, *spatial), False on padding, which isn't drawn; None: all are valid.

    Returns:
        The singular value number rank + 1, largest first, of the matrix (positions, D); 0 for a matrix of this rank, and so
        where no more than `rank` positions are valid. Its second derivative is not finite where singular values are equal.

    Raises:
        ValueError: if the content hasn't more channels than the rank.

    Examples:
        >>> content_rank(torch.ones(2, 4, 8, 8), rank=1).item() < 1e-3
        True
    """
    if not 0 < rank < content.shape[1]:
        raise ValueError(
            f"expected a rank from 1 to {content.shape[1] - 1}, got {rank}: give the content more channels"
        )
    vectors = content.float().movedim(1, -1).flatten(0, -2)
    if valid is not None:
        vectors = vectors[valid.flatten()]
    if len(vectors) <= rank:
        return content.float().sum() * 0.0
    if len(vectors) > positions:
        vectors = vectors[torch.randint(len(vectors), (positions,), device=vectors.device)]
    value: Tensor = torch.linalg.svdvals(vectors)[rank]
    return value
