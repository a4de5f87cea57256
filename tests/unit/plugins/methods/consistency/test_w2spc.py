"""w2sPC (partly our reconstruction): restyled statistics and the contrast against loops, its terms against their laws."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from support.methods_support import case_of, clock, quiet, reached
from torch.nn import functional as F

from semibench import IGNORE
from semibench_plugins.methods.consistency.w2spc import W2SPC, edge_contrast, restyled

torch.set_num_threads(1)


def method(dims: int = 2, **options: Any) -> W2SPC:
    built = case_of(W2SPC, dims, options=options).build()
    assert isinstance(built, W2SPC)
    return built


def test_without_strength_a_sample_keeps_its_own_statistics() -> None:
    maps = torch.randn(3, 2, 5, 4)
    assert torch.allclose(restyled(maps, 0.0, 1.0), maps, atol=1e-5)
    assert torch.allclose(restyled(maps[:1], 0.0, 0.4), maps[:1], atol=1e-5), "one sample is its own mean"
    assert torch.allclose(restyled(maps[:1], 0.2, 0.9), maps[:1], atol=1e-5), "and has no spread"


def test_new_statistics_lie_between_own_and_mean_and_within_the_spread() -> None:
    torch.manual_seed(0)
    maps = torch.randn(4, 3, 6, 6, 5) * torch.rand(4, 3, 1, 1, 1) + torch.randn(4, 3, 1, 1, 1)
    found, over = restyled(maps, 0.2, 0.9), (2, 3, 4)
    for statistic in (torch.mean, lambda m, d: m.var(d, unbiased=False).sqrt()):
        old, new = statistic(maps, over), statistic(found, over)  # type: ignore[operator]
        centre = 0.9 * old + 0.1 * old.mean(0)
        assert bool(((new - centre).abs() <= 0.2 * old.std(0, unbiased=False) + 1e-4).all())
        assert not torch.allclose(new, centre, atol=1e-4)
    fixed = restyled(maps, 0.0, 0.9)
    mean, deviation = maps.mean(over), maps.var(over, unbiased=False).sqrt()
    torch.testing.assert_close(fixed.mean(over), 0.9 * mean + 0.1 * mean.mean(0), rtol=1e-3, atol=1e-4)
    gamma = 0.9 * deviation + 0.1 * deviation.mean(0)
    torch.testing.assert_close(fixed.var(over, unbiased=False).sqrt(), gamma, rtol=1e-3, atol=1e-4)


def test_contrast_against_loops() -> None:
    """40 voxels of class 0 and 20 of class 1: at most 10 % are anchors, so 3 (the count) and 2."""
    torch.manual_seed(1)
    features, logits = torch.randn(1, 4, 8, 8), torch.randn(1, 2, 8, 8)
    label = torch.tensor([0] * 40 + [1] * 20 + [IGNORE] * 4).view(1, 8, 8)
    found = edge_contrast(features, logits, label, share=0.1, count=3, temperature=0.5)
    p = logits.softmax(1)
    doubt = -(p * p.log()).sum(1).flatten()
    unit = F.normalize(features.flatten(2)[0].T, dim=1)
    edges, certain = {}, {}
    for kind, number in ((0, 3), (1, 2)):
        inside = sorted((float(doubt[i]), i) for i in range(64) if int(label.flatten()[i]) == kind)
        certain[kind], edges[kind] = [i for _, i in inside[:number]], [i for _, i in inside[-number:]]
    terms = []
    for kind in (0, 1):
        for anchor in edges[kind]:
            away = sum(math.exp(float(unit[anchor] @ unit[n]) / 0.5) for n in certain[1 - kind])
            for positive in certain[kind]:
                near = math.exp(float(unit[anchor] @ unit[positive]) / 0.5)
                terms.append(-math.log(near / (near + away)))
    assert found.item() == pytest.approx(sum(terms) / len(terms), rel=1e-4)
    few = torch.tensor([0] * 60 + [1] * 4).view(1, 8, 8)
    assert edge_contrast(features, logits, few, share=0.1, count=3, temperature=0.5).item() > 0.0, "one of four voxels"
    one_class = torch.zeros(1, 8, 8, dtype=torch.int64)
    assert edge_contrast(features, logits, one_class, share=0.1, count=3, temperature=0.5).item() == 0.0


def test_equal_decoders_agree() -> None:
    built, batch = quiet(method(strength=0.0, own=1.0)).eval(), case_of(W2SPC).data().batch(0)
    for decoder in built.auxiliary:
        decoder.load_state_dict(built.net.decoder.state_dict())
    assert built.losses(batch, clock())["consistency"].item() == pytest.approx(0.0, abs=1e-8)


def test_voxels_without_features_are_no_anchors() -> None:
    """A ReLU network is least sure where all its features are 0; there the cosine has no gradient."""
    torch.manual_seed(1)
    features, logits = torch.randn(1, 4, 8, 8), torch.randn(1, 2, 8, 8)
    label = torch.tensor([0] * 40 + [1] * 24).view(1, 8, 8)
    dead = features.clone()
    dead[:, :, 0], logits[:, :, 0] = 0.0, 0.0
    without = label.clone()
    without[:, 0] = IGNORE
    dead.requires_grad_()
    found = edge_contrast(dead, logits, label, share=0.1, count=3, temperature=0.5)
    assert found.item() == edge_contrast(features, logits, without, share=0.1, count=3, temperature=0.5).item()
    (gradient,) = torch.autograd.grad(found, dead)
    assert not gradient[:, :, 0].any() and gradient.abs().max() < 1e3


@pytest.mark.parametrize("dims", [2, 3])
def test_who_learns_from_what(dims: int) -> None:
    built = quiet(method(dims))
    losses = built.losses(case_of(W2SPC, dims).data().batch(0), clock())
    assert {name for name, loss in losses.items() if reached(loss, built.net)} == set(losses)
    assert {name for name, loss in losses.items() if reached(loss, built.auxiliary)} == {"consistency"}


def test_the_published_agreement_is_the_mean_over_decoders_on_all_samples() -> None:
    preset = W2SPC.presets["acdc"]
    assert 4 * preset["terms"]["consistency"]["weight"] == pytest.approx(0.1), (
        "the sum over four decoders, of their mean"
    )
    model = method(strength=0.0, own=1.0, agreement_on="all")
    batch = case_of(W2SPC).data().batch(0)
    images = torch.cat([batch["labeled"].image, batch["unlabeled"].image])
    found = quiet(model).losses(batch, clock())["consistency"]
    maps = model.net.encode(images)
    decoders = [model.net.decoder, *model.auxiliary]
    shares = [model.net.decode(maps, images.shape[2:], decoder).softmax(1) for decoder in decoders]  # type: ignore[arg-type]
    mean = sum(shares) / 4
    assert found.item() == pytest.approx(sum((one - mean).square().mean().item() for one in shares), rel=1e-4)
