"""Intensity changes of weak views against a naive version, and the records of policies with and without them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from semibench.blocks import gaussian_blur, weak_intensity, weak_view
from semibench.contracts.recipe import WeakPolicy

STILL = {"flip": 0.0, "rotate90": 0.0, "rotate": (0.0, 0.0), "crop": False}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def naive(image: Tensor, draws: Tensor, policy: WeakPolicy) -> Tensor:
    """One sample, operation by operation."""
    low, high = image.min(), image.max()
    unit = (image - low) / (high - low)
    bounds = (policy.blur, policy.brightness, policy.contrast, policy.gamma)
    strengths = [
        least + (greatest - least) * float(draws[2 * i + 1]) if float(draws[2 * i]) < chance else None
        for i, (chance, least, greatest) in enumerate(bounds)
    ]
    sigma, bright, contrast, gamma = strengths
    if sigma is not None:
        unit = gaussian_blur(unit[None], torch.tensor([sigma]), radius=math.ceil(3 * policy.blur[2]))[0]
    if bright is not None:
        unit = (unit * bright).clamp(0, 1)
    if contrast is not None:
        unit = (unit.mean() + contrast * (unit - unit.mean())).clamp(0, 1)
    if gamma is not None:
        unit = unit**gamma
    return low + unit * (high - low)


POLICIES = {
    "blur": WeakPolicy(blur=(1.0, 0.7, 1.3)),
    "brightness": WeakPolicy(brightness=(0.6, 0.7, 1.3)),
    "contrast": WeakPolicy(contrast=(0.6, 0.7, 1.3)),
    "gamma": WeakPolicy(gamma=(0.6, 0.7, 1.3)),
    "all": WeakPolicy(
        blur=(0.5, 0.7, 1.3), brightness=(0.5, 0.7, 1.3), contrast=(0.5, 0.7, 1.3), gamma=(0.5, 0.7, 1.3)
    ),
}


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("dims", [2, 3])
def test_each_sample_changes_as_the_formula_says(name: str, dims: int) -> None:
    image = torch.randn(6, 2, *(9,) * dims, generator=generator(1)) * 3 - 1
    before, policy = image.clone(), POLICIES[name]
    seen = weak_intensity(image, policy=policy, generator=generator(4))
    draws = torch.rand((6, 8), generator=generator(4), dtype=torch.float64)
    wanted = torch.stack([naive(image[row], draws[row], policy) for row in range(6)])
    assert torch.equal(image, before), "the input is changed"
    assert torch.allclose(seen, wanted, atol=2e-5), float((seen - wanted).abs().max())
    assert not torch.allclose(seen, image, atol=1e-2), "nothing was changed"


def test_padding_stays_zero_and_a_constant_image_stays_finite() -> None:
    valid = torch.ones(2, 8, 8, dtype=torch.bool)
    valid[:, :3] = False
    image = (torch.rand(2, 1, 8, 8, generator=generator()) + 1) * valid[:, None]
    image[1] = 5.0 * valid[1]
    seen = weak_intensity(image, policy=POLICIES["all"], generator=generator(2), valid=valid)
    assert bool((seen[:, :, :3] == 0).all()) and bool(seen.isfinite().all())
    flat = torch.full((3, 1, 4, 4), 2.5)
    assert torch.allclose(weak_intensity(flat, policy=POLICIES["all"], generator=generator()), flat)


def test_a_policy_without_intensities_draws_nothing() -> None:
    image, source = torch.rand(2, 1, 8, 8), generator(7)
    state = source.get_state()
    assert weak_intensity(image, policy=WeakPolicy(), generator=source) is image
    assert torch.equal(source.get_state(), state)


def test_a_weak_view_draws_its_geometry_first() -> None:
    image, label = torch.rand(4, 1, 12, 12, generator=generator(5)), torch.randint(0, 3, (4, 12, 12))
    moved = {"flip": 0.5, "rotate90": 0.5, "rotate": (0.5, 20.0)}
    plain = weak_view(image, label, policy=WeakPolicy(**moved), generator=generator(3))
    changed = weak_view(image, label, policy=WeakPolicy(**moved, gamma=(1.0, 0.5, 0.5)), generator=generator(3))
    assert plain[1] is not None and changed[1] is not None
    assert torch.equal(plain[1], changed[1]) and torch.equal(plain[2], changed[2])
    assert not torch.equal(plain[0], changed[0])
    still = weak_view(image, policy=WeakPolicy(**STILL, gamma=(1.0, 2.0, 2.0)), generator=generator(3))[0]
    low, high = image.flatten(1).amin(1), image.flatten(1).amax(1)
    low, high = low[:, None, None, None], high[:, None, None, None]
    assert torch.allclose(still, low + (image - low) ** 2 / (high - low), atol=1e-6)


def test_flips_and_turns_are_independent_of_each_other() -> None:
    """A sixth of the images is not moved: 1/8 draw nothing, and 1/24 draw half a turn and both flips, which cancel."""
    image = torch.arange(16.0).reshape(1, 1, 4, 4).expand(6000, -1, -1, -1)
    policy = WeakPolicy(flip=0.5, rotate90=0.5, rotate=(0.0, 0.0))
    seen = weak_view(image, policy=policy, generator=generator(11))[0]
    untouched = (seen == image).flatten(1).all(1).double().mean()
    assert float(untouched) == pytest.approx(1 / 6, abs=0.015)
