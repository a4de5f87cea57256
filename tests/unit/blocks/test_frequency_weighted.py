"""The loss in which frequent classes count less: by hand, against loops, and at its ends."""

from __future__ import annotations

import math

import pytest
import torch

from semibench import IGNORE
from semibench.blocks import frequency_weighted_loss, soft_dice


def test_class_weights_by_hand() -> None:
    label = torch.tensor([[[0, 0], [0, 1]]])
    dice = 1 - 0.5 * (2 * 1.5 / (1.0 + 3) + 2 * 0.5 / (1.0 + 1))
    found = frequency_weighted_loss(torch.zeros(1, 2, 2, 2), label).item()
    assert found == pytest.approx(math.log(2) * (3 * 0.25 + 0.75) / 4 + dice, rel=1e-5)


def test_probabilities_count_as_a_two_hundredth_at_least() -> None:
    sure = torch.tensor([50.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 1, 2)
    label = torch.tensor([[[1, 0]]])
    dice = 1 - 0.5 * (2 / (2 + 1))
    assert frequency_weighted_loss(sure, label).item() == pytest.approx(-0.5 * math.log(0.005) / 2 + dice, rel=1e-4)
    padded = torch.tensor([[[1, 0], [IGNORE, IGNORE]]])
    wide = torch.tensor([50.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 2, 2)
    assert frequency_weighted_loss(wide, padded).item() == pytest.approx(frequency_weighted_loss(sure, label).item())


def test_the_loss_against_plain_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 4.0 * torch.randn(2, 3, 4, 4, generator=generator)
    target = torch.randint(0, 3, (2, 4, 4), generator=generator)
    target[0, 0, :2] = IGNORE
    counted = [int(y) for y in target.flatten() if y != IGNORE]
    share = [counted.count(c) / len(counted) for c in range(3)]
    total = 0.0
    for b in range(2):
        for i in range(4):
            for j in range(4):
                label = int(target[b, i, j])
                if label != IGNORE:
                    p = float(logits[b, :, i, j].softmax(0)[label])
                    total -= (1 - share[label]) * math.log(max(p, 0.005))
    expected = total / len(counted) + float(soft_dice(logits, target))
    assert frequency_weighted_loss(logits, target).item() == pytest.approx(expected, rel=1e-5)


def test_an_improbable_label_has_no_gradient_in_the_cross_entropy() -> None:
    logits = torch.tensor([8.0, 0.0]).reshape(1, 2, 1, 1).requires_grad_()
    target = torch.ones(1, 1, 1, dtype=torch.int64)
    both = torch.cat([logits, logits.detach()]), torch.cat([target, torch.zeros_like(target)])
    (gradient,) = torch.autograd.grad(frequency_weighted_loss(*both) - soft_dice(*both), logits)
    assert gradient.abs().sum() == 0.0


def test_nothing_labeled_gives_zero() -> None:
    logits = torch.randn(1, 2, 4, 4)
    assert frequency_weighted_loss(logits, torch.full((1, 4, 4), IGNORE)) == 0.0
