"""Signed distance maps of a batch: worked numbers, and against the distances of every pair of positions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from semibench.blocks import distance_maps, signed_distance


def naive(label: np.ndarray, kind: int) -> np.ndarray:
    """Loops over all pairs of positions."""
    places = list(itertools.product(*map(range, label.shape)))
    inside = [p for p in places if label[p] == kind]
    outside = [p for p in places if label[p] != kind]

    def nearest(place: tuple[int, ...], goals: list[tuple[int, ...]]) -> float:
        return min(sum((a - b) ** 2 for a, b in zip(place, goal, strict=True)) ** 0.5 for goal in goals)

    within = {p: nearest(p, outside) for p in inside}
    beyond = {p: nearest(p, inside) for p in outside}
    found = np.zeros(label.shape, np.float32)
    for place, distance in beyond.items():
        found[place] = distance / max(beyond.values())
    for place, distance in within.items():
        found[place] = 0.0 if distance == 1.0 else -distance / max(within.values())
    return found


def test_a_square_worked_numbers() -> None:
    label = torch.zeros(1, 5, 5, dtype=torch.int64)
    label[:, 1:4, 1:4] = 1
    found = distance_maps(label, 2)[0, 0]
    assert found[2, 2] == -1.0 and found[0, 0] == 1.0
    assert found[0, 1:4].tolist() == pytest.approx([0.7071] * 3, abs=1e-4)
    ring = label[0].bool()
    ring[2, 2] = False
    assert not found[ring].any()


@pytest.mark.parametrize("shape", [(2, 7, 5), (1, 4, 3, 5)])
def test_every_class_against_all_pairs(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    label = torch.randint(0, 3, shape)
    found = distance_maps(label, 3)
    assert found.shape == (shape[0], 2, *shape[1:]) and found.dtype == torch.float32
    for sample, of_sample in zip(label.numpy(), found.numpy(), strict=True):
        for kind in (1, 2):
            np.testing.assert_allclose(of_sample[kind - 1], naive(sample, kind), atol=1e-6)


def test_one_class_as_computed_sample_by_sample() -> None:
    torch.manual_seed(1)
    label = torch.nn.functional.interpolate(torch.rand(3, 1, 4, 3, 5), scale_factor=4, mode="trilinear")[:, 0] > 0.6
    torch.testing.assert_close(distance_maps(label.long(), 2)[:, 0], signed_distance(label), atol=1e-6, rtol=0)


def test_classes_that_a_sample_lacks_or_that_fill_it() -> None:
    label = torch.stack([torch.zeros(3, 4), torch.ones(3, 4), 2 * torch.ones(3, 4)]).long()
    assert not distance_maps(label, 3).any()
    found = distance_maps(label, 3, absent=1.0)
    assert found.flatten(2).unique(dim=2).squeeze(2).tolist() == [[1, 1], [-1, 1], [1, -1]]
