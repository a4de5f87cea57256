"""CISC-R: the weights of its pseudo-labels, its means and choices, and the laws of its stages."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from support.methods_support import case_of, clock, reached
from torch.nn import functional as F

from semibench import IGNORE, Samples
from semibench_plugins.backbones.unet import UNet
from semibench_plugins.methods.pseudo_labels.cisc_r import (
    CISCR,
    NONE,
    consistency_map,
    drawn,
    holds,
    least,
    mean_features,
    rectified,
)

torch.set_num_threads(1)


@pytest.mark.parametrize(("same", "agreement", "weight"), [(True, 0.8, 0.8), (False, 0.8, 0.2), (True, 1.0, 1.0)])
def test_weights_of_the_rectified_loss(same: bool, agreement: float, weight: float) -> None:
    logits = torch.tensor([0.3, -0.4]).view(1, 2, 1, 1).requires_grad_()
    label, plain = torch.ones(1, 1, 1, dtype=torch.int64), math.log(1 + math.exp(0.7))
    s = torch.full((1, 1, 1), agreement, requires_grad=True)
    found = rectified(logits, label, s, torch.tensor([1 if same else NONE]))
    assert found.item() == pytest.approx(weight * plain, abs=1e-6)
    assert torch.autograd.grad(found.sum(), s, allow_unused=True) == (None,)


def test_without_a_shared_class_it_is_the_plain_cross_entropy() -> None:
    torch.manual_seed(0)
    logits, label = torch.randn(2, 3, 4, 4), torch.randint(3, (2, 4, 4))
    label[0, 0, 0] = IGNORE
    found = rectified(logits, label, torch.zeros(2, 4, 4), torch.tensor([NONE, NONE]))
    torch.testing.assert_close(found, F.cross_entropy(logits, label, ignore_index=IGNORE, reduction="none"))


def test_mean_features_are_those_of_the_enlarged_map() -> None:
    torch.manual_seed(0)
    net = case_of(CISCR).build().net(0)  # type: ignore[operator]
    decoded, mask = torch.randn(2, 5, 3, 4), torch.rand(2, 12, 16) > 0.6
    mask[1] = False
    large = net.enlarge(decoded, (12, 16))
    naive = torch.stack([(large[b] * mask[b]).sum((1, 2)) / (mask[b].sum() + 5e-4) for b in range(2)])
    torch.testing.assert_close(mean_features(net, decoded, mask), naive)
    area = 30
    inside = torch.zeros(1, 12, 16, dtype=torch.bool)
    inside.view(-1)[:area] = True
    constant = mean_features(net, torch.full((1, 5, 3, 4), 2.0), inside)
    torch.testing.assert_close(constant, torch.full((1, 5), 2.0 * area / (area + 5e-4)))


def test_consistency_map_is_a_cosine_between_0_and_1() -> None:
    net = case_of(CISCR).build().net(0)  # type: ignore[operator]
    decoded = torch.tensor([[3.0, 4.0], [-3.0, -4.0], [4.0, -3.0]]).T.view(1, 2, 1, 3)
    found = consistency_map(net, decoded, torch.tensor([[6.0, 8.0]]), (1, 3))
    assert found.flatten().tolist() == pytest.approx([1.0, 0.0, 0.0], abs=1e-6)
    assert not consistency_map(net, decoded, torch.zeros(1, 2), (1, 3)).any()


def test_classes_that_an_image_holds() -> None:
    label = torch.zeros(2, 10, 10, dtype=torch.int64)
    label[0, 0, :3], label[0, 1, :2] = 1, 2
    assert holds(label, 3, 0.03).tolist() == [[False, True, False], [False, False, False]]
    assert holds(label, 3, 0.0).tolist() == [[False, True, True], [False, False, False]]
    assert holds(label, 3, 0.0, background=True).tolist() == [[True, True, True], [True, False, False]]
    allowed = torch.tensor([[False, True, True], [False, False, False]])
    seen = {tuple(drawn(allowed).tolist()) for _ in range(20)}
    assert seen == {(1, NONE), (2, NONE)}


def test_the_least_half_without_infinite_scores() -> None:
    scores = torch.tensor([3.0, 1.0, math.inf, 2.0, 4.0, math.inf])
    assert least(scores, 0.5).tolist() == [
        False,
        True,
        False,
        True,
        False,
        False,
    ]  # two of four, as the code's len // 2
    assert least(scores[:4], 0.5).tolist() == [False, True, False, False]  # one of three
    assert int(least(scores, 1.0).sum()) == 4 and int(least(scores, 0.01).sum()) == 1
    assert not least(torch.full((3,), math.inf), 0.3).any()


def test_teachers_get_no_gradient_and_unreliable_images_count_nothing() -> None:
    case = case_of(CISCR, backbone=UNet, options={"least_area": 0.0})
    model, batch = case.build().train(), case.data().batch(0)
    first = model.losses(batch, clock("labels"))
    assert set(first) == {"sup", "consistency"} and reached(first["consistency"], model.nets[0])  # type: ignore[index, arg-type]
    model.phase.fill_(1)  # type: ignore[operator]
    later = model.losses(batch, clock("reliable"))
    assert reached(later["pseudo"], model.nets[1]) and not reached(later["pseudo"], model.nets[0])  # type: ignore[index, arg-type]
    model.reliable.fill_(False)  # type: ignore[operator]
    assert model.losses(batch, clock("reliable"))["pseudo"].item() == 0.0


def test_the_second_stage_ranks_all_images() -> None:
    case = case_of(CISCR)
    model = case.build().train()
    model.begin("labels", case.data().pools)
    model.begin("reliable", case.data().pools)
    count = len(model.reliable)  # type: ignore[arg-type]
    assert 1 <= int(model.reliable.sum()) <= count // 2 + 1  # type: ignore[operator]
    assert int(model.phase) == 1 and model.training  # type: ignore[arg-type]


def test_queried_are_the_better_half_of_the_images_with_enough_of_the_class() -> None:
    """By loops over the images: those with 3 % of the class or more are ranked, and the better half is kept."""
    case = case_of(CISCR, backbone=UNet)
    model, samples = case.build().eval(), case.data().batch(0)["labeled"]
    images = torch.rand(10, *samples.image.shape[1:])
    target = torch.zeros(10, *images.shape[2:], dtype=torch.int64)
    side = images.shape[-1]
    for number in range(10):  # five lesions of 1 %, five of more than 10 %
        extent = round(side * (0.1 if number < 5 else 0.35))
        target[number, 2 : 2 + extent, number : number + extent] = 1
    index, valid = torch.arange(10), torch.ones_like(target, dtype=torch.bool)

    class FixedPools:
        def batches(self, pool: str) -> Iterator[Samples]:
            for part in index.split(4):
                yield replace(samples, image=images[part], label=target[part], valid=valid[part], index=part)

    model.queried = torch.ones(10, 2, dtype=torch.bool)
    model.reliable = torch.ones(10, dtype=torch.bool)
    model._choose(FixedPools())  # type: ignore[operator]

    net = model.net(0)  # type: ignore[operator]
    with torch.no_grad():
        decoded = net.decoder(net.encode(images))[0]
        anchors = [mean_features(net, decoded, target == kind).mean(0) for kind in (0, 1)]
    errors = []
    for number in range(10):
        cosine = F.cosine_similarity(decoded[number], anchors[1][:, None, None], dim=0)
        s = net.enlarge(cosine[None, None], (side, side))[0, 0].clamp(0, 1).double()
        errors.append(F.binary_cross_entropy(s, (target[number] == 1).double()).item())
    expected = sorted(range(5, 10), key=lambda number: errors[number])[:2]
    assert model.queried[:, 1].nonzero().flatten().tolist() == sorted(expected)
    assert not model.queried[:, 0].any() and int(model.reliable.sum()) == 5
