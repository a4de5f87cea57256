"""DDSP: the numbers of its losses, the laws of its disruption, and what each of its two steps moves."""

from __future__ import annotations

import math

import pytest
import torch
from support.methods_support import Collected, case_of, clock, quiet, reached
from torch import Tensor

from semibench import Term
from semibench.blocks import entropy
from semibench_plugins.backbones.unet import UNet
from semibench_plugins.backbones.vnet import VNet
from semibench_plugins.methods.adaptation.ddsp import DDSP, channel_consistency, channel_similarity, parameters_of_head
from semibench_plugins.methods.adaptation.disruption import (
    by_intervals,
    disrupted,
    drawn_exchange,
    drawn_shift,
    exchanged,
)

torch.set_num_threads(1)


def test_entropy_of_five_even_classes() -> None:
    """Over positions ln 5, over elements a fifth of it."""
    assert entropy(torch.zeros(1, 5, 2, 2)).item() == pytest.approx(1.6094, abs=1e-4)
    assert entropy(torch.zeros(1, 5, 2, 2)).item() / 5 == pytest.approx(0.3219, abs=1e-4)


def test_intervals_by_hand() -> None:
    edges, order = torch.tensor([[-1.0, 0.0, 0.5, 1.0]]), torch.tensor([[2, 0, 1]])
    values = torch.tensor([[-1.0, -0.5, 0.0, 0.25, 0.5, 0.75, 1.0]])
    # [-1, 0) goes to [.5, 1), [0, .5) to [-1, 0), [.5, 1] to [0, .5]
    expected = torch.tensor([[0.5, 0.75, -1.0, -0.5, 0.0, 0.25, 0.5]])
    torch.testing.assert_close(exchanged(values, edges, order), expected)


def test_drawn_exchanges() -> None:
    """Every used interval goes to a used one; in their own order they change nothing."""
    torch.manual_seed(0)
    edges, order = drawn_exchange(50, 6)
    assert edges.shape == (50, 8) and (edges.diff(dim=1) >= 0).all()
    number = (edges[:, 1:-1] < 1.0).sum(1)
    assert number.min() == 2 and number.max() == 6
    index = torch.arange(7).repeat(50, 1)
    assert torch.equal(order.sort(1).values, index)
    used = index <= number[:, None]
    assert (order.masked_fill(~used, 0) <= number[:, None]).all(), "none of no width is used"
    values = torch.rand(50, 40) * 2 - 1
    values[:, 0], values[:, 1] = -1.0, 1.0
    torch.testing.assert_close(exchanged(values, edges, index), values)
    changed = exchanged(values, edges, order)
    assert changed.abs().max() <= 1.0 and (changed.argsort(1) != values.argsort(1)).any()


def test_a_shifted_histogram_keeps_the_order_and_the_ends() -> None:
    torch.manual_seed(0)
    places, curve = drawn_shift(20)
    values = (torch.rand(20, 30) * 2 - 1).sort(1).values
    values[:, 0], values[:, -1] = -1.0, 1.0
    bent = by_intervals(values, places, curve[:, :-1], curve[:, 1:])
    number = (places < 1.0).sum(1) + 1
    assert set(number.tolist()) <= set(range(2, 9)) and len(set(number.tolist())) > 3
    for one, drawn, points in zip(places, curve, number.tolist(), strict=True):
        torch.testing.assert_close(one[:points], torch.linspace(-1.0, 1.0, points))
        for i in range(1, points - 1):
            assert drawn[i - 1] <= drawn[i] <= one[i + 1], "between the drawn point before and the place of the next"
        assert drawn[0] == -1.0 and bool((drawn[points - 1 :] == 1.0).all())
    assert (bent.diff(dim=1) >= -1e-6).all()
    assert torch.equal(bent[:, 0], values[:, 0]) and torch.equal(bent[:, -1], values[:, -1])


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_disrupted_images_keep_their_range_and_their_even_areas(probability: float) -> None:
    torch.manual_seed(0)
    images = 100.0 * torch.rand(4, 2, 6, 6, 4) - 20.0
    images[:, :, :2] = 5.0
    valid = torch.ones(4, 6, 6, 4, dtype=torch.bool)
    valid[0, -1] = False
    found = disrupted(images, most=8, probability=probability, valid=valid)
    assert found.shape == images.shape and not torch.equal(found, images)
    low, high = images.flatten(1).aminmax(dim=1)
    assert (found.flatten(1).amax(1) <= high + 1e-3).all() and (found[1:].flatten(1).amin(1) >= low[1:] - 1e-3).all()
    assert found[0, :, -1].abs().max() == 0.0
    if not probability:
        assert torch.allclose(found[:, :, :2].flatten(1).std(1), torch.zeros(4), atol=1e-4), "without noise"


def test_similarities_between_channels() -> None:
    features = torch.rand(2, 3, 4, 5)
    found = channel_similarity(features)
    flat = features.flatten(2)[1]
    cosines = [[torch.cosine_similarity(one, other, dim=0).item() for other in flat] for one in flat]
    least = min(min(row) for row in cosines)
    above = [[value - least for value in row] for row in cosines]
    assert found.shape == (2, 3, 3)
    for row, values in enumerate(above):
        for column, value in enumerate(values):
            assert found[1, row, column].item() == pytest.approx(value / sum(values), abs=1e-5)
    scale = torch.tensor([1.0, 7.0, 0.2]).view(3, 1, 1)
    torch.testing.assert_close(channel_similarity(scale * features), found)


def test_consistency_looks_at_the_foreground_only() -> None:
    first, label = torch.rand(1, 2, 4, 4), torch.zeros(1, 4, 4, dtype=torch.int64)
    label[0, :2], label[0, 3] = 1, 255
    second = first.clone()
    second[:, :, 2:] = -9.0
    assert channel_consistency(first, second, label).item() == pytest.approx(1.0)
    second[:, 0] *= -1.0
    assert channel_consistency(first, second, label).item() == pytest.approx(0.0, abs=1e-6)
    assert channel_consistency(first[..., ::2, ::2], first[..., ::2, ::2], label).item() == pytest.approx(1.0)


def test_the_two_steps() -> None:
    case = case_of(DDSP, classes=4)
    method, seen, batch = case.build().train(), Collected(), case.data().batch(0)
    method.net.decoder.head.__self__.last.weight.data.zero_()  # type: ignore[attr-defined]
    method.net.decoder.head.__self__.last.bias.data.zero_()  # type: ignore[attr-defined]
    method.step(batch, clock(), seen)
    assert [(tuple(losses), on) for losses, on in seen.calls] == [
        (("similarity", "channels"), ("features",)),
        (("sup", "sup_disrupted", "consistency", "entropy"), ("net",)),
    ]
    losses = {name: value.item() for name, value in seen.losses.items()}
    assert losses["entropy"] == pytest.approx(math.log(4) / 4, rel=1e-5)
    assert losses["consistency"] == pytest.approx(0.0, abs=1e-6)
    dice = []
    for label in batch["labeled"].target:
        sizes = [(label == kind).sum().item() for kind in range(4)]
        dice += [1 - (2 * n / 4 + 1) / (sum(sizes) / 16 + n + 1) for n in sizes]
    assert losses["sup"] == losses["sup_disrupted"] == pytest.approx(sum(dice) / len(dice), rel=1e-4)


def test_the_step_of_the_features_leaves_the_head_alone() -> None:
    rehearsal = case_of(DDSP).rehearse(steps=1)
    method = rehearsal.method
    kept = ("similarity", "channels")
    method.terms = {name: Term(1.0 if name in kept else 0.0) for name in method.terms}
    before = {name: value.clone() for name, value in method.net.named_parameters()}
    rehearsal.run()
    moved = {name for name, value in method.net.named_parameters() if not torch.equal(value, before[name])}
    assert any(name.startswith("blocks.") for name in moved) and any(name.startswith("decoder.") for name in moved)
    assert not any(name.startswith("decoder.last") for name in moved)


@pytest.mark.parametrize(("dims", "backbone"), [(2, UNet), (3, VNet)])
def test_the_head_is_found_and_the_network_stays(dims: int, backbone: type) -> None:
    net = case_of(DDSP, dims, backbone=backbone).build().train().net
    buffers = {name: value.clone() for name, value in net.named_buffers()}
    head = parameters_of_head(net)
    names = {name for name, value in net.named_parameters() if any(value is one for one in head)}
    assert names == {"decoder.last.weight", "decoder.last.bias"} and len(head) == 2
    assert all(part.training and not part._forward_pre_hooks for part in net.modules())
    assert all(torch.equal(value, buffers[name]) for name, value in net.named_buffers())


def test_optimisers_of_both_parts() -> None:
    """They divide the network; both steps train the features, the second one the head, too."""
    case = case_of(DDSP, options={"rates": "parts"})
    method, seen = case.build().train(), Collected()
    parts = {
        name: {id(p) for one in part.modules for p in one.parameters()} for name, part in method.optimisers().items()
    }
    assert set(parts) == {"features", "head"} and not parts["features"] & parts["head"]
    assert parts["features"] | parts["head"] == {id(p) for p in method.parameters()}
    method.step(case.data().batch(0), clock(), seen)
    assert [on for _, on in seen.calls] == [("features",), ("features", "head")]


def test_rates_of_both_parts() -> None:
    """After one step of SGD on the supervised loss: the head moved as far as ever, all else a tenth as far."""

    def moves(rates: str) -> dict[str, Tensor]:
        rehearsal = case_of(DDSP, options={"rates": rates}).rehearse(steps=1)
        method = rehearsal.method
        method.terms = {name: Term(1.0 if name == "sup" else 0.0) for name in method.terms}
        before = {name: value.clone() for name, value in method.net.named_parameters()}
        rehearsal.run()
        return {name: value.detach() - before[name] for name, value in method.net.named_parameters()}

    steps, parts = moves("steps"), moves("parts")
    assert all(move.abs().max() > 0 for name, move in steps.items() if name.endswith("last.weight"))
    for name, move in steps.items():
        share = 1.0 if name.startswith("decoder.last") else 0.1
        torch.testing.assert_close(parts[name], share * move, atol=1e-7, rtol=1e-2)


def test_the_code_as_released() -> None:
    """Its rates don't fall, and it trains neither consistency nor entropy."""
    code = DDSP.presets["code"]
    assert code["terms"] == {"consistency": 0.0, "entropy": 0.0}
    assert code["options"] == {"rates": "parts"} and code["recipe"][
        "lr"
    ] * DDSP.Options().feature_rate == pytest.approx(1e-4)
    assert code["recipe"]["iterations"] == 500 * 20 and code["recipe"]["schedule"] == "constant"


def test_source_similarities_are_a_constant() -> None:
    """The similarity reaches the network through the target's features; with the same features it is 0."""
    case = case_of(DDSP)
    method, seen, batch = case.build().train(), Collected(), case.data().batch(0)
    quiet(method).step({"labeled": batch["labeled"], "unlabeled": batch["labeled"]}, clock(), seen)
    assert seen.losses["similarity"].item() == 0.0
    seen = Collected()
    method.step(batch, clock(), seen)
    assert reached(seen.losses["similarity"], method.net)
