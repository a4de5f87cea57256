"""Von Mises-Fisher kernels."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from semibench.blocks import VMFKernels, fit_vmf_mixture


def test_activations_of_worked_cosines() -> None:
    """exp(30 x .1) = 20.0855: shares of .952574 and .047426."""
    found = VMFKernels(2, 4).activations(torch.tensor([1.0, 0.9]).view(1, 2, 1))
    torch.testing.assert_close(found.flatten(), torch.tensor([0.952574, 0.047426]), atol=1e-6, rtol=0)
    assert math.exp(30 * (1.0 - 0.9)) == pytest.approx(20.0855, abs=1e-4)


def test_activations_are_those_of_the_formula_and_sum_to_one() -> None:
    torch.manual_seed(0)
    kernels, features = VMFKernels(5, 3), torch.randn(2, 3, 4, 4, 4)
    found = kernels(features)
    for b, z, y, x in ((0, 0, 0, 0), (1, 3, 2, 1)):
        f = features[b, :, z, y, x]
        cosines = [float(F.cosine_similarity(f, mu, dim=0)) for mu in kernels.kernels.detach()]
        raw = [math.exp(30 * c) if c > 0 else 0.0 for c in cosines]
        assert found[b, :, z, y, x].tolist() == pytest.approx([r / sum(raw) for r in raw], abs=1e-4)
    away = -kernels.kernels.detach().sum(0).view(1, 3, 1)
    sums = torch.cat([found.sum(1).flatten(), kernels(away).sum(1).flatten()])
    assert all(total == pytest.approx(1.0, abs=1e-5) or total == 0.0 for total in sums.tolist())


def test_a_position_that_no_kernel_points_to_has_no_activation_and_a_finite_gradient() -> None:
    kernels = VMFKernels(2, 2)
    with torch.no_grad():
        kernels.kernels.copy_(torch.eye(2))
    features = torch.tensor([-1.0, -1.0]).view(1, 2, 1).requires_grad_()
    found = kernels(features)
    assert found.flatten().tolist() == [0.0, 0.0]
    assert all(g.isfinite().all() for g in torch.autograd.grad(found.sum(), [features, kernels.kernels]))


def test_a_longer_kernel_changes_what_is_recomposed_but_no_activation() -> None:
    torch.manual_seed(0)
    kernels, features = VMFKernels(3, 4), torch.randn(2, 4, 3, 3)
    before, recomposed = kernels(features), kernels.recomposed(kernels(features))
    with torch.no_grad():
        kernels.kernels[1] *= 2.0
    torch.testing.assert_close(kernels(features), before)
    added = torch.einsum("b...,d->bd...", before[:, 1], kernels.kernels[1] / 2)
    torch.testing.assert_close(kernels.recomposed(before), recomposed + added)


def test_distance_of_features_that_are_kernels_is_zero() -> None:
    kernels = VMFKernels(3, 4)
    features = (5.0 * kernels.kernels.detach()).T.view(1, 4, 3)
    assert kernels.distance(features).item() == pytest.approx(0.0, abs=1e-6)
    other = torch.randn(2, 4, 3)
    nearest = [
        max(float(F.cosine_similarity(image[:, n], mu, dim=0)) for mu in kernels.kernels.detach())
        for image in other
        for n in range(3)
    ]
    expected = sum(1 - cosine for cosine in nearest) / 3
    assert kernels.distance(other).item() == pytest.approx(expected, rel=1e-5), (
        "summed over images, a mean over positions"
    )
    reached = torch.randn(1, 4, 3, requires_grad=True)
    kernels.distance(reached).backward()
    assert reached.grad is None and kernels.kernels.grad is not None


def test_a_mixture_finds_the_directions_of_separate_clusters() -> None:
    torch.manual_seed(0)
    truth = F.normalize(torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.2], [-1.0, 0.3, 1.0]]), dim=1)
    points = F.normalize(truth.repeat_interleave(50, 0) + 0.05 * torch.randn(150, 3), dim=1)
    lengths = 0.1 + torch.rand(150, 1)
    found = fit_vmf_mixture(lengths * points, 3)
    order = (found @ truth.T).argmax(0)
    assert sorted(order.tolist()) == [0, 1, 2]
    means = F.normalize(points.view(3, 50, 3).mean(1), dim=1)
    torch.testing.assert_close(found[order], means, atol=2e-3, rtol=0)
    with pytest.raises(ValueError, match="at least as many features"):
        fit_vmf_mixture(points[:2], 3)


def test_more_directions_than_clusters_stay_finite() -> None:
    found = fit_vmf_mixture(torch.ones(20, 3), 4)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(4))
