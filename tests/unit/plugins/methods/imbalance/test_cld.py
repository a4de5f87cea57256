"""CLD against worked numbers and against loops over voxels."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from support.methods_support import Constant, blank, case_of, clock, samples

from semibench import IGNORE
from semibench.run.settings import term_records
from semibench_plugins.methods.imbalance.cld import CLD
from semibench_plugins.methods.imbalance.co_training import kept_cross_entropy

torch.set_num_threads(1)


def method(**changes: Any) -> CLD:
    built = case_of(CLD, **changes).build()
    assert isinstance(built, CLD)
    return built


def test_worked_keep_rates() -> None:
    built = method(classes=3)
    built.confidence.copy_(torch.tensor([[0.95, 0.8, 0.5], [0.0, 0.0, 0.0]]))
    rates = built.keep_rates()
    assert rates[0].tolist() == pytest.approx([0.316228, 0.632456, 1.0], abs=1e-6)
    assert rates[1].tolist() == [1.0, 1.0, 1.0], "before the first value everything is kept"
    built.confidence.fill_(1.0)
    assert bool(built.keep_rates().isfinite().all()), "sure of everything"


def test_the_least_sure_class_is_always_kept() -> None:
    """The share that is kept lies within three standard deviations of its rate."""
    built, rates, draws = method(classes=3), torch.tensor([0.316228, 0.632456, 1.0]), 40_000
    torch.manual_seed(0)
    own = torch.arange(3).repeat_interleave(draws).view(1, 3, draws)
    kept = built.sampled(own, rates)[0].float().mean(1)
    for share, rate in zip(kept.tolist(), rates.tolist(), strict=True):
        assert abs(share - rate) <= 3 * math.sqrt(rate * (1 - rate) / draws)


def test_confidence_of_the_true_classes() -> None:
    """Two labeled batches are collected, the next two move the average; an unseen class keeps its value."""
    built = method(classes=3, options={"momentum": 0.9})
    built.first, built.second = (Constant(torch.tensor(v).log()) for v in ([0.7, 0.2, 0.1], [0.5, 0.4, 0.1]))  # type: ignore[assignment]
    label = torch.tensor([[[0, 0], [1, IGNORE]]])
    built.losses(blank(label), clock(step=0))
    assert not built.confidence.any(), "collected, not yet used"
    built.losses(blank(label), clock(step=1))
    assert built.confidence.tolist() == [pytest.approx([0.7, 0.2, 0.0]), pytest.approx([0.5, 0.4, 0.0])]
    assert not built.collected.any() and not built.counts.any()
    built.first = Constant(torch.tensor([0.2, 0.2, 0.6]).log())  # type: ignore[assignment]
    for step in (2, 3):
        built.losses(blank(torch.tensor([[[0, 0], [2, 2]]])), clock(step=step))
    assert built.confidence[0].tolist() == pytest.approx([0.9 * 0.7 + 0.1 * 0.2, 0.2, 0.6])


def test_kept_voxels_learn_the_others_labels_with_class_weights() -> None:
    logits, label, weight = torch.randn(2, 3, 3, 3), torch.randint(3, (2, 3, 3)), torch.tensor([1.0, 2.0, 4.0])
    kept, valid = torch.rand(2, 3, 3) < 0.5, torch.ones(2, 3, 3, dtype=torch.bool)
    valid[0, 0] = False
    label[~valid] = IGNORE
    found, total = kept_cross_entropy(logits, label, kept, valid, weight=weight), 0.0
    for b, y, x in torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(3)).tolist():
        if valid[b, y, x] and kept[b, y, x]:
            k = int(label[b, y, x])
            total -= float(weight[k]) * float(logits[b, :, y, x].log_softmax(0)[k])
    assert float(found) == pytest.approx(total / int(valid.sum()), rel=1e-5), "dropped voxels count in the mean"


def test_its_own_prediction_decides_what_is_kept() -> None:
    """Network 1 predicts class 1, which it never keeps; network 2 predicts class 0 and keeps all: only 2 learns."""
    built = method()
    a, b = torch.tensor([0.0, 2.0]), torch.tensor([1.0, 0.0])
    built.first, built.second = Constant(a), Constant(b)  # type: ignore[assignment]
    built.confidence.copy_(torch.tensor([[0.0, 1.0], [0.0, 0.0]]))
    batch = blank(torch.full((1, 2, 2), IGNORE))
    cross = built.losses(batch, clock())["cross"].item()
    assert cross == pytest.approx(-float(b.log_softmax(0)[1]), rel=1e-5)


def test_weights_of_the_labeled_cases_and_of_the_port() -> None:
    built, data = method(), case_of(CLD).data()
    built.begin("train", data.pools)
    counts = data.pools.class_voxels()
    assert built.class_weight.tolist() == pytest.approx([1.0, float(counts[0] / counts[1]) ** (1 / 3)])
    records = term_records(CLD.terms, CLD.presets["dhc"]["terms"])
    assert records["cross"]["weight"] == 1.0 and records["cross"]["ramp"]["levels"] == 300


def test_predictors_are_mean_first_second() -> None:
    built = method()
    built.first, built.second = Constant(torch.tensor([2.0, 0.0])), Constant(torch.tensor([0.0, 1.0]))  # type: ignore[assignment]
    image = samples(torch.zeros(1, 1, 2, 2)).image
    assert list(built.predictors()) == ["mean", "first", "second"]
    assert built(image)[0, :, 0, 0].tolist() == [1.0, 0.5]
