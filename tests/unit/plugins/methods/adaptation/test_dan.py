"""DAN against the published parameter count, the laws of its two steps, and a plain loop for the pooling."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from support.methods_support import Collected, case_of, clock, reached
from torch import nn
from torch.nn import functional as F

from semibench import Term
from semibench.run.settings import term_records
from semibench_plugins.methods.adaptation.dan import DAN
from semibench_plugins.methods.adaptation.evaluation_network import EvaluationNetwork, pooled

torch.set_num_threads(1)

SMALL = {"critic_filters": 2}


@pytest.mark.parametrize("patch", [(224, 224), (256, 256)])
def test_the_evaluation_network_has_the_published_size(patch: tuple[int, ...]) -> None:
    network = EvaluationNetwork(2, 1, 4, patch)
    assert sum(p.numel() for p in network.parameters()) == 2_762_754
    assert network.last.in_features == 2048


@pytest.mark.parametrize(
    ("patch", "channels"), [((32, 32), 1), ((8, 40), 3), ((16, 16), 1), ((48, 32, 16), 1), ((16, 16, 4), 2)]
)
def test_it_takes_any_size(patch: tuple[int, ...], channels: int) -> None:
    network = EvaluationNetwork(len(patch), channels, 3, patch, filters=2)
    assert network(torch.rand(2, 3, *patch), torch.rand(2, channels, *patch)).shape == (2, 2)


def test_its_layers_are_the_published_ones() -> None:
    network = EvaluationNetwork(2, 3, 4, (64, 64))
    layers = [network.of_map, network.of_image, *network.later]
    assert [(c.in_channels, c.out_channels) for c in layers] == [(4, 64), (3, 64), (64, 128), (128, 256), (256, 512)]
    assert all(c.kernel_size == (4, 4) and c.stride == (2, 2) for c in layers)


@pytest.mark.parametrize(("side", "window"), [(14, 7), (16, 7), (8, 4), (5, 2), (28, 14)])
def test_two_windows_are_those_of_torch(side: int, window: int) -> None:
    maps = torch.rand(1, 3, side, 2)
    expected = F.avg_pool2d(maps, (window, 1))[:, :, :2]
    torch.testing.assert_close(pooled(maps, 2, 2), expected)
    torch.testing.assert_close(pooled(maps, 2, 1), maps.mean(2, keepdim=True))


def saying(method: DAN, labeled: float) -> None:
    """The evaluation network says "labeled" with this logit and "unlabeled" with its negative, whatever it sees."""
    nn.init.zeros_(method.critic.last.weight)
    method.critic.last.bias.data = torch.tensor([-labeled, labeled])


def one_step(labeled: float, **options: Any) -> Collected:
    case = case_of(DAN, options={**SMALL, **options})
    method, seen = case.build().train(), Collected()
    assert isinstance(method, DAN)
    saying(method, labeled)
    method.step(case.data().batch(0), clock(), seen)
    return seen


def test_losses_against_networks_that_say_one_thing() -> None:
    undecided = one_step(0.0)
    assert [on for _, on in undecided.calls] == [("net",), ("critic",)]
    assert undecided.losses["adv"].item() == undecided.losses["critic"].item() == pytest.approx(math.log(2))
    fooled = one_step(10.0)
    assert fooled.losses["adv"].item() < 1e-6, "unlabeled images that look labeled are what the segmenter wants"
    assert fooled.losses["critic"].item() == pytest.approx(20.0 / 2, rel=1e-4), "and wrong for half of the batch"


def test_labeled_images_are_to_be_called_labeled() -> None:
    """Scores of the whole batch are (unlabeled, labeled), two rows of each part."""
    case = case_of(DAN, options=SMALL)
    method, seen = case.build().train(), Collected()
    assert isinstance(method, DAN)
    right = torch.tensor([[-10.0, 10.0]] * 2 + [[10.0, -10.0]] * 2)
    method.critic.register_forward_hook(lambda _net, _given, scores: right if len(scores) == 4 else scores)
    method.step(case.data().batch(0), clock(), seen)
    assert seen.losses["critic"].item() == pytest.approx(0.0, abs=1e-6) and method.notes["told_apart"] == 1.0


def test_the_critic_sees_maps_of_both_parts_beside_their_images() -> None:
    case = case_of(DAN, options=SMALL)
    method, batch = case.build().train(), case.data().batch(0)
    assert isinstance(method, DAN)
    calls: list[tuple[Any, ...]] = []
    method.critic.register_forward_pre_hook(lambda net, given: calls.append((*given, net.dropout.training)))
    method.step(batch, clock(), Collected())
    (maps_u, images_u, dropout), (maps, images, dropout_then) = calls
    assert torch.equal(images_u, batch["unlabeled"].image) and maps_u.requires_grad and not dropout
    assert (
        torch.equal(images, torch.cat([batch["labeled"].image, images_u])) and not maps.requires_grad and dropout_then
    )
    assert torch.equal(maps[2:], maps_u), "the maps of the step"


def test_maps_predicted_again_are_those_of_inference() -> None:
    case = case_of(DAN, options={**SMALL, "maps": "again"})
    method, batch = case.build().train(), case.data().batch(0)
    assert isinstance(method, DAN)
    shown: list[Any] = []
    method.critic.register_forward_pre_hook(lambda _net, given: shown.append(given[0]))
    method.step(batch, clock(), Collected())
    with torch.no_grad():
        method.eval()
        expected = method(torch.cat([batch["labeled"].image, batch["unlabeled"].image])).softmax(1)
    assert method.net.training is False and torch.equal(shown[1], expected)


@pytest.mark.parametrize("idle", ["net", "critic"])
def test_each_optimiser_leaves_the_other_network_alone(idle: str) -> None:
    """With the losses of one optimiser at weight 0, the losses of the other don't move its network."""
    rehearsal = case_of(DAN, options=SMALL).rehearse(steps=1)
    method = rehearsal.method
    own = {"net": ("sup", "adv"), "critic": ("critic",)}[idle]
    method.terms = {name: Term(0.0 if name in own else 1.0) for name in method.terms}
    before = [p.detach().clone() for p in getattr(method, idle).parameters()]
    rehearsal.run()
    after = list(getattr(method, idle).parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_the_segmenter_learns_from_being_judged() -> None:
    case = case_of(DAN, options=SMALL)
    method, seen = case.build().train(), Collected()
    method.step(case.data().batch(0), clock(), seen)
    assert reached(seen.losses["adv"], method.net)  # type: ignore[arg-type]
    assert not reached(seen.losses["critic"], method.net)  # type: ignore[arg-type]


def test_optimisers_and_weights() -> None:
    critic = case_of(DAN, options=SMALL).build().optimisers()["critic"]
    assert (critic.kind, critic.lr, critic.schedule) == ("adam", 1e-4, "constant")
    assert critic.settings == {"betas": (0.9, 0.99), "weight_decay": 0.0}
    published = Term.restore(term_records(DAN.terms, DAN.presets["ssl4mis"]["terms"])["adv"])
    assert [published.at(t) for t in (0.0, 0.5, 1.0)] == pytest.approx([6.738e-4, 0.02865, 0.1], abs=1e-5)
