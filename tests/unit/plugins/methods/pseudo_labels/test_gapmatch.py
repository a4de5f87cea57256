"""GapMatch (our reconstruction): its move of the weights against worked numbers, its update against one made by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.methods_support import case_of, clock, quiet
from torch.nn import functional as F

from semibench import Term
from semibench_plugins.methods.pseudo_labels.gapmatch import GapMatch, ascended, with_gradient

torch.set_num_threads(1)


def method(**changes: Any) -> GapMatch:
    built = case_of(GapMatch, options={"threshold": 0.5, "cutmix": 0.0} | changes).build()
    assert isinstance(built, GapMatch)
    return built


def test_worked_move() -> None:
    """f(w) = w^2 / 2 at w = 1: g1 = 1, w* = 1.1, g2 = 1.1; together 2.1, and w stays 1."""
    w = torch.tensor(1.0, requires_grad=True)
    here = w.square() / 2
    (gradient,) = torch.autograd.grad(here, w)
    moved = ascended({"w": w}, [gradient], 0.1)["w"]
    assert moved.item() == pytest.approx(1.1)
    total = with_gradient(here, [w], [gradient]) + moved.square() / 2
    assert total.item() == pytest.approx(0.5 + 0.605)
    (found,) = torch.autograd.grad(total, w)
    assert found.item() == pytest.approx(2.1) and w.item() == 1.0


def test_the_move_has_its_length_over_all_parameters() -> None:
    named = {"a": torch.randn(3, 4), "b": torch.randn(5), "unused": torch.randn(2)}
    gradients = [torch.randn(3, 4), torch.randn(5), None]
    moved = ascended(named, gradients, 0.25)
    apart = torch.cat([(moved[name] - named[name]).flatten() for name in named])
    assert apart.norm().item() == pytest.approx(0.25, rel=1e-5) and torch.equal(moved["unused"], named["unused"])
    still = ascended(named, [torch.zeros(3, 4), torch.zeros(5), None], 0.25)
    assert all(torch.equal(still[name], named[name]) for name in named), "no confident voxel"


def test_the_update_is_that_of_weights_moved_in_place() -> None:
    built, batch = quiet(method()), case_of(GapMatch).data().batch(0)
    parameters = list(built.net.parameters())
    losses = built.losses(batch, clock(step=99))
    found = torch.autograd.grad(losses["pseudo"] + losses["model"], parameters, allow_unused=True)
    before = [p.detach().clone() for p in parameters]
    weak = built.net(batch["unlabeled"].image).detach()
    del weak  # moves the running statistics, which training doesn't read
    count = len(batch["labeled"].image)
    logits = built.net(torch.cat([batch["labeled"].image, batch["unlabeled"].image]))[count:].detach().softmax(1)
    confidence, label = logits.max(1)
    kept = (confidence >= 0.5) & batch["unlabeled"].valid

    def gradient() -> tuple[torch.Tensor, ...]:
        loss = built.learned(built.net(batch["unlabeled"].strong[0]), label, kept, batch["unlabeled"].valid)
        return torch.autograd.grad(loss, parameters)

    first = gradient()
    norm = torch.stack([g.square().sum() for g in first]).sum().sqrt()
    with torch.no_grad():
        for p, g in zip(parameters, first, strict=True):
            p += built.options.length * g / norm
    second = gradient()
    for one, two, whole, old in zip(first, second, found, before, strict=True):
        assert whole is not None and old.shape == whole.shape
        assert torch.allclose(one + two, whole, atol=1e-5)


def test_without_the_model_term_it_is_fixmatch() -> None:
    """Printed: the cross-entropy of confident voxels, summed over them and divided by the number of all."""
    built, batch = quiet(method(pseudo_loss="cross_entropy")), case_of(GapMatch).data().batch(0)
    built.terms = {**built.terms, "model": Term(0.0)}
    labeled, unlabeled = batch["labeled"], batch["unlabeled"]
    with torch.no_grad():
        weak = built.net(torch.cat([labeled.image, unlabeled.image]))[len(labeled.image) :].softmax(1)
        confidence, label = weak.max(1)
        kept = (confidence >= 0.5) & unlabeled.valid
        each = F.cross_entropy(built.net(unlabeled.strong[0]), label, reduction="none")
    losses = built.losses(batch, clock())
    expected = float((each * kept).sum() / unlabeled.valid.sum())
    assert losses["model"].item() == 0.0 and losses["pseudo"].item() == pytest.approx(expected, rel=1e-4)
    built.options = GapMatch.Options(threshold=1.0)
    assert built.losses(batch, clock())["pseudo"].item() == pytest.approx(0.0), "nothing is that certain"
