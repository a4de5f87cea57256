"""SCP-Net against loops over samples, positions and classes, and the laws of its terms."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from support.methods_support import case_of, clock, reached
from torch import Tensor

from semibench import Term
from semibench.run.settings import term_records
from semibench_plugins.methods.contrast_and_prototypes.scp_net import SCPNet, prototype_predictions

torch.set_num_threads(1)


def draw(count: int = 3, channels: int = 4, kinds: int = 3, positions: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(count, channels, positions, generator=generator)
    probabilities = torch.randn(count, kinds, positions, generator=generator).softmax(1)
    valid = torch.ones(count, positions, dtype=torch.bool)
    valid[0, -2:] = False
    return features, probabilities, valid


def by_loops(features: Tensor, probabilities: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    count, kinds, positions = probabilities.shape
    prototypes = torch.zeros(count, kinds, features.shape[1])
    for b in range(count):
        for c in range(kinds):
            weight = [float(probabilities[b, c, i]) * bool(valid[b, i]) for i in range(positions)]
            prototypes[b, c] = sum(w * features[b, :, i] for i, w in enumerate(weight)) / (sum(weight) + 1e-5)
    own, others = torch.zeros(count, kinds, positions), torch.zeros(count, kinds, positions)
    agreement = torch.zeros(count, positions)
    for b in range(count):
        for i in range(positions):
            near = torch.stack(
                [
                    torch.stack([torch.cosine_similarity(features[b, :, i], q, dim=0) for q in prototype])
                    for prototype in prototypes
                ]
            )
            own[b, :, i] = near[b].softmax(0)
            rest = torch.cat([near[:b], near[b + 1 :]]).exp().sum(0)
            others[b, :, i] = rest / rest.sum()
            shares = [float((near.argmax(1) == c).float().mean()) for c in range(kinds)]
            agreement[b, i] = 1 + sum(s * math.log(s) for s in shares if s) / math.log(kinds)
    return own, others, agreement


def test_predictions_by_prototypes_as_loops() -> None:
    given = draw()
    found = prototype_predictions(*given)
    for mine, theirs in zip(found, by_loops(*given), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=0)
    assert found.own.sum(1) == pytest.approx(1.0, abs=1e-6) and found.others.sum(1) == pytest.approx(1.0, abs=1e-6)


def test_agreement_of_unanimous_and_of_split_votes() -> None:
    """Two samples whose classes have opposite directions: each position gets one vote for each class."""
    features = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]])
    sure = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    valid = torch.ones(2, 2, dtype=torch.bool)
    same = prototype_predictions(features, torch.stack([sure, sure]), valid)
    assert same.agreement == pytest.approx(1.0)
    split = prototype_predictions(features, torch.stack([sure, sure.flip(0)]), valid)
    assert split.agreement == pytest.approx(0.0, abs=1e-6)
    e = math.e
    assert split.own[0, 0].tolist() == pytest.approx([e / (e + 1), 1 / (e + 1)], abs=1e-4)
    assert split.others[0, 0].tolist() == pytest.approx([1 / (e + 1), e / (e + 1)], abs=1e-4)


def test_a_class_that_is_nowhere_has_similarity_zero() -> None:
    features, probabilities, valid = draw(kinds=2)
    probabilities[:, 1], probabilities[:, 0] = 0.0, 1.0
    found = prototype_predictions(features, probabilities, valid)
    assert all(part.isfinite().all() for part in found)


@pytest.mark.parametrize(("weight", "cross"), [("agreement", 1.0), ("disagreement", 0.0), ("none", 1.0)])
def test_weights_of_the_cross_sample_term(weight: str, cross: float) -> None:
    """All prototypes agree: the text counts such positions, the code leaves them out."""
    method = case_of(SCPNet, options={"weight": weight}).build()
    assert isinstance(method, SCPNet)
    features = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]).repeat(2, 1, 1)
    found = prototype_predictions(features, features, torch.ones(2, 2, dtype=torch.bool))
    largest = 1.0 if weight == "none" else math.e / (1 + math.e)
    assert method._weight(found) == pytest.approx(cross * largest, abs=1e-5)


def test_losses_are_masked_squares_and_train_the_network() -> None:
    case = case_of(SCPNet)
    method, batch = case.build().train(), case.data().batch(0)
    assert isinstance(method, SCPNet)
    losses = method.losses(batch, clock())
    assert all(reached(loss, method.net) for loss in losses.values())
    assert all(0.0 <= float(losses[name].detach()) <= 1.0 for name in ("self", "cross"))


def test_no_gradient_through_prototypes() -> None:
    features, probabilities, valid = draw()
    found = prototype_predictions(features.requires_grad_(), probabilities.requires_grad_(), valid)
    assert not any(part.requires_grad for part in found)


def test_weights_rise_in_a_run_or_in_nearly_four() -> None:
    changes: Any = SCPNet.presets["code"]["terms"]
    code = {name: Term.restore(record) for name, record in term_records(SCPNet.terms, changes).items()}
    for name in ("self", "cross"):
        assert 2 * SCPNet.terms[name].at(1.0) == pytest.approx(0.1)
        assert 2 * code[name].at(1.0) == pytest.approx(0.1 * math.exp(-5 * (1 - 0.266) ** 2))
        assert 2 * code[name].at(1.0) == pytest.approx(0.0068, abs=1e-4)
