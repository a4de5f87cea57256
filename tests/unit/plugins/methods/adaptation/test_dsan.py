"""DSAN: which image goes through which part, what each optimiser moves, and the losses for critics that say one thing."""

from __future__ import annotations

import pytest
import torch
from support.methods_support import Collected, case_of, clock, reached
from torch import nn

from semibench import Batch, Term
from semibench_plugins.methods.adaptation.dsan import DSAN

torch.set_num_threads(1)

SMALL = {"critic_filters": 2}


def one_step() -> tuple[DSAN, Batch, Collected]:
    case = case_of(DSAN, options=SMALL)
    method, seen, batch = case.build().train(), Collected(), case.data().batch(0)
    assert isinstance(method, DSAN)
    method.begin("train", case.data().pools)
    method.step(batch, clock(), seen)
    return method, batch, seen


def test_painted_values_lie_within_those_of_the_training_images() -> None:
    case = case_of(DSAN, options=SMALL)
    method = case.build()
    assert isinstance(method, DSAN)
    method.begin("train", case.data().pools)
    every = torch.cat([samples.image for samples in case.data().pools.batches("all")])
    assert method.bounds.tolist() == [every.min().item(), every.max().item()]
    method.to_target.decoder.head = lambda decoded: 50.0 * decoded  # type: ignore[method-assign, assignment]
    images = case.images()
    painted, _ = method.translated(method.net.encode(images), 3, images.shape[2:])
    assert every.min() <= painted.min() and painted.max() <= every.max() + 1e-6
    assert painted.max() > 0.99 * every.max(), "tanh saturates at the ends"


def test_each_domain_is_painted_as_the_other_and_back() -> None:
    case = case_of(DSAN, options=SMALL)
    method, batch = case.build().train(), case.data().batch(0)
    assert isinstance(method, DSAN)
    seen: dict[str, list[torch.Tensor]] = {"net": [], "to_source": [], "to_target": []}
    encode = method.net.encode

    def encoding(images: torch.Tensor) -> list[torch.Tensor]:
        seen["net"].append(images)
        return encode(images)

    method.net.encode = encoding  # type: ignore[method-assign]
    for name in ("to_source", "to_target"):
        getattr(method, name).register_forward_hook(lambda _net, _given, out, name=name: seen[name].append(out))
    method.step(batch, clock(), Collected())
    first, second = seen["net"]
    assert torch.equal(first, torch.cat([batch["labeled"].image, batch["unlabeled"].image]))
    as_target, back_to_target = seen["to_target"]
    as_source, back_to_source = seen["to_source"]
    assert torch.equal(second, torch.cat([as_target, as_source])), "the encoder sees the translations, source first"
    assert back_to_target.shape == as_target.shape and back_to_source.shape == as_source.shape


def test_losses_for_critics_that_say_nothing() -> None:
    """Scores of 0 are what the critics are to say about fakes, and about the source's softmax maps."""
    case = case_of(DSAN, options=SMALL)
    method, seen = case.build().train(), Collected()
    assert isinstance(method, DSAN)
    for critic in (method.source_critic, method.target_critic, method.output_critic):
        for parameter in critic.parameters():
            nn.init.zeros_(parameter)
    method.step(case.data().batch(0), clock(), seen)
    assert [on for _, on in seen.calls] == [("net", "translation"), ("critics",)]
    assert seen.losses["translation"].item() == 2.0, "(0 - real)^2 in each direction"
    assert seen.losses["output"].item() == 0.0, "target maps pass for source maps"
    assert seen.losses["critic"].item() == pytest.approx(0.5 + 0.5 + 0.5), "wrong on each real side and on target maps"


def test_cycle_and_consistency_are_those_of_the_step() -> None:
    method, _, seen = one_step()
    assert set(seen.losses) == set(DSAN.terms)
    assert reached(seen.losses["cycle"], method.to_source) and reached(seen.losses["cycle"], method.to_target)
    assert reached(seen.losses["sup_translated"], method.to_target)
    assert reached(seen.losses["output"], method.net)
    for part in (method.net, method.to_source, method.to_target):
        assert not reached(seen.losses["critic"], part), "the critics learn on detached images"


@pytest.mark.parametrize("idle", ["net", "to_source", "output_critic"])
def test_each_optimiser_leaves_the_others_alone(idle: str) -> None:
    rehearsal = case_of(DSAN, options=SMALL).rehearse(steps=1)
    method = rehearsal.method
    critics = idle == "output_critic"
    method.terms = {name: Term(0.0 if (name == "critic") == critics else 1.0) for name in method.terms}
    before = [p.detach().clone() for p in getattr(method, idle).parameters()]
    rehearsal.run()
    assert all(torch.equal(a, b) for a, b in zip(before, getattr(method, idle).parameters(), strict=True))
