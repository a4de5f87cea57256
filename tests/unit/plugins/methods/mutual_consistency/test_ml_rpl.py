"""ML-RPL: worked numbers, against loops, who learns from whom."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.methods_support import case_of, clock, reached
from torch import Tensor

from semibench_plugins.methods.mutual_consistency import ml_rpl
from semibench_plugins.methods.mutual_consistency.ml_rpl import (
    MLRPL,
    Branch,
    reliability,
    reliable_loss,
    similarities,
)

torch.set_num_threads(1)

EVERYWHERE = torch.ones(1, 1, 1, dtype=torch.bool)


def branch(*probabilities: float) -> Branch:
    """One position with these probabilities, and one feature."""
    logits = torch.tensor(probabilities).log().view(1, -1, 1, 1).requires_grad_()
    return Branch(logits, torch.ones(1, 1, 1, 1))


def test_worked_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    similar = torch.tensor([0.95, 0.2]).view(1, 2, 1, 1)
    monkeypatch.setattr(ml_rpl, "similarities", lambda *_: similar)
    student, teacher = branch(0.6, 0.4), branch(0.9, 0.1)
    assert reliability(teacher, torch.zeros(1, 1, 1, dtype=torch.int64)).item() == pytest.approx(0.99375)
    loss = reliable_loss(student, teacher, EVERYWHERE)
    assert loss.item() == pytest.approx(0.50763, abs=1e-5)
    assert reliable_loss(teacher, student, EVERYWHERE).item() == 0.0, "the more certain decoder learns nothing"
    assert reliable_loss(student, student, EVERYWHERE).item() == 0.0
    own, others = torch.autograd.grad(loss, (student.logits, teacher.logits), allow_unused=True)
    assert own.abs().sum() > 0 and others is None


def test_alike_features_leave_the_prediction_alone_to_judge() -> None:
    """sim = 1 for the classes that occur, 0 for the others."""
    teacher = Branch(torch.tensor([3.0, 2.0, 1.0]).log().view(1, 3, 1, 1).expand(1, 3, 2, 2), torch.ones(1, 4, 2, 2))
    label = torch.zeros(1, 2, 2, dtype=torch.int64)
    found = reliability(teacher, label)
    expected = 1 - (torch.tensor([1.0, 0.0, 0.0]) - torch.tensor([3.0, 2.0, 1.0]) / 6).square().mean()
    torch.testing.assert_close(found, expected.expand(1, 2, 2))
    far = similarities(-torch.ones(1, 4, 2, 2), label, 3)
    torch.testing.assert_close(far[:, 0], torch.ones(1, 2, 2))


def loops(student: Tensor, teacher: Tensor, features: Tensor, valid: Tensor) -> float:
    """The definition, position by position."""
    s, t = (z.double().softmax(1).numpy() for z in (student, teacher))
    f, counted = features.double().numpy(), valid.numpy()
    total, less_certain = 0.0, 0
    for b in range(len(s)):
        places = [place for place in np.ndindex(*s.shape[2:]) if counted[(b, *place)]]
        labels = {place: int(t[(b, slice(None), *place)].argmax()) for place in places}
        prototypes = []
        for kind in range(s.shape[1]):
            members = [f[(b, slice(None), *place)] for place in places if labels[place] == kind]
            mean = np.mean(members, 0) if members else np.zeros(f.shape[1])
            prototypes.append(mean / max(np.linalg.norm(mean), 1e-12))
        for place in places:
            p, q, own = (m[(b, slice(None), *place)] for m in (s, t, f))
            if -(p * np.log(p + 1e-6)).sum() > -(q * np.log(q + 1e-6)).sum():
                cosines = np.array([own @ prototype / np.linalg.norm(own) for prototype in prototypes])
                total += max(np.mean(1 - (cosines - q) ** 2), 0.0) * -np.log(p[labels[place]])
                less_certain += 1
    return total / (less_certain + 1e-6)


@pytest.mark.parametrize("size", [(4, 3), (3, 2, 2)])
def test_against_loops(size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    student, teacher = (2 * torch.randn(2, 3, *size) for _ in range(2))
    teacher[1, 2] = -9.0  # a class that no position has
    features = torch.randn(2, 4, *size)
    valid = torch.ones(2, *size, dtype=torch.bool)
    valid[0, 0] = False
    found = reliable_loss(Branch(student, features), Branch(teacher, features), valid)
    assert found.item() == pytest.approx(loops(student, teacher, features, valid), rel=1e-4)


def test_each_prediction_s_entropy_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []

    def watched(logits: Tensor) -> Tensor:
        seen.append(logits)
        return logits.softmax(1).amin(1)

    monkeypatch.setattr(ml_rpl, "entropy_of", watched)
    case = case_of(MLRPL)
    case.build().losses(case.data().batch(0), clock())
    assert len(seen) == 2 and not torch.equal(*seen)


def test_both_decoders_learn_and_the_first_predicts() -> None:
    case = case_of(MLRPL)
    method, batch = case.build(), case.data().batch(0)
    assert isinstance(method, MLRPL)
    losses = method.losses(batch, clock())
    for decoder in (method.net.decoder, method.second):
        assert reached(losses["sup"], decoder) and reached(losses["mutual"], decoder)
    images = case.images()
    before = method.eval()(images)
    for value in method.second.parameters():
        value.data.add_(1.0)
    assert torch.equal(method(images), before)
