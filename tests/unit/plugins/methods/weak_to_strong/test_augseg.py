"""AugSeg against the numbers of its paper's equations, naive versions of its changes, and the laws of its mixing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter, ImageOps
from support.methods_support import case_of, clock, quiet, samples
from torch import Tensor

from semibench import IGNORE
from semibench.blocks import cross_entropy
from semibench_plugins.methods.weak_to_strong import random_intensities as changes
from semibench_plugins.methods.weak_to_strong.augseg import AugSeg, certainty


def method(**options: Any) -> AugSeg:
    built = quiet(case_of(AugSeg, options=options).build().train())
    assert isinstance(built, AugSeg)
    return built


def given() -> dict[str, Any]:
    """Labeled images of -1 with label 1 (one pixel ignored) and unlabeled images of 1 to 3."""
    label = torch.ones(3, 16, 16, dtype=torch.int64)
    label[:, 0, 0] = IGNORE
    unlabeled = torch.arange(1.0, 4.0).view(3, 1, 1, 1).expand(3, 1, 16, 16).clone()
    return {"labeled": samples(torch.full((3, 1, 16, 16), -1.0), label), "unlabeled": samples(unlabeled)}


def logits(p: float) -> Tensor:
    return torch.tensor([p, 1 - p]).log().view(1, 2, 1, 1).expand(3, 2, 16, 16)


def test_certainty_of_two_classes() -> None:
    every = torch.ones(3, 16, 16, dtype=torch.bool)
    for p, expected in ((0.9, 0.4779), (0.5, 0.0), (1 - 1e-7, 1.0)):
        torch.testing.assert_close(certainty(logits(p), every), torch.full((3,), expected), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("p", "injected"), [(1 - 1e-9, False), (0.5, True)])
def test_labeled_boxes_go_into_uncertain_images_alone(p: float, injected: bool) -> None:
    model, batch = method(), given()
    torch.manual_seed(0)
    seen = [model._mixed(batch["labeled"], batch["unlabeled"], logits(p)) for _ in range(8)]
    true = torch.cat([one.image for one in seen])[:, 0] == -1.0
    label, confidence = torch.cat([one.label for one in seen]), torch.cat([one.confidence for one in seen])
    assert bool(true.any()) is injected
    assert (confidence[true] == 1.0).all() and ((label[true] == 1) | (label[true] == IGNORE)).all()
    assert (label[~true] == 0).all() and (p == 0.5) == bool((confidence[~true] < 1.0).all())


def test_image_label_and_confidence_are_cut_with_one_box() -> None:
    """Changes of intensity leave even images as they are but for brightness, so that a teacher that labels by sign serves."""
    model, batch = method(inject=False), given()
    batch["unlabeled"].image = torch.tensor([1.0, -2.0, 3.0]).view(3, 1, 1, 1).expand(3, 1, 16, 16).clone()
    torch.manual_seed(1)
    scores = 4.0 * batch["unlabeled"].image
    for _ in range(4):
        mixed = model._mixed(batch["labeled"], batch["unlabeled"], torch.cat([torch.zeros_like(scores), scores], 1))
        assert torch.equal(mixed.image[:, 0] > 0, mixed.label == 1)
        assert torch.equal(mixed.confidence, (4.0 * mixed.image[:, 0].abs()).sigmoid())


def test_loss_is_the_cross_entropy_where_all_are_sure_and_zero_where_none_is() -> None:
    batch, found = given(), {}
    for threshold in (0.0, 1.01):
        model = method(threshold=threshold, inject=False)
        torch.manual_seed(2)
        mixed = model._mixed(batch["labeled"], batch["unlabeled"], model.teacher(batch["unlabeled"].image))
        torch.manual_seed(2)
        found[threshold] = model.losses(batch, clock())["pseudo"]
        expected = cross_entropy(model.student(mixed.image), mixed.label)
        assert found[threshold].item() == pytest.approx(expected.item() if threshold == 0.0 else 0.0, rel=1e-5)
    assert not any(one.requires_grad for one in method().teacher.parameters())


def test_teacher_is_a_copy_in_the_first_steps_which_count_for_its_decay() -> None:
    """After n copies the decay is 1 - 1 / (n + 1), as if all n steps had been averaged."""
    model = method(copied=0.1)
    mine, its = next(model.student.parameters()), next(iter(model.teacher.parameters()))
    for step in range(10):
        with torch.no_grad():
            mine.add_(1.0)
        model.after_step(clock(step=step))
        assert torch.equal(its, mine), step
    for step, gap in ((10, 10 / 11), (11, 11 / 12 * (1 + 10 / 11))):
        with torch.no_grad():
            mine.add_(1.0)
        model.after_step(clock(step=step))
        torch.testing.assert_close(mine - its, torch.full_like(mine, gap))
    again = method(copied=0.1)
    again.load_state_dict(model.state_dict())
    assert again.teacher.alpha == pytest.approx(12 / 13)


@pytest.mark.slow
@pytest.mark.parametrize("statistics", ["labeled", "extra-weak", "every-pass"])
def test_which_passes_move_the_statistics(statistics: str) -> None:
    model, batch = method(statistics=statistics), given()
    expected = method()
    if statistics == "extra-weak":
        expected.student(batch["unlabeled"].image)
    expected.student(batch["labeled"].image)
    model.losses(batch, clock())
    pairs = zip(model.student.buffers(), expected.student.buffers(), strict=True)
    assert all(torch.allclose(one.float(), other.float()) for one, other in pairs) is (statistics != "every-pass")


# Changes of intensity


def test_changes_of_grey_levels_are_pillows() -> None:
    levels = np.random.default_rng(0).integers(30, 200, (2, 24, 24)).astype(np.uint8)
    image, half = torch.from_numpy(levels / 255.0).float().unsqueeze(1), torch.full((2,), 0.5)
    pictures = [Image.fromarray(one) for one in levels]
    smooth = [np.asarray(one.filter(ImageFilter.SMOOTH), dtype=float) for one in pictures]
    expected: dict[Any, tuple[list[Any], float]] = {
        changes.equalize: ([ImageOps.equalize(one) for one in pictures], 0.01),
        changes.autocontrast: ([ImageOps.autocontrast(one) for one in pictures], 1.01),
        changes.posterize: ([ImageOps.posterize(one, 6) for one in pictures], 0.01),
        changes.solarize: ([ImageOps.solarize(one, 128) for one in pictures], 0.01),
        changes.brightness: ([0.5 * one for one in levels], 0.01),
        changes.contrast: ([0.5 * one + 0.5 * one.mean() for one in levels], 0.01),
        changes.sharpness: ([0.5 * one + 0.5 * two for one, two in zip(levels, smooth, strict=True)], 0.51),
        changes.colour: (list(levels), 0.01),
        changes.hue: (list(levels), 0.01),
        changes.identity: (list(levels), 0.01),
    }
    for change, (wanted, tolerance) in expected.items():
        found = 255.0 * change(image, half)[:, 0].numpy()
        difference = np.abs(found - np.stack([np.asarray(one, dtype=float) for one in wanted]))
        assert difference.max() <= tolerance, change.__name__


def test_even_images_stay_finite_and_colour_falls() -> None:
    even = torch.full((2, 3, 8, 8), 0.5)
    for change in changes.CHANGES:
        assert change(even, torch.tensor([0.0, 0.99])).isfinite().all()
    image = torch.rand(2, 3, 8, 8)
    faded = changes.colour(image, torch.zeros(2))
    torch.testing.assert_close(faded, 0.05 * image + 0.95 * changes.grey(image))


def test_strong_views_keep_the_range_and_change_most_images() -> None:
    torch.manual_seed(0)
    image = 7.0 * torch.randn(64, 3, 16, 16)
    valid = torch.ones(64, 16, 16, dtype=torch.bool)
    valid[:, 0] = False
    found = changes.random_intensities(image, valid=valid)
    assert not found[:, :, 0].any()
    bounds = torch.aminmax(image.flatten(1), dim=1)
    inside = found[:, :, 1:].flatten(1)
    assert (inside.amin(1) >= bounds.min - 1e-3).all() and (inside.amax(1) <= bounds.max + 1e-3).all()
    same = (found - image)[:, :, 1:].flatten(1).abs().amax(1) < 1e-4
    assert same.float().mean() < 0.25, "the share without a change is (1/11 + 1/121 + 1/1331) / 3"
