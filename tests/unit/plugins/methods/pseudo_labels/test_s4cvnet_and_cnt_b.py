"""S4CVNet and CnT-B against worked numbers, an independent version, and the laws of their terms."""

from __future__ import annotations

import math

import pytest
import torch
from support.methods_support import Constant, blank, case_of, clock, reached
from torch import Tensor

from semibench import IGNORE, Method
from semibench.blocks import Teacher, cross_entropy, dice_ce, soft_dice
from semibench_plugins.methods.pseudo_labels.cnt_b import CnTB, region_weights, surer_labels, weighted_dice
from semibench_plugins.methods.pseudo_labels.s4cvnet import S4CVNet

torch.set_num_threads(1)

SMALL = {"second_width": 0.125}
HERE = torch.ones(1, 2, 2, dtype=torch.bool)


def spread(logits: Tensor) -> Tensor:
    """(K,) -> (1, K, 2, 2)."""
    return logits.view(1, -1, 1, 1).expand(1, len(logits), 2, 2)


# S4CVNet


def test_s4cvnet_weights_rise_linearly() -> None:
    cross, consistency = S4CVNet.terms["cross"], S4CVNet.terms["consistency"]
    assert [cross.at(i / 30000) for i in (0, 149, 15000, 30000)] == pytest.approx([0.0, 0.0, 0.35, 0.7])
    assert [consistency.at(i / 30000) for i in (999, 15000, 30000)] == pytest.approx([0.0, 0.05, 0.1])
    assert consistency.at(1000 / 30000) == pytest.approx(0.1 * 6 / 200)


def test_s4cvnet_worked_losses() -> None:
    method = case_of(S4CVNet, options={**SMALL, "noise": 0.0}).build()
    assert isinstance(method, S4CVNet)
    a, b = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 1.0])
    method.first, method.second = Constant(a), Constant(b)  # type: ignore[assignment]
    method.teacher = Teacher(Constant(torch.zeros(2)))
    label = torch.tensor([[[1, 1], [0, 0]]])
    losses = method.losses(blank(label), clock(step=50))
    ones = torch.ones(1, 2, 2, dtype=torch.int64)
    expected = soft_dice(spread(a), ones) + soft_dice(spread(b), 0 * ones)
    assert losses["cross"].item() == pytest.approx(expected.item())
    assert losses["sup"].item() == pytest.approx((dice_ce(spread(a), label) + dice_ce(spread(b), label)).item())
    sure, less = 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(-1))
    assert losses["consistency"].item() == pytest.approx((sure - 0.5) ** 2 + (less - 0.5) ** 2, abs=1e-6)


def test_s4cvnet_teacher_follows_the_transformer() -> None:
    case = case_of(S4CVNet, options=SMALL)
    method, batch = case.build().train(), case.data().batch(0)
    assert isinstance(method, S4CVNet)
    assert "consistency" not in method.losses(batch, clock())
    losses = method.losses(batch, clock(step=50))
    assert reached(losses["consistency"], method.first) and reached(losses["consistency"], method.second)
    assert not any(parameter.requires_grad for parameter in method.teacher.parameters())
    with torch.no_grad():
        for parameter in method.second.parameters():
            parameter.add_(1.0)
    method.after_step(clock())
    pairs = zip(method.teacher.net.parameters(), method.second.parameters(), strict=True)
    assert all(torch.equal(mine, theirs) for mine, theirs in pairs), "after the first update"
    assert list(method.predictors()) == ["teacher", "first", "second", "mean"]


# CnT-B


def test_cnt_b_with_equal_entropies_teaches_in_both_directions() -> None:
    """Opposite predictions of equal certainty: CTCT's labels, and weights exp(-U) for the class that is there."""
    method = case_of(CnTB, options=SMALL).build()
    assert isinstance(method, CnTB)
    a, b = torch.tensor([1.5, 0.0]), torch.tensor([0.0, 1.5])
    method.first, method.second = Constant(a), Constant(b)  # type: ignore[assignment]
    cross = method.losses(blank(), clock())["cross"].item()
    p = 1 / (1 + math.exp(-1.5))
    entropy = -p * math.log(p) - (1 - p) * math.log(1 - p)
    absent, present = 1 - 1e-5 / (4 * p * p + 1e-5), 1 - (8 * (1 - p) + 1e-5) / (4 * (1 - p) ** 2 + 4 + 1e-5)
    one = -math.log(1 - p) + (absent + math.exp(-entropy) * present) / 2
    assert cross == pytest.approx(2 * one, rel=1e-5)


def test_cnt_b_a_certain_network_is_not_taught() -> None:
    sure, unsure = spread(torch.tensor([50.0, 0.0])), spread(torch.tensor([0.0, 0.5]))
    assert surer_labels(unsure, sure, HERE).eq(IGNORE).all()
    assert surer_labels(sure, unsure, HERE).eq(0).all()
    method = case_of(CnTB, options=SMALL).build()
    assert isinstance(method, CnTB)
    method.first, method.second = Constant(torch.tensor([50.0, 0.0])), Constant(torch.tensor([0.0, 0.5]))  # type: ignore[assignment]
    cross = method.losses(blank(), clock())["cross"]
    assert reached(cross, method.second) and not reached(cross, method.first)


def test_cnt_b_parts_as_loops() -> None:
    torch.manual_seed(1)
    teacher, learner = torch.randn(2, 3, 3, 3), torch.randn(2, 3, 3, 3)
    valid = torch.ones(2, 3, 3, dtype=torch.bool)
    valid[1, 0] = False
    label, weights = surer_labels(teacher, learner, valid), region_weights(teacher, valid, 0.7)
    q, p = teacher.softmax(1), learner.softmax(1)
    dice = 0.0
    for b in range(2):
        by_class: dict[int, list[float]] = {0: [], 1: [], 2: []}
        for y in range(3):
            for x in range(3):
                h = [float(-(m[b, :, y, x] * m[b, :, y, x].log()).sum()) for m in (q, p)]
                kind = int(q[b, :, y, x].argmax())
                expected = kind if valid[b, y, x] and h[0] <= h[1] else IGNORE
                assert int(label[b, y, x]) == expected
                if valid[b, y, x]:
                    by_class[kind].append(h[0])
        for kind, entropies in by_class.items():
            weight = math.exp(-sum(entropies) / max(len(entropies), 1) / 0.7)
            assert float(weights[b, kind]) == pytest.approx(weight, abs=1e-6)
            there, counted = label[b] == kind, label[b] != IGNORE
            common, size = p[b, kind][there].sum(), p[b, kind][counted].square().sum() + there.sum()
            dice += weight * float(1 - (2 * common + 1e-5) / (size + 1e-5)) / 6
    assert weighted_dice(learner, label, weights).item() == pytest.approx(dice, abs=1e-5)
    assert weighted_dice(learner, torch.full_like(label, IGNORE), weights).item() == 0.0
    assert cross_entropy(learner, torch.full_like(label, IGNORE)).item() == 0.0


@pytest.mark.parametrize("method", [S4CVNet, CnTB])
def test_they_are_for_two_dimensions(method: type[Method]) -> None:
    case = case_of(method, 3)
    assert "2D" in (method.unsupported(case.task, case.parsed_options()) or "")
