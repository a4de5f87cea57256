"""DTC and SASSNet: worked numbers, laws of the terms, who is trained by which loss."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from support.methods_support import Collected, case_of, clock, gradient, quiet, reached
from torch import Tensor, nn

from semibench import IGNORE, Method, Term
from semibench.blocks import distance_maps
from semibench.run.settings import term_records
from semibench_plugins.methods.shape.dtc import DTC, region_of
from semibench_plugins.methods.shape.sassnet import LABELED, UNLABELED, SASSNet, ShapeCritic
from semibench_plugins.methods.shape.segmentation_and_distance import distance_error, label_loss

torch.set_num_threads(1)

SMALL: dict[str, Any] = {"critic_filters": 4}


class Both(nn.Module):
    """The same logits and distances whatever the images."""

    def __init__(self, logits: Tensor, distances: Tensor) -> None:
        super().__init__()
        self.logits, self.distances = nn.Parameter(logits), nn.Parameter(distances)

    def both(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.logits.expand(len(images), *self.logits.shape), self.distances.expand(
            len(images), *self.distances.shape
        )


def test_the_smooth_step_worked_numbers() -> None:
    steps = region_of(torch.tensor([-0.002, -0.001, 0.0, 0.001]), 1500.0)
    assert steps.tolist() == pytest.approx([0.95257, 0.81757, 0.5, 0.18243], abs=1e-5)
    inside, outside = region_of(torch.tensor([-0.01, 0.01], dtype=torch.float64), 1500.0).tolist()
    assert 1 - inside == pytest.approx(3.06e-7, rel=1e-2) == outside
    z = torch.zeros((), requires_grad=True)
    assert torch.autograd.grad(region_of(z, 1500.0), z)[0].item() == pytest.approx(-375.0)


def test_the_step_of_true_distances_is_the_region_without_its_boundary() -> None:
    label = torch.zeros(1, 7, 7, dtype=torch.int64)
    label[:, 1:6, 1:6] = 1
    region = region_of(distance_maps(label, 2), 1500.0)[0, 0]
    inner = torch.zeros(7, 7, dtype=torch.bool)
    inner[2:5, 2:5] = True
    boundary = label[0].bool() & ~inner
    assert (region[inner] > 0.99).all() and (region[boundary] == 0.5).all() and (region[label[0] == 0] < 0.01).all()


def test_dtc_consistency_worked_number_reaches_both_heads() -> None:
    case = case_of(DTC)
    method, batch = case.build(), case.data().batch(0)
    size = batch["labeled"].image.shape[2:]
    s, z = torch.tensor([0.5, 0.9]), torch.tensor([0.0, -0.001])
    half = torch.arange(size[0]) % 2
    s_map, z_map = (v[half].unsqueeze(1).expand(*size) for v in (s, z))
    method.net = Both(torch.stack([(1 - s_map).log(), s_map.log()]), z_map.unsqueeze(0).clone())
    for part in batch.values():
        part.valid = torch.ones_like(part.valid)
    loss = method.losses(batch, clock())["consistency"]
    assert loss.item() == pytest.approx(0.003397, abs=1e-6)
    assert all(g is not None and bool(g.abs().sum() > 0) for g in gradient(loss, method.net))
    method.net.logits.data = torch.stack([torch.zeros(size), -1500.0 * z_map])
    assert method.losses(batch, clock())["consistency"].item() == pytest.approx(0.0, abs=1e-10)


def test_dice_has_squares_and_no_background() -> None:
    p, y = torch.tensor([0.8, 0.6, 0.2, 0.1]), torch.tensor([1, 1, 0, 0])
    logits = torch.stack([(1 - p).log(), p.log()]).view(1, 2, 2, 2)
    assert label_loss(logits, y.view(1, 2, 2), "dice").item() == pytest.approx(0.081967, abs=1e-6)
    assert label_loss(logits, 0 * y.view(1, 2, 2), "dice").item() == pytest.approx(0.999990, abs=1e-6)


def test_distances_are_compared_where_images_are() -> None:
    z, g = torch.zeros(1, 2, 2, 2), torch.ones(1, 2, 2, 2)
    g[:, :, 0] = 9.0
    valid = torch.tensor([[[False, False], [True, True]]])
    assert distance_error(z, g, valid).item() == 1.0


@pytest.mark.parametrize("kind", [DTC, SASSNet])
def test_the_network_has_a_head_more_than_the_published_one_and_one_output_more(kind: type[Method]) -> None:
    """Published: 9,448,866 with two outputs of one channel, each 16 weights and a bias. Here: two classes and a distance."""
    options = {} if kind is DTC else SMALL
    method = case_of(kind, 3, options=options, backbone_options={}).build()
    assert sum(p.numel() for p in method.net.parameters()) == 9_448_866 + 17


@pytest.mark.parametrize("dims", [2, 3])
def test_several_classes_have_a_distance_map_each(dims: int) -> None:
    case = case_of(DTC, dims, classes=4)
    method, batch = case.build(), case.data().batch(0)
    logits, distances = method.net.both(batch["labeled"].image)
    assert logits.shape[1] == 4 and distances.shape[1] == 3 and distances.abs().max() <= 1.0
    assert logits.shape[2:] == distances.shape[2:] == batch["labeled"].image.shape[2:]
    assert reached(method.losses(batch, clock())["distance"], method.net.distance)


# SASSNet


def sassnet(dims: int = 2) -> tuple[SASSNet, dict[str, Any]]:
    case = case_of(SASSNet, dims, options=SMALL)
    method = case.build().train()
    assert isinstance(method, SASSNet)
    return method, dict(case.data().batch(0))


def test_critic_has_the_published_number_of_parameters() -> None:
    assert sum(p.numel() for p in ShapeCritic(3, 1, 1, 64).parameters()) == 11_020_290


@pytest.mark.parametrize("dims", [2, 3])
def test_an_undecided_critic_costs_ln_2(dims: int) -> None:
    method, _ = sassnet(dims)
    method.critic.classify.weight.data.zero_()
    method.critic.classify.bias.data.zero_()
    size = (32, 16, 16)[:dims]
    kinds = torch.tensor([LABELED, UNLABELED])
    loss = method.judged(torch.randn(2, 1, *size), torch.randn(2, 1, *size), kinds)
    assert loss.item() == pytest.approx(0.6931, abs=1e-4)


def test_who_is_judged_as_what_in_which_mode() -> None:
    method, batch = sassnet()
    seen: list[tuple[bool, bool, list[int], bool]] = []
    judged = method.judged

    def watched(distances: Tensor, images: Tensor, kinds: Tensor) -> Tensor:
        seen.append((method.critic.training, method.net.training, kinds.tolist(), distances.requires_grad))
        return judged(distances, images, kinds)

    method.judged = watched  # type: ignore[method-assign]
    collected = Collected()
    method.step(batch, clock(), collected)
    labeled, unlabeled = len(batch["labeled"].image), len(batch["unlabeled"].image)
    assert seen == [
        (False, True, [LABELED] * unlabeled, True),
        (True, True, [LABELED] * labeled + [UNLABELED] * unlabeled, False),
    ]
    assert [on for _, on in collected.calls] == [("net",), ("critic",)] and method.critic.training
    losses = collected.losses
    assert reached(losses["critic"], method.critic) and not reached(losses["critic"], method.net)
    assert reached(losses["adversarial"], method.net.distance)
    assert not reached(losses["adversarial"], method.net.net.decoder.last), "the segmentation's own head"
    assert reached(losses["sup"], method.net.net.decoder.last) and not reached(losses["sup"], method.net.distance)


def test_the_critic_learns_from_maps_of_the_tested_network() -> None:
    """In eval mode: with its running statistics, which the pass leaves alone."""
    method, batch = sassnet()
    quiet(method)
    images = torch.cat([batch["labeled"].image, batch["unlabeled"].image])
    seen: list[Tensor] = []
    method.critic.register_forward_pre_hook(lambda _m, given: seen.append(given[0].detach()))
    method.step(batch, clock(), Collected())
    method.net.eval()
    torch.testing.assert_close(seen[1], method.net.both(images)[1])


def test_weights_of_the_published_schedules() -> None:
    dtc, sass = (term_records(kind.terms, {}) for kind in (DTC, SASSNet))
    terms = {name: Term.restore(record) for name, record in {**sass, **dtc}.items()}
    assert terms["distance"].at(0.5) == 0.3 and terms["critic"].at(0.0) == 1.0
    assert terms["consistency"].at(3000 / 6000) == pytest.approx(0.2865048, rel=1e-6)
    assert terms["adversarial"].at(149 / 6000) == pytest.approx(0.01 * 0.0067379, rel=1e-4)
    for name, weight in {"la": 0.015, "la-16": 0.01, "la-printed": 0.001}.items():
        records = term_records(SASSNet.terms, SASSNet.presets[name].get("terms", {}))
        found = Term.restore(records["adversarial"]).at(0.99)
        assert found == pytest.approx(weight * math.exp(-5 / 40**2), rel=1e-6)


def test_padding_belongs_to_no_class() -> None:
    label = torch.tensor([[0, 1, 1, IGNORE, IGNORE]])
    assert torch.equal(distance_maps(label, 2), distance_maps(label.masked_fill(label == IGNORE, 0), 2))
