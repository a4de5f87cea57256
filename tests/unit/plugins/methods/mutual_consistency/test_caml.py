"""CAML: worked numbers, laws of memory, attention and correlation, the published number of parameters."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from support.methods_support import case_of, clock, quiet, reached
from torch import Tensor

from semibench import IGNORE, Term
from semibench.run.settings import term_records
from semibench_plugins.methods.mutual_consistency.caml import CAML, correlation_loss, maps
from semibench_plugins.methods.mutual_consistency.feature_memory import FeatureMemory, random_positions

torch.set_num_threads(1)

SMALL: dict[str, Any] = {"memory": 4, "positions": 16, "width": 8}


def caml(**options: Any) -> tuple[CAML, Any]:
    case = case_of(CAML, options={**SMALL, **options})
    method = case.build().train()
    assert isinstance(method, CAML)
    return method, case.data()


# correlations


def test_correlation_worked_numbers() -> None:
    g, same = torch.randn(5, 3), torch.ones(512, 3)
    assert correlation_loss(g, g, same, 0.1).item() == pytest.approx(6.2383, abs=1e-4), "ln 512"
    sure, memory = torch.tensor([[9.0, 0.0]]), torch.eye(2)
    assert correlation_loss(sure, sure, memory, 0.1).item() == pytest.approx(0.0, abs=1e-6)
    torch.manual_seed(0)
    memory = torch.randn(7, 3)
    c = (10 * g @ memory.T).double().softmax(1)
    expected = -(c * (c + 1e-8).log()).sum(1).mean()
    assert correlation_loss(g, g, memory, 0.1).item() == pytest.approx(expected.item(), rel=1e-4)
    a, b = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    assert all(grad.abs().sum() > 0 for grad in torch.autograd.grad(correlation_loss(a, b, memory, 0.1), (a, b)))


# memory


def test_a_slot_is_replaced_and_what_it_lacks_is_never_drawn() -> None:
    memory = FeatureMemory(slots=3, classes=2, size=4, width=1)
    assert memory.draw().shape == (0, 1), "nothing yet"
    rows = torch.arange(1.0, 9.0).view(1, 2, 4, 1)
    memory.replace(torch.tensor([1]), rows, torch.tensor([[4, 2]]))
    assert sorted(memory.draw().flatten().tolist()) == [1, 2, 3, 4], "class 1 has too few"
    memory.replace(torch.tensor([1]), 10 * rows, torch.tensor([[4, 2]]))
    assert sorted(memory.draw().flatten().tolist()) == [10, 20, 30, 40]
    memory.replace(torch.tensor([2]), rows[:, :, :2], torch.tensor([[0, 2]]))
    drawn = memory.draw().flatten().tolist()
    assert sorted(drawn[:4]) == [10, 20, 30, 40] and sorted(drawn[4:]) == [5, 6, 50, 60]
    assert not memory.draw().requires_grad
    twice = FeatureMemory(slots=2, classes=1, size=4, width=1)
    both = torch.arange(1.0, 9.0).view(2, 1, 4, 1)
    twice.replace(torch.tensor([1, 1]), both, torch.tensor([[9], [4]]))
    assert twice.features[1].flatten().tolist() == [5, 6, 7, 8] and twice.counts.tolist() == [[0.0], [4.0]], "the last"


def test_features_are_drawn_as_often_as_the_positions_they_stand_for() -> None:
    """Of 300 positions in one slot and 100 in another, three quarters of the draws come from the first (800 draws: +-.06)."""
    torch.manual_seed(0)
    memory = FeatureMemory(slots=2, classes=1, size=20, width=1)
    rows = torch.stack([torch.zeros(1, 20, 1), torch.ones(1, 20, 1)])
    memory.replace(torch.tensor([0, 1]), rows, torch.tensor([[300], [100]]))
    share = torch.stack([memory.draw()[:1].mean() for _ in range(800)]).mean().item()
    assert share == pytest.approx(0.25, abs=0.06)


def test_random_positions_are_those_of_the_mask() -> None:
    mask = torch.zeros(2, 3, 50, dtype=torch.bool)
    mask[0, 1, 7] = mask[1, 2, 3] = mask[1, 2, 40] = True
    places, counts = random_positions(mask, 2)
    assert counts.tolist() == [[0, 1, 0], [0, 0, 2]]
    assert places[0, 1, 0] == 7 and sorted(places[1, 2].tolist()) == [3, 40]


def test_features_of_positions_that_both_networks_got_right_are_remembered() -> None:
    method, data = caml()
    labeled = data.batch(0)["labeled"]
    count, size = len(labeled.image), labeled.image.shape[2:]
    target = torch.zeros(count, *size, dtype=torch.int64)
    target[:, :4] = 1
    target[:, 4:6] = IGNORE
    labeled.label = target
    says_1, says_0 = torch.zeros(count, 2, *size), torch.zeros(count, 2, *size)
    says_1[:, 1, :2], says_0[:, 1, :3] = 1.0, 1.0
    features = tuple(torch.randn(count, method.net.decoder.channels[0], *size) for _ in range(2))
    method.remember(labeled, features, (says_1, says_0))  # type: ignore[arg-type]
    counts = method.memory.counts[labeled.index]
    assert counts[0].tolist() == [(size[0] - 6) * size[1], 2 * size[1]], "right in both, padding left out"
    method.heads.eval()
    method.auxiliary_heads.eval()
    first, second = (part[0, :, :2].flatten(1).T for part in features)
    expected = 0.5 * (method.heads.project(first) + method.auxiliary_heads.project(second))
    for row in method.memory.features[labeled.index[0], 1]:
        assert (row - expected).abs().sum(1).min() < 1e-4
    others = [slot for slot in range(len(method.memory.counts)) if slot not in labeled.index.tolist()]
    assert not method.memory.counts[others].any()


# attention


def logits_of_second(method: CAML, images: Tensor) -> Tensor:
    return maps(method.auxiliary, images)[1]


def test_samples_see_each_other_in_training_only() -> None:
    method, data = caml()
    quiet(method)
    for norm in (part for part in method.auxiliary.modules() if isinstance(part, torch.nn.BatchNorm2d)):
        norm.eval()
    images = data.batch(0)["unlabeled"].image
    other = images.clone()
    other[1] += 1.0
    assert not torch.allclose(logits_of_second(method, images)[0], logits_of_second(method, other)[0])
    method.eval()
    assert torch.equal(logits_of_second(method, images)[0], logits_of_second(method, other)[0])


def test_published_number_of_parameters() -> None:
    method = case_of(CAML, 3, backbone_options={}).build()
    assert sum(p.numel() for p in method.parameters()) == 20_128_836


# the method


def test_correlation_trains_both_networks_once_the_memory_is_filled() -> None:
    method, data = caml()
    losses = method.losses(data.batch(0), clock())
    assert method.memory.counts.sum() > 0 and losses["correlation"].item() > 0.0
    assert reached(losses["correlation"], method.net) and reached(losses["correlation"], method.auxiliary)
    assert reached(losses["correlation"], method.heads) and not method.memory.features.requires_grad
    method.memory.counts.zero_()
    unlabeled = data.batch(0)["unlabeled"]
    outputs = [maps(net, unlabeled.image) for net in (method.net, method.auxiliary)]
    nothing = method.correlation(*zip(*outputs, strict=True), unlabeled.valid)  # type: ignore[arg-type]
    assert nothing.item() == 0.0


def test_only_the_first_network_predicts() -> None:
    method, data = caml()
    images = data.batch(0)["unlabeled"].image
    before = method.eval()(images)
    for value in method.auxiliary.parameters():
        value.data.add_(1.0)
    assert torch.equal(method(images), before)


def test_weights_of_the_published_schedules() -> None:
    for preset, levels in (("la", 40), ("la-8", 20), ("la-16", 15)):
        records = term_records(CAML.terms, CAML.presets[preset].get("terms", {}))
        consistency, correlation = (Term.restore(records[name]) for name in ("consistency", "correlation"))
        assert consistency.at(0.0) == pytest.approx(0.0067379, rel=1e-4)
        assert correlation.at(0.0) == pytest.approx(3.37e-4, rel=1e-3)
        step = 10 * 150 / 15000
        assert consistency.at(step) == pytest.approx(math.exp(-5 * (1 - 10 / levels) ** 2))
        assert correlation.at(150 * levels / 15000) == 0.05
