"""Parts of Wasserstein critics against their formulas."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from semibench.blocks import clip_weights, gradient_penalty


@pytest.mark.parametrize("shape", [(2, 1, 2, 2), (3, 2, 4, 4, 2), (2, 9)])
def test_penalty_of_a_sum_is_that_of_the_norm_of_ones(shape: tuple[int, ...]) -> None:
    expected = (torch.ones(shape[1:]).norm().item() - 1) ** 2
    found = gradient_penalty(lambda x: x.flatten(1).sum(1), torch.rand(shape), torch.rand(shape))
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_penalty_is_taken_between_the_samples_and_trains_the_critic() -> None:
    seen: list[Tensor] = []
    scale = torch.tensor(2.0, requires_grad=True)

    def critic(x: Tensor) -> Tensor:
        seen.append(x)
        return scale * x

    penalty = gradient_penalty(critic, torch.ones(64, 1), torch.zeros(65, 1))
    assert penalty.item() == pytest.approx(1.0) and len(seen[0]) == 64
    assert 0.0 <= seen[0].min() < 0.2 and 0.8 < seen[0].max() <= 1.0, "one share for each sample"
    (slope,) = torch.autograd.grad(penalty, scale)
    assert slope.item() == pytest.approx(2.0)


def test_scores_of_patches_are_averaged() -> None:
    real = torch.rand(2, 1, 4, 4)
    found = gradient_penalty(lambda x: x, real, torch.rand(2, 1, 4, 4))
    assert found.item() == pytest.approx((0.25 - 1) ** 2), "the norm of sixteen slopes of a sixteenth"


def test_weights_are_clipped_in_place() -> None:
    layer = torch.nn.Linear(3, 1)
    layer.weight.data, layer.bias.data = torch.tensor([[0.05, -0.01, -2.0]]), torch.tensor([0.04])
    clip_weights(layer, 0.03)
    torch.testing.assert_close(layer.weight.data, torch.tensor([[0.03, -0.01, -0.03]]))
    torch.testing.assert_close(layer.bias.data, torch.tensor([0.03]))
    assert layer.weight.requires_grad
