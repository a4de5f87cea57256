"""ABD: which patches move where, against loops; the laws of its terms."""

from __future__ import annotations

import pytest
import torch
from support.methods_support import case_of, clock, reached
from torch import Tensor

from semibench import Clock
from semibench.blocks import soft_dice
from semibench_plugins.methods.pseudo_labels.abd import ABD, Patches, View, agreement, displaced

torch.set_num_threads(1)


def cut(maps: Tensor, patch: int, grid: int) -> Tensor:
    height, width = maps.shape[-2] // grid, maps.shape[-1] // grid
    top, left = patch // grid * height, patch % grid * width
    return maps[..., top : top + height, left : left + width]


def naive_means(logits: Tensor, grid: int) -> tuple[Tensor, Tensor]:
    count = grid * grid
    confidence = [[cut(z.softmax(0).amax(0), j, grid).mean() for j in range(count)] for z in logits]
    mean = [torch.stack([cut(z, j, grid).mean((1, 2)) for j in range(count)]) for z in logits]
    return torch.tensor(confidence), torch.stack(mean)


def abd(**options: object) -> ABD:
    built = case_of(ABD, options=options).build().train()
    assert isinstance(built, ABD)
    return built


@pytest.mark.parametrize(("size", "grid"), [((8, 12), 4), ((9, 7), 3)])
def test_patches_and_their_nearest_against_loops(size: tuple[int, int], grid: int) -> None:
    torch.manual_seed(0)
    logits, goal = torch.randn(3, 2, *size), torch.randn(3, 2)
    patches, (confidence, mean) = Patches.of(logits, grid), naive_means(logits, grid)
    torch.testing.assert_close(patches.confidence, confidence)
    torch.testing.assert_close(patches.logits, mean)
    for row, found in enumerate(patches.nearest(goal, 3).tolist()):
        best = confidence[row].sort(descending=True, stable=True).indices[:3].tolist()
        q = goal[row].softmax(0)
        kl = {j: float((q * (q / mean[row, j].softmax(0)).log()).sum()) for j in best}
        assert found == min(kl, key=lambda j: kl[j])


def test_a_displaced_image_differs_in_one_patch() -> None:
    below, above = torch.zeros(2, 3, 9, 9), torch.arange(2 * 3 * 81.0).view(2, 3, 9, 9) + 1
    to, of = torch.tensor([4, 0]), torch.tensor([15, 6])
    found = displaced(below, above, to, of, 4)
    for row in range(2):
        torch.testing.assert_close(cut(found[row], int(to[row]), 4), cut(above[row], int(of[row]), 4))
        assert int((found[row] != 0).sum()) == 3 * 2 * 2
    stays = displaced(below, above, to, of, 4, torch.tensor([True, False]))
    assert stays[0].any() and not stays[1].any() and not below.any()
    labels = displaced(below[:, 0], above[:, 0], to, of, 4)
    torch.testing.assert_close(labels, found[:, 0])


def test_unlabeled_views_get_the_confident_patch_nearest_to_the_one_replaced() -> None:
    torch.manual_seed(1)
    model = abd(top=3)
    one, two = torch.randn(2, 2, 8, 8), torch.randn(2, 2, 8, 8)
    views = View(torch.rand(2, 1, 8, 8), torch.ones(2, 8, 8)), View(torch.rand(2, 1, 8, 8), torch.ones(2, 8, 8))
    found = model.outward(views, one, two).image
    for first, (mine, other) in enumerate(((one, two), (two, one))):
        (conf, mean), (conf_other, mean_other) = naive_means(mine, 4), naive_means(other, 4)
        for row in range(2):
            low = int(conf[row].argmin())
            q = mean[row, low].softmax(0)
            best = conf_other[row].sort(descending=True).indices[:3].tolist()
            kl = {j: float((q * (q / mean_other[row, j].softmax(0)).log()).sum()) for j in best}
            source = min(kl, key=lambda j: kl[j])
            expected = views[first].image[row].clone()
            cut(expected, low, 4).copy_(cut(views[1 - first].image[row], source, 4))
            torch.testing.assert_close(found[2 * first + row], expected)


def test_labels_move_with_labeled_patches() -> None:
    torch.manual_seed(2)
    model = abd(inward=1.0)
    one, two = torch.randn(1, 2, 8, 8), torch.randn(1, 2, 8, 8)
    images = torch.arange(64.0).view(1, 1, 8, 8), torch.arange(64.0, 128.0).view(1, 1, 8, 8)
    found = model.inward((View(images[0], images[0][:, 0]), View(images[1], images[1][:, 0])), one, two)
    torch.testing.assert_close(found.image[:, 0], found.target)
    most, least = int(naive_means(one, 4)[0].argmax()), int(naive_means(two, 4)[0].argmin())
    torch.testing.assert_close(cut(found.image[0], most, 4), cut(images[1][0], least, 4))
    assert int((found.image[0] >= 64).sum()) == 4, "one patch of the other view"


def test_equal_views_and_networks_displace_within_the_image() -> None:
    model, z = abd(), torch.zeros(1, 2, 8, 8)
    view = View(torch.rand(1, 1, 8, 8), torch.ones(1, 8, 8))
    found = model.outward((view, view), z, z)
    torch.testing.assert_close(found.image[0], found.image[1])
    assert set(found.image.flatten().tolist()) <= set(view.image.flatten().tolist())


def test_agreement_is_0_for_the_same_certain_labels_and_has_no_gradient_through_targets() -> None:
    sign = torch.where(torch.rand(2, 1, 4, 4) > 0.5, 30.0, -30.0)
    z = torch.cat([sign, -sign], 1)
    valid = torch.ones(2, 4, 4, dtype=torch.bool)
    assert agreement(z, z, valid).item() == pytest.approx(0.0, abs=1e-6)
    one, two = torch.randn(2, 2, 4, 4), torch.randn(2, 2, 4, 4, requires_grad=True)
    (found,) = torch.autograd.grad(agreement(one, two, valid), two)
    (expected,) = torch.autograd.grad(soft_dice(two, one.argmax(1)), two)
    torch.testing.assert_close(found, expected)


def test_the_second_network_of_the_published_code() -> None:
    model = case_of(ABD, options={"second": "swin-unet", "second_width": 0.125}).build()
    assert (type(model.first).__name__, type(model.second).__name__) == ("UNet", "SwinUNet")
    assert ABD.presets["acdc"]["options"] == {"second": "swin-unet"}


def test_terms() -> None:
    case = case_of(ABD)
    model, batch = case.build().train(), case.data().batch(0)
    losses = model.losses(batch, clock())
    assert all(reached(losses[name], net) for name in losses for net in (model.first, model.second))  # type: ignore[arg-type]
    late = Clock("train", 70, 100, {})
    assert model.losses(batch, late)["displaced"].item() == 0.0 and model.weight("displaced", clock(step=66)) == 2.0


def test_a_box_of_noise_is_background_and_inside_the_strong_view_only() -> None:
    case = case_of(ABD, options={"cutout": 1.0})
    model, labeled = case.build().train(), case.data().batch(0)["labeled"]
    weak, strong = model._views(labeled, labeled.target)  # type: ignore[operator]
    assert weak.image is labeled.image and weak.target is labeled.target
    changed = (strong.image != labeled.strong[0]).any(1)
    assert not strong.target[changed].any() and changed.flatten(1).any(1).all()
    torch.testing.assert_close(strong.target[~changed], labeled.target[~changed])
