"""Random changes of the distribution of intensities, for whole batches in 2D and 3D (DDSP).

Everything is drawn on the CPU from torch's global stream. Each sample is scaled to -1..1 by its own range and back, so that any
normalisation is allowed; all channels of a sample change alike.
"""

from __future__ import annotations

import torch
from torch import Tensor

FEWEST = 2
"""Control points."""
KNOTS = (2, 8)
"""Fewest and most points of the curve that bends the histogram, its ends included."""
GAMMA = (0.5, 2.0)
NOISE = 0.1


def by_intervals(values: Tensor, edges: Tensor, starts: Tensor, ends: Tensor) -> Tensor:
    """Maps each interval linearly to another one.

    values: (B, N) from edges[:, 0] to edges[:, -1]. edges: (B, M + 1), ascending. starts, ends: (B, M), where the intervals are
    mapped to. Intervals of no width count for nothing.
    """
    place = torch.searchsorted(edges[:, 1:-1].contiguous(), values.contiguous(), right=True)
    used = (edges[:, :-1] < edges[:, -1:]).sum(1, keepdim=True)
    place = torch.minimum(place, (used - 1).clamp(min=0))
    low, high = edges.gather(1, place), edges.gather(1, place + 1)
    share = (values - low) / (high - low).clamp(min=1e-12)
    return torch.lerp(starts.gather(1, place), ends.gather(1, place), share.clamp(0.0, 1.0))


def exchanged(values: Tensor, edges: Tensor, order: Tensor) -> Tensor:
    """Puts the interval order[i] where the interval i was: values of a narrow range may spread, and the order of grey values is
    lost. values: (B, N) in -1..1. edges: (B, M + 1), from -1 to 1. order: (B, M), a permutation of the intervals."""
    return by_intervals(values, edges, edges.gather(1, order), edges.gather(1, order + 1))


def drawn_exchange(count: int, most: int) -> tuple[Tensor, Tensor]:
    """Draws 2 to `most` control points for each of `count` samples -> edges and order for `exchanged`."""
    index = torch.arange(most + 1)
    number = torch.randint(FEWEST, most + 1, (count, 1))
    inner = torch.where(index[:most] < number, 2.0 * torch.rand(count, most) - 1.0, 1.0).sort(1).values
    edges = torch.cat([torch.full((count, 1), -1.0), inner, torch.ones(count, 1)], 1)
    order = (torch.rand(count, most + 1) + 2.0 * (index > number)).argsort(1)
    return edges, order


def drawn_shift(count: int) -> tuple[Tensor, Tensor]:
    """Draws a rising curve for each of `count` samples -> its places (B, 8) and values (B, 8), both from -1 to 1.

    Of 2 to 8 evenly spread points, each but the ends is drawn between the drawn one before it and the place of the next."""
    number = torch.randint(KNOTS[0], KNOTS[1] + 1, (count, 1))
    places = (2.0 * torch.arange(KNOTS[1]) / (number - 1) - 1.0).clamp(max=1.0)
    values = places.clone()
    for i in range(1, KNOTS[1] - 1):
        values[:, i] = torch.lerp(values[:, i - 1], places[:, i + 1], torch.rand(count))
    return places, torch.where(places < 1.0, values, 1.0)


def disrupted(images: Tensor, *, most: int, probability: float = 0.2, valid: Tensor | None = None) -> Tensor:
    """Exchanges intervals of intensities, then with a probability each: negates, bends the histogram, changes gamma, adds noise.

    images: (B, C, *spatial). most: greatest number of control points. valid: bool (B, *spatial), False on padding, where the
    result is 0. The result has no value outside of the sample's range.
    """
    count, flat = len(images), images.detach().float().flatten(1)
    low, high = (end.unsqueeze(1) for end in flat.aminmax(dim=1))
    span = (high - low).clamp(min=1e-6)
    values = 2.0 * (flat - low) / span - 1.0
    edges, order = (drawn.to(images.device) for drawn in drawn_exchange(count, most))
    values = exchanged(values, edges, order)
    negate, bend, power, blend = (torch.rand(4, count, 1) < probability).to(images.device)
    values = torch.where(negate, -values, values)
    places, curve = (drawn.to(images.device) for drawn in drawn_shift(count))
    values = torch.where(bend, by_intervals(values, places, curve[:, :-1], curve[:, 1:]), values)
    gamma = (GAMMA[0] + (GAMMA[1] - GAMMA[0]) * torch.rand(count, 1)).to(images.device)
    values = torch.where(power, 2.0 * ((values + 1.0) / 2.0).clamp(0.0, 1.0) ** gamma - 1.0, values)
    values = torch.where(blend, values + NOISE * torch.randn_like(values), values).clamp(-1.0, 1.0)
    result = (low + span * (values + 1.0) / 2.0).view_as(images)
    return result if valid is None else result * valid.unsqueeze(1)
