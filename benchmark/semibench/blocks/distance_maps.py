"""Signed distance maps of label maps, computed for the whole batch at once on the device of the labels."""

from __future__ import annotations

import torch
from torch import Tensor


def distance_maps(target: Tensor, classes: int, *, absent: float = 0.0) -> Tensor:
    """Signed Euclidean distance of each position to the boundary of each foreground class (DTC, SASSNet).

    Negative inside a class, positive outside and 0 on its boundary: the positions of the class that touch another class
    through a face. In each sample, distances inside and outside are divided by the largest of each, so all lie in [-1, 1].
    For one class these are the values of `signed_distance`, which works sample by sample on the CPU.

    Args:
        target: labels (B, *spatial). IGNORE belongs to no class.
        classes: K, the background included.
        absent: value everywhere for a class that a sample lacks: 0 in the published codes; 1 says "outside". A class that
            fills a sample has the opposite value everywhere.

    Returns:
        float32 (B, K - 1, *spatial), for the classes 1 to K - 1.

    Examples:
        >>> distance_maps(torch.tensor([[0, 1, 1, 1, 0, 0]]), classes=2)
        tensor([[[ 0.5000,  0.0000, -1.0000,  0.0000,  0.5000,  1.0000]]])
    """
    ones = [1] * (target.ndim - 1)
    inside = target.unsqueeze(1) == torch.arange(1, classes, device=target.device).view(1, -1, *ones)
    beyond, within = _squared_distances(torch.stack([inside, ~inside]))
    boundary = within == 1.0  # a face neighbour lies outside
    signed = (_scaled(beyond) - _scaled(within)).masked_fill(boundary, 0.0)
    lacks, fills = ~inside.flatten(2).any(2), inside.flatten(2).all(2)
    constant = absent * (lacks.float() - fills.float())
    return torch.where((lacks | fills).view(*lacks.shape, *ones), constant.view(*lacks.shape, *ones), signed)


def _scaled(squared: Tensor) -> Tensor:
    """Distances (B, K - 1, *spatial) as shares of the largest in each map."""
    distance = squared.sqrt()
    return distance / distance.amax(tuple(range(2, squared.ndim)), keepdim=True).clamp(min=1.0)


def _squared_distances(goals: Tensor) -> Tensor:
    """Squared distance of each position to the nearest one where `goals` holds; bool (..., B, K - 1, *spatial) -> float32.

    Axis after axis, f(x) becomes the least of f(j) + (x - j)^2 over all j; sums of squares are exact in float32. Along the
    first axis f is 0 or infinite, so the nearest goals before and after a position suffice.
    """
    first, *others = range(3, goals.ndim)
    squared = _along_first(goals, first)
    for axis in others:
        squared = _along(squared, axis)
    return squared


def _along_first(goals: Tensor, axis: int) -> Tensor:
    count = goals.shape[axis]
    far = float(2 * goals[0, 0, 0].numel() + sum(goals.shape[3:]))  # above every distance, finite when squared
    place = torch.arange(count, dtype=torch.float32, device=goals.device).view(-1, *[1] * (goals.ndim - 1 - axis))
    before = torch.where(goals, place, -far).cummax(axis).values
    after = torch.where(goals, place, place.new_tensor(far)).flip(axis).cummin(axis).values.flip(axis)
    return torch.minimum(place - before, after - place).square()


def _along(squared: Tensor, axis: int) -> Tensor:
    rows = squared.movedim(axis, 0).contiguous()
    place = torch.arange(len(rows), dtype=torch.float32, device=rows.device).view(-1, *[1] * (rows.ndim - 1))
    least = torch.full_like(rows, torch.inf)
    candidate = torch.empty_like(rows)
    for j, row in enumerate(rows):
        torch.add(row, (place - j).square(), out=candidate)
        torch.minimum(least, candidate, out=least)
    return least.movedim(0, axis)
