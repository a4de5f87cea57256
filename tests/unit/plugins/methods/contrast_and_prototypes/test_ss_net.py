"""SS-Net against worked numbers, against loops over pairs, and the laws of its terms."""

from __future__ import annotations

import pytest
import torch
from support.methods_support import Constant, blank, case_of, clock, reached
from torch import Tensor, nn
from torch.nn import functional as F

from semibench import IGNORE, Clock, Term
from semibench.run.settings import term_records
from semibench_plugins.methods.contrast_and_prototypes.ss_net.method import SSNet
from semibench_plugins.methods.contrast_and_prototypes.ss_net.separation import Separation
from semibench_plugins.methods.contrast_and_prototypes.ss_net.smoothness import (
    linear_dice_distance,
    squared_dice_distance,
    unit,
    worst_direction,
)

torch.set_num_threads(1)


def maps(*values: float) -> Tensor:
    """Probabilities of one position -> (1, K, 1, 1)."""
    return torch.tensor(values).view(1, -1, 1, 1)


@pytest.mark.parametrize(
    ("first", "second", "linear", "squared"),
    [((0.9, 0.1), (0.6, 0.4), 0.42, 0.303167), ((0.9, 0.1), (0.9, 0.1), 0.18, 0.0)],
)
def test_worked_distances(first: tuple[float, ...], second: tuple[float, ...], linear: float, squared: float) -> None:
    """Squared, by class: 1 - 2 (.54) / (.81 + .36) and 1 - 2 (.04) / (.01 + .16), and their mean."""
    here = torch.ones(1, 1, 1, dtype=torch.bool)
    given = maps(*first).log(), maps(*second), here
    assert linear_dice_distance(*given).item() == pytest.approx(linear, abs=1e-6)
    assert squared_dice_distance(*given).item() == pytest.approx(squared, abs=1e-6)


@pytest.mark.parametrize("distance", [linear_dice_distance, squared_dice_distance])
def test_padding_has_no_part_in_a_distance(distance: type) -> None:
    logits, target = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4).softmax(1)
    valid = torch.ones(2, 4, 4, dtype=torch.bool)
    valid[..., 2:] = False
    cut = distance(logits[..., :2], target[..., :2], valid[..., :2])
    assert distance(logits, target, valid).item() == pytest.approx(cut.item(), abs=1e-6)


def test_the_direction_is_that_of_the_steepest_change() -> None:
    """A network that reads one position: the direction is that position, with norm 1 in each sample."""

    def predict(images: Tensor) -> Tensor:
        read = images[:, :, 1, 2].unsqueeze(-1).unsqueeze(-1).expand(-1, 1, 3, 3)
        return torch.cat([torch.zeros_like(read), read], 1)

    images, valid = torch.randn(4, 1, 3, 3), torch.ones(4, 3, 3, dtype=torch.bool)
    target = predict(images).softmax(1)
    found = worst_direction(predict, images, target, valid, squared_dice_distance, probe=1.0)
    assert found.flatten(1).norm(dim=1) == pytest.approx(1.0)
    assert found[:, 0, 1, 2].abs() == pytest.approx(1.0)
    assert unit(torch.zeros(2, 1, 3, 3)).abs().sum() == 0.0


def test_a_network_that_ignores_its_input_is_smooth() -> None:
    class Flat(Constant):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) + 0.0 * images

    method = case_of(SSNet).build()
    assert isinstance(method, SSNet)
    method.net = Flat(torch.tensor([2.0, 0.5]))  # type: ignore[assignment]
    images, valid = torch.randn(2, 1, 4, 4), torch.ones(2, 4, 4, dtype=torch.bool)
    target = method.net(images).detach().softmax(1)
    assert method._smoothness(images, target, valid).item() == pytest.approx(0.0, abs=1e-6)


@torch.no_grad()
def by_pairs(part: Separation, features: Tensor, label: Tensor) -> float:
    """The distance as it is defined: over all pairs, with both weights scaled to mean 1."""
    rows = part.prediction(part.projection(features.movedim(1, -1).reshape(-1, features.shape[1])))
    total = 0.0
    for kind in range(1, part.classes):
        own, count = rows[label.flatten() == kind], int(part.stored[kind - 1])
        memory = part.memory[kind - 1, :count]
        w = part.selectors[kind - 1](own).sigmoid().flatten()
        v = torch.ones(count)
        if part.memory_selectors is not None:
            v = part.memory_selectors[kind - 1](memory).sigmoid().flatten()
        pairs = [
            (1 - F.cosine_similarity(own[i], memory[j], dim=0)) * (w[i] / w.mean()) * (v[j] / v.mean())
            for i in range(len(own))
            for j in range(count)
        ]
        total += float(torch.stack(pairs).mean())
    return total / part.classes


@pytest.mark.parametrize("weighted", [True, False])
def test_separation_is_the_mean_over_pairs(weighted: bool) -> None:
    torch.manual_seed(0)
    part = Separation(5, 3, 4, 6, best=True, weighted=weighted)
    features, label = torch.randn(2, 5, 3, 3), torch.randint(0, 3, (2, 3, 3))
    part.store(features, label)
    assert part.stored.tolist() == [4, 4]
    assert part(features, label).item() == pytest.approx(by_pairs(part, features, label), abs=1e-5)


@pytest.mark.parametrize(("direction", "distance"), [((1.0, 0.0), 0.0), ((0.0, 1.0), 1.0), ((-1.0, 0.0), 2.0)])
def test_worked_cosine_distances(direction: tuple[float, float], distance: float) -> None:
    """Two classes: the sum over the foreground is halved."""
    part = Separation(2, 2, 3, 2, best=True, weighted=False)
    part.projection, part.prediction = nn.Sequential(nn.Identity()), nn.Sequential(nn.Identity())
    part.memory[0] = torch.tensor([[2.0, 0.0], [5.0, 0.0], [1.0, 0.0]])
    part.stored[0] = 3
    features = torch.tensor(direction).view(1, 2, 1, 1).expand(1, 2, 2, 2)
    assert part(features, torch.ones(1, 2, 2)).item() == pytest.approx(distance / 2)
    assert part(features, torch.zeros(1, 2, 2)).item() == 0.0, "no position of the class"


@pytest.mark.parametrize("best", [True, False])
def test_memory_keeps_the_highest_or_the_lowest_scores(best: bool) -> None:
    part = Separation(1, 2, 2, 1, best=best, weighted=False)
    part.projection, part.selectors[0] = nn.Sequential(nn.Identity()), nn.Identity()
    features = torch.tensor([3.0, 9.0, 1.0, 7.0, 5.0, 0.0]).view(1, 1, 2, 3)
    label = torch.tensor([[[1, IGNORE, 1], [1, 1, 0]]])
    part.store(features, label)
    assert sorted(part.memory.flatten().tolist()) == ([5.0, 7.0] if best else [1.0, 3.0])
    part.store(torch.full((1, 1, 1, 1), 4.0), torch.ones(1, 1, 1))
    assert part.memory.flatten().tolist() == [4.0, 0.0] and part.stored.tolist() == [1]
    part.store(features, 0 * label)
    assert part.stored.tolist() == [1], "a class that isn't there keeps its features"


def test_only_correct_positions_are_stored() -> None:
    method = case_of(SSNet).build()
    assert isinstance(method, SSNet)
    target = torch.tensor([[[1, 1], [0, 0]]])
    logits = torch.zeros(2, 2, 2, 2)
    logits[:, 1, 0, 0] = 1.0  # foreground at one position, background elsewhere
    features = torch.randn(2, method.net.decoder.channels[0], 2, 2)
    method._separation(features, logits, target, torch.ones(1, 2, 2, dtype=torch.bool))
    assert method.separation.stored.tolist() == [1]


def test_weights_of_the_3d_script() -> None:
    of_script = term_records(SSNet.terms, SSNet.presets["la"]["terms"])
    smooth, separate = Term.restore(of_script["smooth"]), Term.restore(of_script["separate"])
    expected = {0: 0.006738, 1500: 0.060055, 3000: 0.286505, 4500: 0.731616, 6000: 1.0, 15000: 1.0}
    for iteration, weight in expected.items():
        assert smooth.at(iteration / 15000) == pytest.approx(weight, abs=1e-6)
        assert separate.at(iteration / 15000) == pytest.approx(0.1 * weight, abs=1e-6)
    records = term_records(SSNet.terms, SSNet.presets["acdc"]["terms"])
    assert Term.restore(records["smooth"]).at(0.5) == pytest.approx(0.1 * 0.286505, abs=1e-6)


def test_dims_choose_the_script_and_options_overrule_them() -> None:
    flat, deep = case_of(SSNet).build(), case_of(SSNet, 3).build()
    linear = case_of(SSNet, options={"distance": "linear", "size": 2.0}).build()
    assert isinstance(flat, SSNet) and isinstance(deep, SSNet) and isinstance(linear, SSNet)
    assert (flat.size, flat.distance) == (6.0, squared_dice_distance)
    assert (deep.size, deep.distance) == (10.0, linear_dice_distance)
    assert (linear.size, linear.distance) == (2.0, linear_dice_distance)


def test_each_term_reaches_what_it_trains() -> None:
    case = case_of(SSNet, options={"correct_only": False})
    method, batch = case.build().train(), case.data().batch(0)
    assert isinstance(method, SSNet)
    losses = method.losses(batch, Clock("train", 0, 10, {}))
    for name, term in losses.items():
        assert reached(term, method.net), name
        assert reached(term, method.separation) == (name == "separate")


def test_no_stored_feature_no_loss() -> None:
    case = case_of(SSNet)
    method = case.build().train()
    assert isinstance(method, SSNet)
    batch = blank()
    for part in batch.values():
        part.image, part.valid = torch.zeros(2, 1, 32, 32), torch.ones(2, 32, 32, dtype=torch.bool)
    batch["labeled"].label = torch.zeros(2, 32, 32, dtype=torch.int64)
    assert method.losses(batch, clock())["separate"].item() == 0.0


@pytest.mark.parametrize(("dims", "expected"), [(3, 0.243243), (2, 0.075230)])
def test_worked_supervised_losses(dims: int, expected: float) -> None:
    """p = (.8, .6, .2, .1) against y = (1, 1, 0, 0): foreground with sums in 3D; in 2D the mean of both classes' Dice with
    squares, 1 - 2 * 1.4 / (1.05 + 2) for the foreground and 1 - 2 * 1.7 / (1.65 + 2) for the background."""
    method = case_of(SSNet, dims).build()
    assert isinstance(method, SSNet)
    p = torch.tensor([0.8, 0.6, 0.2, 0.1])
    shape = (1, 2, 2, 2, 1)[: dims + 2]
    logits = torch.stack([(1 - p).log(), p.log()]).view(shape)
    target = torch.tensor([1, 1, 0, 0]).view((1, *shape[2:]))
    assert method._supervised(logits, target).item() == pytest.approx(expected, abs=1e-6)
