"""Local class prototypes of labeled images, and predictions for unlabeled positions by similarity to them (SemSim, arXiv
2410.13486, Eq. 7 to 12)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from semibench import IGNORE

Votes = Literal["sum", "max"]
NEVER = -1e4
"""Used instead of -inf, whose logsumexp has no gradient; exp(NEVER) is 0 in float32."""


@dataclass(frozen=True)
class Grid:
    """Regions of a map: `cells` along each axis, at most one per position. overlap: regions of the same size that start at
    every half cell (the predecessor's code), so that a position may lie in several."""

    size: tuple[int, ...]
    cells: int
    overlap: bool = False

    @property
    def sides(self) -> tuple[int, ...]:
        """Number of regions along each axis."""
        return tuple(2 * n - 1 if self.overlap else n for n in self._cells)

    @property
    def _cells(self) -> tuple[int, ...]:
        return tuple(max(1, min(self.cells, side // (2 if self.overlap else 1))) for side in self.size)

    @property
    def parts(self) -> tuple[int, ...]:
        """Number of disjoint parts along each axis: cells, or half cells."""
        return tuple(2 * n if self.overlap else n for n in self._cells)

    def part_of(self, device: torch.device) -> Tensor:
        """(P, dims): index of each position's part along each axis."""
        axes = [
            torch.div(torch.arange(side, device=device) * count, side, rounding_mode="floor")
            for side, count in zip(self.size, self.parts, strict=True)
        ]
        return torch.stack([axis.flatten() for axis in torch.meshgrid(*axes, indexing="ij")], 1)

    def regions_of(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """(P, Q): regions that each position may lie in; bool (P, Q): whether it does. Q is 1 without overlap."""
        part = self.part_of(device)
        steps = product((-1, 0), repeat=len(self.size)) if self.overlap else [(0,) * len(self.size)]
        last = torch.tensor(self.sides, device=device) - 1
        regions, inside = [], []
        for step in steps:
            region = part + torch.tensor(step, device=device)
            inside.append(((region >= 0) & (region <= last)).all(1))
            regions.append(_flat(region.clamp_min(0).minimum(last), self.sides))
        return torch.stack(regions, 1), torch.stack(inside, 1)


def _flat(index: Tensor, sides: Sequence[int]) -> Tensor:
    flat = torch.zeros_like(index[:, 0])
    for axis, side in enumerate(sides):
        flat = flat * side + index[:, axis]
    return flat


@dataclass(frozen=True)
class Prototypes:
    """vectors: unit vectors (J, regions, K, D) of J labeled images; seen: bool (J, K), whether the image has the class. An
    image has no vote for classes that it lacks."""

    vectors: Tensor
    seen: Tensor
    grid: Grid


def resized_label(label: Tensor, size: Sequence[int], *, linear: bool = False) -> Tensor:
    """(B, *spatial) -> (B, *size), int64. linear: interpolate and keep integer results only, the rest is IGNORE. (The
    predecessor's code compares with ==, which loses the boundaries.)"""
    target = tuple(size)
    values = label.unsqueeze(1).float()
    near = F.interpolate(values, target, mode="nearest-exact")[:, 0].long()
    if not linear:
        return near
    mode = ("bilinear", "trilinear")[len(target) - 2]
    blended = F.interpolate(values, target, mode=mode, align_corners=True)[:, 0]
    return torch.where((blended == blended.round()) & (near != IGNORE), blended.round().long(), IGNORE)


def local_prototypes(features: Tensor, label: Tensor, classes: int, grid: Grid) -> Prototypes:
    """Mean feature of each class in each region, or in the whole image if the region lacks the class.

    features: (J, D, *size), label: (J, *size) with IGNORE where it doesn't count. The result has a gradient.
    """
    count, width = features.shape[:2]
    points = features.float().flatten(2).transpose(1, 2).reshape(-1, width)
    label = label.flatten(1)
    counted = label != IGNORE
    parts = _flat(grid.part_of(features.device), grid.parts)
    number = math.prod(grid.parts)
    image = torch.arange(count, device=features.device).view(-1, 1)
    slot = ((image * number + parts) * classes + torch.where(counted, label, 0)).flatten()
    weight = counted.flatten().to(points.dtype)
    sums = points.new_zeros((count * number * classes, width)).index_add(0, slot, points * weight.unsqueeze(1))
    sizes = points.new_zeros(count * number * classes).index_add(0, slot, weight)
    sums, sizes = sums.view(count, *grid.parts, classes, width), sizes.view(count, *grid.parts, classes, 1)
    whole, whole_size = sums.flatten(1, -3).sum(1, keepdim=True), sizes.flatten(1, -3).sum(1, keepdim=True)
    if grid.overlap:
        # An overlapping region is two neighbouring half cells along each axis.
        for axis in range(1, 1 + len(grid.size)):
            length = sums.shape[axis] - 1
            sums = sums.narrow(axis, 0, length) + sums.narrow(axis, 1, length)
            sizes = sizes.narrow(axis, 0, length) + sizes.narrow(axis, 1, length)
    local, local_size = sums.flatten(1, -3), sizes.flatten(1, -3)
    mean = torch.where(local_size > 0, local / local_size.clamp_min(1.0), whole / whole_size.clamp_min(1.0))
    return Prototypes(F.normalize(mean, dim=-1), whole_size[:, 0, :, 0] > 0, grid)


def prototype_cosines(features: Tensor, prototypes: Prototypes) -> tuple[Tensor, Tensor]:
    """Cosines m (B, V, K, P) of each position with the prototypes of its region, and bool (V, K, P), which of them
    count. V: one vote per labeled image (with overlap, per labeled image and region that the position lies in)."""
    points = F.normalize(features.float().flatten(2), dim=1)
    regions, inside = prototypes.grid.regions_of(features.device)
    cosines, counted = [], []
    for region, is_inside in zip(regions.unbind(1), inside.unbind(1), strict=True):
        vectors = prototypes.vectors[:, region]
        cosines.append(torch.einsum("bdp,jpkd->bjkp", points, vectors))
        counted.append(prototypes.seen.unsqueeze(2) & is_inside)
    return torch.cat(cosines, 1), torch.cat(counted, 0)


def voted(m: Tensor, counted: Tensor, *, temperature: float = 1.0, votes: Votes = "sum") -> Tensor:
    """Logits (B, K, P), ln sum_j exp(m(j, c) / T), whose softmax is p_cr; or the largest m / T of all votes (the
    predecessor's code). A class without votes gets `NEVER`."""
    scores = (m / temperature).masked_fill(~counted, NEVER)
    return scores.logsumexp(1) if votes == "sum" else scores.amax(1)


@torch.no_grad()
def certainty(m: Tensor, counted: Tensor, rate: float) -> Tensor:
    """(B, P), the mean over votes of exp(-r KL(q(j) || mean_j q(j))), q(j) = softmax over classes of m(j).

    The paper takes the divergence of the cosines, which may be negative; the softmax turns them into distributions. Equal
    votes give 1. There is no gradient.
    """
    voter = counted.any(1)
    q = m.masked_fill(~counted, NEVER).softmax(2) * voter.unsqueeze(1)
    number = voter.sum(0).clamp(min=1)
    mean = q.sum(1, keepdim=True) / number
    divergence = (torch.special.xlogy(q, q) - torch.special.xlogy(q, mean)).sum(2).clamp_min(0.0)
    return (torch.exp(-rate * divergence) * voter).sum(1) / number
