"""Adsh against worked numbers, sorting, and the laws of its thresholds."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from support.methods_support import Constant, blank, case_of, clock
from torch import Tensor

from semibench import Clock
from semibench_plugins.methods.imbalance.adsh import BINS, Adsh, adaptive_thresholds

torch.set_num_threads(1)


def method(**changes: Any) -> Adsh:
    built = case_of(Adsh, **changes).build()
    assert isinstance(built, Adsh)
    return built


def at(passes: float) -> Clock:
    return Clock("train", 0, 100, {"unlabeled": passes})


def counted(confidences: list[list[float]]) -> Tensor:
    histogram = torch.zeros(len(confidences), BINS, dtype=torch.int64)
    for row, values in zip(histogram, confidences, strict=True):
        for value in values:
            row[math.floor(value * BINS + 1e-6)] += 1
    return histogram


def test_worked_thresholds() -> None:
    """Half of the most frequent class reaches .95, so half of each class is kept, rounded up; class 3 keeps its threshold."""
    histogram = counted([[0.99, 0.97, 0.90, 0.80], [0.7, 0.6, 0.5, 0.4], [0.9], []])
    found = adaptive_thresholds(histogram, 0.95, torch.full((4,), 0.95))
    assert found.tolist() == pytest.approx([0.97, 0.6, 0.9, 0.95])


def test_every_class_keeps_the_same_share() -> None:
    """Against sorting: the threshold lies within a bin of the ceil(rho n)-th confidence, and shares differ by 1 / n."""
    generator = torch.Generator().manual_seed(3)
    values = [torch.rand(n, generator=generator).sqrt().tolist() for n in (400, 50, 7)]
    found = adaptive_thresholds(counted(values), 0.9, torch.zeros(3))
    share = sum(math.floor(v * BINS) >= 900 for v in values[0]) / 400
    for threshold, confidences in zip(found.tolist(), values, strict=True):
        ranked = sorted(confidences, reverse=True)
        place = ranked[math.ceil(len(ranked) * share - 1e-9) - 1]
        assert 0.0 <= place - threshold < 1.0 / BINS + 1e-6
        kept = sum(v >= threshold for v in confidences) / len(ranked)
        assert share - 1e-9 <= kept <= share + 2 / len(ranked)


def test_a_class_that_is_all_in_the_last_bin_is_kept_whole() -> None:
    """Half of the most frequent class is wanted, but the histogram can't tell the voxels of the other one apart."""
    found = adaptive_thresholds(
        counted([[0.99] * 4 + [0.5] * 4, [0.9991, 0.9995, 0.9998, 0.9999]]), 0.95, torch.zeros(2)
    )
    assert found.tolist() == pytest.approx([0.99, 1.0 - 1.0 / BINS])


def test_no_confident_voxel_of_the_most_frequent_class() -> None:
    found = adaptive_thresholds(counted([[0.6, 0.7, 0.8], [0.5]]), 0.95, torch.zeros(2))
    assert found.tolist() == pytest.approx([0.8, 0.5]), "each class keeps its most confident voxel"


def test_thresholds_change_once_a_pass() -> None:
    built = method()
    torch.manual_seed(0)
    images = {"labeled": blank()["labeled"], "unlabeled": case_of(Adsh).data().batch(0)["unlabeled"]}
    images["labeled"] = case_of(Adsh).data().batch(0)["labeled"]
    built.losses(images, at(0.4))
    assert built.thresholds.eq(0.95).all()
    voxels = int(images["unlabeled"].valid.sum())
    assert built.histogram.sum((1, 2)).tolist() == [voxels, voxels], "unlabeled voxels without padding"
    expected = [adaptive_thresholds(one, 0.95, torch.full((2,), 0.95)) for one in built.histogram]
    built.losses(images, at(1.1))
    assert torch.equal(built.thresholds, torch.stack(expected)) and int(built.updates) == 1
    assert int(built.histogram.sum()) == 2 * voxels, "counted anew"


def test_a_confident_label_of_the_other_network_counts() -> None:
    """Network 1 says class 0 with .88, network 2 class 1 with .62. Network 2's label counts from .6 on, not from .7."""
    built = method()
    a, b = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 0.5])
    built.first, built.second = Constant(a), Constant(b)  # type: ignore[assignment]
    one, two = -a.log_softmax(0)[1].item(), -b.log_softmax(0)[0].item()
    for threshold, expected in ((0.6, one + two), (0.7, two), (0.9, 0.0)):
        built.thresholds.fill_(threshold)
        assert built.losses(blank(), clock())["cross"].item() == pytest.approx(expected, rel=1e-5)


def test_the_port_starts_without_thresholds() -> None:
    options = Adsh.presets["dhc"]["options"]
    assert not method(options=options).thresholds.any() and method().thresholds.eq(0.95).all()
