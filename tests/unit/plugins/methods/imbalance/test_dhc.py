"""DHC against worked numbers and against its loss written out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.methods_support import Constant, blank, case_of, clock
from torch import Tensor
from torch.nn import functional as F

from semibench.run.settings import term_records
from semibench_plugins.methods.imbalance.co_training import Pair, cross_terms
from semibench_plugins.methods.imbalance.dhc import DHC, log_ratios

torch.set_num_threads(1)


def method(**changes: Any) -> DHC:
    built = case_of(DHC, **changes).build()
    assert isinstance(built, DHC)
    return built


def test_worked_weights_by_frequency() -> None:
    assert log_ratios(torch.tensor([1000.0, 100.0, 10.0])).tolist() == pytest.approx([0.0, 1.5, 3.0], abs=1e-5)
    absent = log_ratios(torch.tensor([1000.0, 100.0, 0.0])).tolist()
    assert absent == pytest.approx([0.0, 0.27273, 3.0], abs=1e-5), "the code's weight of a class that is nowhere"
    assert log_ratios(torch.tensor([7.0, 7.0])).tolist() == [1.0, 1.0]


def test_weights_by_frequency_follow_the_predictions() -> None:
    """Constant predictions: after n iterations the start has the share .99^n."""
    built = method()
    built.first, built.second = Constant(torch.tensor([0.0, 2.0])), Constant(torch.tensor([0.0, 1.0]))  # type: ignore[assignment]
    built.frequency.copy_(torch.tensor([0.0, 2.0]))
    for _ in range(5):
        built.losses(blank(), clock())
    target = torch.tensor([2.0, 0.0])  # class 1 is all that network 2 predicts
    start = torch.tensor([0.0, 2.0])
    assert torch.allclose(built.frequency, target + 0.99**5 * (start - target), atol=1e-6)


def test_worked_weights_by_difficulty() -> None:
    """The example of `ClassDifficulty`, divided by its maximum, times K."""
    built = method(classes=3)
    built.difficulty.last.copy_(torch.tensor([1e-8, 0.5, 0.4]))
    hard = built.difficulty.step(torch.tensor([0.9, 0.6, 0.3]))
    assert (hard / hard.max() * 3).tolist() == pytest.approx([0.01038, 0.04075, 3.0], abs=2e-5)


def naive_sup(logits: Tensor, label: Tensor, weight: Tensor) -> float:
    """CE_w + mean_{k >= 1} w_k (1 - Dice_k), class by class."""
    p, found = logits.softmax(1), float(F.cross_entropy(logits, label, weight=weight))
    kinds = range(1, len(weight))
    for k in kinds:
        y = (label == k).float()
        dice = (2 * (p[:, k] * y).sum() + 1) / (p[:, k].sum() + y.sum() + 1)
        found += float(weight[k] * (1 - dice)) / len(kinds)
    return found


def test_each_network_has_weights_of_its_own() -> None:
    built = method(classes=3, options={"floor": 0.0})
    with torch.no_grad():
        built.first, built.second = (Constant(torch.randn(3, 2, 2)) for _ in range(2))  # type: ignore[assignment]
        batch = blank(torch.tensor([[[0, 1], [2, 1]]]))
        one, two = (net.logits[None] for net in (built.first, built.second))  # type: ignore[union-attr]
        losses = built.losses(batch, clock())
        hard = built.difficulty.weights
        weights = (3 * hard / hard.max(), built.frequency)
        label = batch["labeled"].target
        sup = sum(naive_sup(z, label, w) for z, w in zip((one, two), weights, strict=True))
        assert 2.0 * losses["sup"].item() == pytest.approx(sup, rel=1e-5)
        cross = F.cross_entropy(one, two.argmax(1), weight=weights[0])
        cross = cross + F.cross_entropy(two, one.argmax(1), weight=weights[1])
        assert losses["cross"].item() == pytest.approx(cross.item(), rel=1e-5), "both samples are alike"


def test_equal_weights_are_cps() -> None:
    """Worked: the cross terms of CPS for logits (2, 0) and (0, 1)."""
    first, second = (torch.tensor(v).view(1, 2, 1, 1) for v in ([2.0, 0.0], [0.0, 1.0]))
    pair, ones = Pair(first, second, 1, torch.ones(1, 1, 1, dtype=torch.bool)), torch.ones(2)
    assert cross_terms(pair, (ones, ones)).item() == pytest.approx(3.440190, abs=1e-6)
    assert cross_terms(pair, (3 * ones, 7 * ones)).item() == pytest.approx(3.440190, abs=1e-6), "weighted means"


def test_floor_and_start() -> None:
    built, data = method(), case_of(DHC).data()
    built.begin("train", data.pools)
    assert built.frequency.tolist() == [0.0, 2.0], "two classes"
    built.losses(data.batch(0), clock())
    assert float(built.notes["background-weight-2"]) == 1.0, "no class counts less than without weights"
    built = method(options=DHC.presets["dhc"]["options"])
    built.begin("train", data.pools)
    built.losses(data.batch(0), clock())
    assert float(built.notes["background-weight-2"]) < 0.02, "published"
    records = term_records(DHC.terms, DHC.presets["dhc"]["terms"])
    assert (records["sup"]["weight"], records["cross"]["weight"]) == (2.0, 0.1)
