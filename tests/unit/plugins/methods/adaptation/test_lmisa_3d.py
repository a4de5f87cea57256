"""LMISA-3D: the gradient map by its laws and against loops, and the losses of a step against their formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from support.methods_support import Collected, case_of, clock, reached
from torch.nn import functional as F

from semibench_plugins.methods.adaptation.lmisa_3d import LMISA3D, balanced_squares
from semibench_plugins.methods.adaptation.normalised_gradient import (
    normalised_gradient,
    normalised_in_windows,
    sobel_magnitude,
    standardised,
)

torch.set_num_threads(1)

SMALL = {"critic_filters": 2}


@pytest.mark.parametrize("shape", [(9, 8), (6, 7, 5)])
def test_sobel_is_that_of_scipy(shape: tuple[int, ...]) -> None:
    image = torch.rand(shape, dtype=torch.float64)
    parts = [ndimage.sobel(image.numpy(), axis, mode="nearest") for axis in range(len(shape))]
    expected = np.sqrt(sum(part**2 for part in parts))
    np.testing.assert_allclose(sobel_magnitude(image[None, None])[0, 0].numpy(), expected, rtol=1e-10)


def test_windows_against_loops() -> None:
    magnitude = torch.rand(3, 6, 5, dtype=torch.float64)
    magnitude[1, 1:4, 1:4] = 0.5
    flat = 1e-3 * magnitude.std(correction=0)
    expected = torch.zeros_like(magnitude)
    for z in range(3):
        for y in range(1, 5):
            for x in range(1, 4):
                window = magnitude[z, y - 1 : y + 2, x - 1 : x + 2]
                if window.std(correction=0) > flat:
                    expected[z, y, x] = (magnitude[z, y, x] - window.min()) / (window.max() - window.min())
    found = normalised_in_windows(magnitude[None, None])[0, 0]
    torch.testing.assert_close(found, expected)
    assert found[1, 2, 2] == 0 and found[:, 0].sum() == found[..., -1].sum() == 0


@pytest.mark.parametrize("shape", [(2, 1, 32, 32), (1, 2, 16, 32, 16), (1, 1, 12, 20)])
def test_intensities_do_not_matter(shape: tuple[int, ...]) -> None:
    images = torch.rand(shape)
    edges = normalised_gradient(images)
    assert edges.shape == images.shape and edges.min() == 0.0 and edges.max() == 1.0
    assert torch.equal(normalised_gradient(-images), edges)
    assert torch.equal(normalised_gradient(4.0 * images), edges)
    torch.testing.assert_close(normalised_gradient(3.0 * images - 1.0), edges, atol=1e-3, rtol=0)


def test_an_even_image_has_no_edges_and_samples_are_apart() -> None:
    images = torch.rand(2, 1, 16, 16)
    images[0] = 0.3
    edges = normalised_gradient(images)
    assert edges[0].abs().max() == 0.0
    assert torch.equal(edges[1:], normalised_gradient(images[1:]))


def test_the_losses_of_a_step() -> None:
    case = case_of(LMISA3D, options=SMALL, classes=3)
    method, seen, batch = case.build().train(), Collected(), case.data().batch(0)
    assert isinstance(method, LMISA3D)
    method.critic.forward = lambda masks: 2.0 * masks.flatten(1).sum(1)  # type: ignore[method-assign, assignment]
    labeled, unlabeled = batch["labeled"], batch["unlabeled"]
    unlabeled.valid[:, :5] = False
    valid = torch.cat([labeled.valid, unlabeled.valid]).unsqueeze(1)
    edges = standardised(normalised_gradient(torch.cat([labeled.image, unlabeled.image])), valid)
    torch.manual_seed(0)
    logits, painted = method.both(edges)
    torch.manual_seed(0)
    method.step(batch, clock(), seen)
    losses = {name: value.item() for name, value in seen.losses.items()}
    assert [on for _, on in seen.calls] == [("net",), ("critic",)]
    assert losses["sup"] == pytest.approx(
        F.cross_entropy(logits[:2], labeled.target, ignore_index=255).item(), rel=1e-5
    )
    weighted = []
    for one, goal, inside in zip(painted, edges, valid, strict=True):
        values, truth = one[inside], goal[inside]
        share = (truth > 0).float().mean()
        weighted += [(1 - share if y > 0 else share) * (x - y) ** 2 for x, y in zip(values, truth, strict=True)]
    assert losses["reconstruction"] == pytest.approx(torch.stack(weighted).mean().item(), rel=1e-5)
    masks = logits[2:].softmax(1)[:, 1:].masked_fill(~valid[2:], 0.0)
    fake = 2.0 * masks.flatten(1).sum(1).mean().item()
    true = 2.0 * ((labeled.target > 0) & labeled.valid).sum().item() / 2
    assert losses["shape"] == pytest.approx(-fake, rel=1e-5)
    slope = 2.0 * (2 * 32 * 32) ** 0.5
    assert losses["critic"] == pytest.approx(fake - true + 10 * (slope - 1) ** 2, rel=1e-4)
    assert reached(seen.losses["shape"], method.net) and not reached(seen.losses["reconstruction"], method.critic)


def test_standardised_edges_and_their_weights() -> None:
    """Where a quarter of the positions has edges, those have weight 3/4 and the others 1/4; padding has none."""
    edges = torch.zeros(2, 1, 4, 4)
    edges[0, 0, 0] = 1.0
    valid = torch.ones(2, 1, 4, 4, dtype=torch.bool)
    found = standardised(edges, valid)
    assert found[0].mean().item() == pytest.approx(0.0, abs=1e-6) and found[0].std(
        correction=0
    ).item() == pytest.approx(1.0)
    assert not found[1].any(), "a sample without edges"
    assert found[0, 0, 0, 0].item() == pytest.approx(3**0.5) and found[0, 0, 1, 0].item() == pytest.approx(-(3**-0.5))
    # a constant c: (3/4 (c - 1.732)^2 + 3 * 1/4 (c + .577)^2) / 4, which is .5 at c = .577
    constant = torch.full((1, 1, 4, 4), 3**-0.5)
    assert balanced_squares(constant, found[:1], valid[:1]).item() == pytest.approx(0.5)
    valid[0, 0, 3] = False
    assert standardised(edges, valid)[0, 0, 3].abs().max() == 0.0


def test_the_tested_network_sees_the_edges_that_it_learned_from() -> None:
    case = case_of(LMISA3D, options=SMALL)
    method, images = case.build().eval(), case.images()
    edges = normalised_gradient(images)
    over = tuple(range(1, edges.ndim))
    scaled = (edges - edges.mean(over, keepdim=True)) / edges.std(over, correction=0, keepdim=True)
    with torch.no_grad():
        torch.testing.assert_close(method(images), method.both(scaled)[0])


def test_negative_logits_are_damped() -> None:
    case = case_of(LMISA3D, options=SMALL)
    method, images = case.build().eval(), case.images()
    plain = case_of(LMISA3D, options={**SMALL, "slope": 1.0}).build().eval()
    plain.load_state_dict(method.state_dict())
    with torch.no_grad():
        damped, logits = method(images), plain(images)
        torch.testing.assert_close(damped, torch.where(logits < 0, 0.2 * logits, logits))
        torch.testing.assert_close(method(-3.0 * images), damped, atol=1e-3, rtol=1e-3)
