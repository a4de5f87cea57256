"""AdaOutput against the numbers of its sheet."""

from __future__ import annotations

import math

import pytest
import torch
from support.methods_support import Collected, case_of, clock

from semibench_plugins.methods.adaptation.adaoutput import AdaOutput, PatchCritic

SMALL = {"critic_filters": 2}


@pytest.mark.parametrize(
    ("patch", "scores"),
    [((128,) * 3, (4, 4, 4)), ((112, 112, 80), (3, 3, 2)), ((64, 128, 128), (2, 4, 4)), ((256, 256), (8, 8)),
     ((16, 32, 32), (1, 1, 1)), ((8, 8), (1, 1)), ((40, 12), (1, 1))],
)  # fmt: skip
def test_critic_map_sizes(patch: tuple[int, ...], scores: tuple[int, ...]) -> None:
    critic = PatchCritic(len(patch), 3, patch, filters=1)
    assert critic(torch.zeros(1, 3, *patch)).shape == (1, 1, *scores)


def test_critic_layers_are_the_papers() -> None:
    critic = PatchCritic(2, 2, (256, 256))
    convolutions = [layer for layer in critic.layers if isinstance(layer, torch.nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [64, 128, 256, 512, 1]
    assert all(c.kernel_size == (4, 4) and c.stride == (2, 2) for c in convolutions)
    assert isinstance(critic.layers[-1], torch.nn.Conv2d)


def test_zero_critics_give_ln_two() -> None:
    case = case_of(AdaOutput, options=SMALL)
    method, seen = case.build(), Collected()
    for parameter in method.critics.parameters():
        torch.nn.init.zeros_(parameter)
    method.step(case.data().batch(0), clock(), seen)
    assert seen.losses["adv"].item() == seen.losses["adv_aux"].item() == pytest.approx(math.log(2))
    assert seen.losses["critic"].item() == pytest.approx(2 * math.log(2)), "ln 2 on each of two levels"
    assert [on for _, on in seen.calls] == [("net",), ("critics",)]


def test_source_is_zero_and_target_is_one() -> None:
    case = case_of(AdaOutput, options=SMALL)
    method, seen = case.build(), Collected()
    last = [critic.layers[-1] for critic in method.critics]
    for layer in last:
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.constant_(layer.bias, -20.0)
    method.step(case.data().batch(0), clock(), seen)
    assert seen.losses["adv"].item() < 1e-6, "critics that say source are what the segmenter wants"
    assert seen.losses["critic"].item() == pytest.approx(2 * 0.5 * 20.0, rel=1e-4), "and wrong on the target half"


@pytest.mark.parametrize("weight", [0.0, 1e-3])
def test_each_optimiser_leaves_the_other_networks_alone(weight: float) -> None:
    case = case_of(AdaOutput, options=SMALL)
    rehearsal = case.rehearse(steps=1)
    method = rehearsal.method
    method.terms = {**method.terms, "critic": type(method.terms["critic"])(0.0)}
    before = {name: value.clone() for name, value in method.critics.state_dict().items()}
    rehearsal.run()
    after = method.critics.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before), "the segmenter's step moves no critic"
    rehearsal = case.rehearse(steps=1)
    method = rehearsal.method
    zero = type(method.terms["critic"])(0.0)
    method.terms = {name: term if name == "critic" else zero for name, term in method.terms.items()}
    weights = [p.detach().clone() for p in (*method.net.parameters(), *method.aux.parameters())]
    rehearsal.run()
    now = [*method.net.parameters(), *method.aux.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(weights, now, strict=True)), "the critics' step moves no segmenter"


def test_least_squares_and_heads() -> None:
    case = case_of(AdaOutput, options={**SMALL, "adversarial": "least-squares"})
    method = case.build()
    assert method.critic_loss(torch.zeros(2, 1, 3, 3), 1.0).item() == 1.0
    assert method.critic_loss(torch.zeros(2, 1, 3, 3), 0.0).item() == 0.0
    images = case.images()
    main, aux = method.eval().logits_by_level(images)
    assert main.shape == aux.shape and torch.equal(main, method(images))
    assert method.aux.in_channels == method.net.decoder.channels[1]
