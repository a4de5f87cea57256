"""DePL against worked numbers and the laws of its mean prediction."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.methods_support import Constant, blank, case_of, clock, reached

from semibench_plugins.methods.imbalance.depl import DePL, debiased

torch.set_num_threads(1)
LOGITS, PRIOR = torch.tensor([2.0, 1.0]).view(1, 2, 1), torch.tensor([0.8, 0.2])


def method(**changes: Any) -> DePL:
    built = case_of(DePL, **changes).build()
    assert isinstance(built, DePL)
    return built


def test_worked_debiasing() -> None:
    strong, mild = (debiased(LOGITS, PRIOR.log(), tau).flatten() for tau in (1.0, 0.4))
    assert strong.tolist() == pytest.approx([2.2231, 2.6094], abs=1e-4)
    assert strong.softmax(0).tolist() == pytest.approx([0.4046, 0.5954], abs=1e-4), "the label flips"
    assert mild.tolist() == pytest.approx([2.0893, 1.6438], abs=1e-4)
    assert debiased(LOGITS, PRIOR.log(), -1.0).flatten().tolist() == pytest.approx([1.7769, -0.6094], abs=1e-4)


def test_an_even_prior_changes_nothing() -> None:
    logits = torch.randn(2, 4, 3, 3)
    found = debiased(logits, torch.full((4,), 0.25).log(), 1.0).softmax(1)
    assert torch.allclose(found, logits.softmax(1), atol=1e-6)


def test_the_mean_prediction_follows() -> None:
    """q_n = p + .99^n (q_0 - p) for a constant prediction p; it stays a distribution."""
    built = method()
    a, b = torch.tensor([2.0, 0.0]), torch.tensor([-1.0, 0.5])
    built.first, built.second = Constant(a), Constant(b)  # type: ignore[assignment]
    for _ in range(3):
        built.losses(blank(), clock())
    for prior, logits in zip(built.prior, (a, b), strict=True):
        p = logits.softmax(0).detach()
        assert torch.allclose(prior, p + 0.99**3 * (0.5 - p), atol=1e-6)
        assert prior.sum().item() == pytest.approx(1.0)


def test_padding_is_no_prediction() -> None:
    built, batch = method(), blank()
    built.first, built.second = (Constant(torch.tensor([[[9.0, 0.0]] * 2, [[0.0, 0.0]] * 2])) for _ in range(2))  # type: ignore[assignment]
    batch["unlabeled"].valid[..., 0] = False
    built.losses(batch, clock())
    assert torch.allclose(built.prior, torch.full((2, 2), 0.5))


def test_the_label_is_debiased_and_learned_with_a_margin() -> None:
    """Both networks have logits (2, 1); network 2's prior turns its label to class 1, with a confidence of .5954."""
    built = method(options={"strength": 1.0, "threshold": 0.59, "momentum": 0.0})
    built.first, built.second = Constant(LOGITS.flatten()), Constant(LOGITS.flatten())  # type: ignore[assignment]
    built.prior.copy_(torch.stack([torch.tensor([0.5, 0.5]), PRIOR]))
    prior = LOGITS.flatten().softmax(0)  # what both priors are after the update, without momentum
    scores = (LOGITS.flatten() + prior.log()).log_softmax(0)
    cross = built.losses(blank(), clock())["cross"]
    assert cross.item() == pytest.approx(float(-scores[1] - scores[0]), rel=1e-5)
    assert reached(cross, built.first) and reached(cross, built.second)
    plain = method(options={"strength": 1.0, "threshold": 0.6, "margin": False})
    plain.first, plain.second, scores = built.first, built.second, LOGITS.flatten().log_softmax(0)
    plain.prior.copy_(torch.stack([torch.tensor([0.5, 0.5]), PRIOR]))
    assert plain.losses(blank(), clock())["cross"].item() == pytest.approx(float(-scores[0]), rel=1e-5), "2 is unsure"


def test_a_class_that_is_never_predicted_stays_finite() -> None:
    built = method()
    built.prior.copy_(torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    built.first, built.second = (Constant(torch.tensor([50.0, -60.0])) for _ in range(2))  # type: ignore[assignment]
    assert built.losses(blank(), clock())["cross"].isfinite()
