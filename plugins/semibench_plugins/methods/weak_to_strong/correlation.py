"""Correlation of positions in CorrMatch: a map that passes predictions on, and regions that labels spread over."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, H, W) -> (B, C, *size), linear with aligned corners."""
    return F.interpolate(maps, tuple(size), mode="bilinear", align_corners=True)


class Correlation(nn.Module):
    """M (B, P, P), M_ij = softmax_j(f1_i f2_j / sqrt(K)), from the coarsest encoder map.

    f1 and f2 have K channels each. They are 1 x 1 convolutions of one projection: 3 x 3, batch norm, ReLU, channel dropout
    of .1, to an eighth of the input's channels (256 of 2048).
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        width = max(channels // 8, classes)
        self.project = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.Dropout2d(0.1)
        )
        self.first, self.second = nn.Conv2d(width, classes, 1), nn.Conv2d(width, classes, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, P, P) with P = h w; rows sum to 1."""
        projected = self.project(features)
        first, second = (layer(projected).float().flatten(2) for layer in (self.first, self.second))
        return (first.transpose(1, 2) @ second / math.sqrt(first.shape[1])).softmax(2)


def propagated(logits: Tensor, correlation: Tensor, grid: Sequence[int]) -> Tensor:
    """out'_j = sum_i out_i M_ij: logits (B, K, H, W), taken without gradient at the size of the grid, -> (B, K, H, W)."""
    size = logits.shape[2:]
    coarse = resized(logits.detach().float(), grid).flatten(2)
    return resized((coarse @ correlation).unflatten(2, tuple(grid)), size)


@torch.no_grad()
def regions(correlation: Tensor, count: int, grid: Sequence[int], size: Sequence[int]) -> Tensor:
    """Draws rows of M, the same for all images -> bool (B, n, *size), n at most `count`: where a row that is enlarged and
    scaled to 0..1 exceeds .5. A constant row has no region."""
    chosen = torch.randperm(correlation.shape[1])[:count].to(correlation.device)
    maps = resized(correlation[:, chosen].unflatten(2, tuple(grid)), size)
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    return maps - low > 0.5 * (high - low)


@torch.no_grad()
def spread(
    label: Tensor, confident: Tensor, areas: Tensor, threshold: Tensor | float, classes: int
) -> tuple[Tensor, Tensor]:
    """Spreads labels over regions -> label and bool confident, both (B, H, W).

    label (B, H, W); confident, bool (B, H, W); areas, bool (B, n, H, W). A region is filled with the most frequent class of
    its confident pixels and becomes confident if their share of the region is at least the threshold and that class's share
    of them exceeds it. Where filled regions overlap, the last one counts. All regions are judged by the labels as given; the
    code judges each by labels that earlier regions have changed.
    """
    inside = areas.flatten(2).float()
    sure = F.one_hot(label, classes).float() * confident.unsqueeze(-1)
    counts = inside @ sure.flatten(1, 2)
    most, kind = counts.max(2)
    number, total = counts.sum(2), inside.sum(2)
    filled = (number > 0) & (number >= threshold * total) & (most > threshold * number)
    place = torch.arange(1, inside.shape[1] + 1, device=label.device) * filled
    last = (areas * place[:, :, None, None]).amax(1)
    taken = kind.gather(1, (last - 1).clamp_min(0).flatten(1)).view_as(label)
    return torch.where(last > 0, taken, label), confident | (last > 0)
