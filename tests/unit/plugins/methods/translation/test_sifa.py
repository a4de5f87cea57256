"""SIFA against worked numbers and plain loops."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from support.methods_support import Collected, Constant, case_of, clock, quiet, reached
from torch import Tensor, nn

from semibench.blocks import evaluating
from semibench_plugins.methods.translation.sifa import SIFA, deepest
from semibench_plugins.methods.translation.source_decoder import SourceDecoder

SMALL = {"filters": 2, "residual_blocks": 1, "pool": 2}


class Unchanged(nn.Module):
    """A decoder that returns the images it gets."""

    def forward(self, features: Tensor, images: Tensor) -> Tensor:
        return images


def started(**options: Any) -> tuple[SIFA, dict[str, Any]]:
    case = case_of(SIFA, options={**SMALL, **options})
    method, data = case.build(), case.data()
    for network in (method.to_target, method.to_source):
        nn.init.normal_(network.end.weight, 0.0, 0.02)  # a new one changes nothing
    method.begin("train", data.pools)
    return method, data.batch(0)


def test_discriminators_that_say_one_half() -> None:
    method, batch = started()
    method.source_critic = Constant(torch.tensor([0.5, 0.5]))
    method.target_critic = Constant(torch.tensor([0.5]))
    method.map_critics = nn.ModuleList(Constant(torch.tensor([0.5])) for _ in range(2))
    seen = Collected()
    method.step(batch, clock(), seen)
    assert seen.losses["adversarial"].item() == pytest.approx(0.5), ".25 for each direction"
    for name in ("shared_adversarial", "source_like", "output", "output_aux"):
        assert seen.losses[name].item() == pytest.approx(0.25), name
    assert seen.losses["critic"].item() == pytest.approx(5 * 0.25), (
        "two domains, the auxiliary output, two levels of maps"
    )
    assert [on for _, on in seen.calls] == [("generators",), ("net",), ("critics",)]


def test_identities_have_no_cycle_loss() -> None:
    method, batch = started()
    method.to_target, method.to_source = nn.Identity(), Unchanged()
    seen = Collected()
    method.step(batch, clock(), seen)
    assert seen.losses["cycle"].item() == seen.losses["shared_cycle"].item() == 0.0


def test_pictures_are_the_translation_and_its_way_back() -> None:
    method, batch = started()
    x_t = method.target_range(batch["unlabeled"].image)
    with evaluating(method), torch.no_grad():
        translated, back = method.pictures(batch["unlabeled"].image).values()
        assert torch.equal(translated, method.to_source(method.net.encode(x_t)[method.deep], x_t))
        assert torch.equal(back, method.to_target(translated))


def test_what_each_loss_teaches() -> None:
    method, batch = started()
    seen = Collected()
    method.step(batch, clock(), seen)
    assert not reached(seen.losses["critic"], method.net), "discriminators see detached maps"
    assert not reached(seen.losses["critic"], method.to_source)
    assert not reached(seen.losses["sup"], method.to_target), "the segmentation doesn't change the translation"
    for name in ("shared_cycle", "shared_adversarial", "source_like", "output", "output_aux", "sup_aux"):
        assert reached(seen.losses[name], method.net), name
    assert reached(seen.losses["cycle"], method.to_target) and reached(seen.losses["cycle"], method.to_source)


@pytest.mark.parametrize("passes", ["joint", "separate"])
def test_separate_passes_keep_the_statistics_of_a_domain(passes: str) -> None:
    method, batch = started(passes=passes)
    quiet(method)
    x_t = method.target_range(batch["unlabeled"].image)
    x_s = method.source_range(batch["labeled"].image)
    seen = []
    for shift in (0.0, 1.0):  # of the source images; the norm of the target's must not know
        _, (_, x_ts, *maps) = method.shared(
            batch["labeled"], batch["unlabeled"], (x_s, x_s + shift * x_s.square(), x_t)
        )
        seen.append([x_ts, *(each[len(x_s) :] for each in maps)])
    equal = [torch.allclose(one, other, atol=1e-6) for one, other in zip(*seen, strict=True)]
    assert equal == [passes == "separate"] * 3


@pytest.mark.parametrize("passes", ["joint", "separate"])
def test_all_passes_are_those_of_the_network(passes: str) -> None:
    method, batch = started(passes=passes, maps="scores")
    method.eval()
    x_s, x_t = method.source_range(batch["labeled"].image), method.target_range(batch["unlabeled"].image)
    _, (back_s, x_ts, scores, _) = method.shared(batch["labeled"], batch["unlabeled"], (x_s, x_s, x_t))
    torch.testing.assert_close(scores, torch.cat([method.net(x_s), method.net(x_t)]))
    for image, made in ((x_s, back_s), (x_t, x_ts)):
        torch.testing.assert_close(made, method.to_source(method.net.encode(image)[method.deep], image))


@pytest.mark.parametrize(("addition", "of_one"), [("from-identity", 0.999), ("plain", math.tanh(1.0))])
def test_what_networks_that_change_nothing_make_of_an_image(addition: str, of_one: float) -> None:
    method, batch = started(addition=addition)
    white = torch.ones_like(batch["labeled"].image)
    for network in (method.to_target, method.to_source):
        nn.init.zeros_(network.end.weight)
    features = method.net.encode(white)[method.deep]
    for image in (method.to_target(white), method.to_source(features, white)):
        torch.testing.assert_close(image, torch.full_like(white, of_one))


@pytest.mark.parametrize(("strides", "level"), [((1, 2, 4, 8, 16), 3), ((1, 2, 4), 2), ((1,), 0), ((16, 32), 0)])
def test_the_map_that_is_decoded(strides: tuple[int, ...], level: int) -> None:
    assert deepest(strides) == level


@pytest.mark.parametrize(("stride", "size"), [(8, (16, 24)), (1, (5, 6)), (4, (8, 8, 12)), (8, (18, 16))])
def test_the_source_decoder_keeps_the_size_of_the_image(stride: int, size: tuple[int, ...]) -> None:
    decoder = SourceDecoder(len(size), 3, 2, stride, 1, residual=False)
    features = torch.rand(1, 3, *[max(side // stride, 2) for side in size])
    images = decoder(features, torch.rand(1, 2, *size))
    assert images.shape == (1, 2, *size) and images.abs().max() <= 1.0


@pytest.mark.parametrize("kind", ["softmax", "scores"])
def test_what_the_discriminators_of_segmentations_see(kind: str) -> None:
    method, batch = started(maps=kind)
    x_s, x_t = method.source_range(batch["labeled"].image), method.target_range(batch["unlabeled"].image)
    _, (_, _, *maps) = method.shared(batch["labeled"], batch["unlabeled"], (x_s, x_s, x_t))
    for each in maps:
        assert each.shape == (4, 2, *x_s.shape[2:])
        assert torch.allclose(each.sum(1), torch.ones(())) == (kind == "softmax")
