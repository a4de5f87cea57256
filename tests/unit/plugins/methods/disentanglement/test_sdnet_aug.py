"""SDNet+Aug: images taken apart, and new images of the parts of two."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from support.methods_support import Collected, case_of, clock, reached, samples
from torch import Tensor

from semibench import IGNORE
from semibench.blocks import image_range
from semibench.conformance import MethodSubject
from semibench_plugins.methods.disentanglement.sdnet_aug import SDNetAug, donors
from semibench_plugins.methods.disentanglement.supervision import dice_sum_ce

NARROW = {"modality_filters": 2, "segmentor_filters": 4}


def small(**options: Any) -> MethodSubject:
    return case_of(
        SDNetAug, options={**NARROW, **options}, backbone_options={"width": 0.125, "dropout": (0.0,) * 5}
    )  # fmt: skip


def test_supervision_is_the_sum_of_the_dice_losses_and_the_cross_entropy() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(2, 4, 5, 5), torch.randint(0, 4, (2, 5, 5))
    p, total = logits.softmax(1), 0.0
    for k in range(4):
        truth = (target == k).float()
        total += 1 - (2 * (p[:, k] * truth).sum().item() + 0.1) / (p[:, k].sum().item() + truth.sum().item() + 0.1)
    total -= sum(math.log(p[b, target[b, y, x], y, x]) for b in range(2) for y in range(5) for x in range(5)) / 50
    assert dice_sum_ce(logits, target).item() == pytest.approx(total, rel=1e-5)


def test_donors_are_of_other_domains_where_there_are_any() -> None:
    receiving, giving = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 0, 1, 0])
    for _ in range(20):
        chosen = giving[donors(receiving, giving)]
        assert chosen[:2].tolist() == [1, 1] and chosen[2] == 0
    assert donors(torch.tensor([3]), torch.tensor([3, 3]))[0] in (0, 1)


def test_an_iteration_has_two_steps_before_the_new_images_and_three_after() -> None:
    case = small()
    method, batch = case.build(), case.data().batch(0)
    seen = Collected()
    method.step(batch, clock(step=49), seen)
    assert [sorted(losses) for losses, _ in seen.calls] == [["code", "kl", "rec", "seg"], ["code_u", "kl_u", "rec_u"]]
    method.step(batch, clock(step=50), seen)
    assert sorted(seen.calls[-1][0]) == ["code_new", "kl_new", "rec_new", "seg_new"]
    assert {on for _, on in seen.calls} == {("net", "parts")}


def test_losses_are_those_of_the_formula() -> None:
    case = small(sampled=False, resolution=(1.0, 1.0))
    method, batch, seen = case.build(), case.data().batch(0), Collected()
    method.step(batch, clock(), seen)
    labeled = batch["labeled"]
    again = case.build()
    assert again.rescaled(labeled) is labeled
    goal = image_range(labeled.image, labeled.valid).scaled(labeled.image)
    assert goal.amin() == -1.0 and goal.amax() == 1.0
    model = again.model.train()
    anatomy, code = model.anatomy(labeled.image), model.modality(goal)
    assert set(anatomy.detach().unique().tolist()) <= {0.0, 1.0}
    drawn = model.decoder(anatomy, code.mean)
    valid = labeled.valid.unsqueeze(1).float()
    rec = ((drawn - goal).abs() * valid).sum() / valid.sum()
    torch.testing.assert_close(seen.losses["rec"], rec)
    torch.testing.assert_close(seen.losses["code"], (model.modality(drawn).mean - code.mean).abs().mean())
    torch.testing.assert_close(seen.losses["seg"], dice_sum_ce(model.segmentor(anatomy), labeled.target))


def test_new_images_keep_the_label_and_have_the_range_of_their_donor() -> None:
    case = small()
    method, batch = case.build(), case.data().batch(0)
    method.step(batch, clock(step=50), Collected())
    labeled = samples(torch.rand(2, 1, 32, 32), torch.randint(0, 2, (2, 32, 32)), torch.tensor([0, 1]))
    given = samples(5 + 3 * torch.rand(1, 1, 32, 32), None, torch.tensor([2]))
    image, drawn = method.new_images(labeled, given)
    assert not image.requires_grad and drawn.abs().max() <= 1.0
    span = image_range(given.image)
    torch.testing.assert_close(image, span.low + (drawn + 1) / 2 * (span.high - span.low))
    assert image.amin() >= span.low and image.amax() <= span.high


def test_an_image_with_its_own_modality_is_its_reconstruction() -> None:
    case = small()
    method, batch = case.build(), case.data().batch(0)
    method.step(batch, clock(step=50), Collected())
    one = samples(torch.rand(1, 1, 32, 32), torch.zeros(1, 32, 32, dtype=torch.int64))
    image, drawn = method.new_images(one, one)
    with torch.no_grad():
        own = method.generator.eval()
        span = image_range(one.image)
        code = own.modality(span.scaled(one.image)).mean
        torch.testing.assert_close(drawn, own.decoder(own.anatomy(one.image), code))
        torch.testing.assert_close(image, span.restored(drawn))


def test_the_generator_is_a_copy_of_what_was_trained_and_stays() -> None:
    case = small(new_from=0.4)
    method, batch = case.build(), case.data().batch(0)

    def same() -> bool:
        own, other = method.model.state_dict(), method.generator.state_dict()
        return all(torch.equal(value, other[name]) for name, value in own.items())

    assert not same() and not any(p.requires_grad for p in method.generator.parameters())
    trained = {name: value.clone() for name, value in method.model.state_dict().items()}
    method.step(batch, clock(step=2, steps=5), Collected())
    kept = {name: value.clone() for name, value in method.generator.state_dict().items()}
    assert all(torch.equal(kept[name], value) for name, value in trained.items()), "before the iteration's own passes"
    with torch.no_grad():
        method.model.segmentor[-1].weight += 1.0
    method.step(batch, clock(step=3, steps=5), Collected())
    assert all(torch.equal(kept[name], value) for name, value in method.generator.state_dict().items())


def test_new_images_leave_running_statistics_alone() -> None:
    case = small(resolution=(1.0, 1.0), sampled=False)
    batch, counts = case.data().batch(0), []
    for step in (10, 60):
        method = case.build().train()
        method.step(batch, clock(step=step), Collected())
        counts.append([value for name, value in method.model.state_dict().items() if "running" in name])
    assert counts[0] and all(torch.equal(a, b) for a, b in zip(*counts, strict=True))


def test_zoom_moves_image_and_label_alike() -> None:
    method = small(resolution=(0.5, 0.5)).build()
    image: Tensor = torch.zeros(1, 1, 32, 32)
    image[..., 8:24, 8:24] = 1.0
    zoomed = method.rescaled(samples(image, image[0].long()))
    inside = torch.zeros(32, 32, dtype=torch.bool)
    inside[8:24, 8:24] = True
    assert torch.equal(zoomed.valid[0], inside), "half the size"
    assert (zoomed.target[0][~inside] == IGNORE).all() and int((zoomed.target == 1).sum()) == 64
    torch.testing.assert_close(zoomed.image[0, 0][12:20, 12:20], torch.ones(8, 8))
    assert "resolution" in str(SDNetAug.unsupported(small().task, SDNetAug.Options(resolution=(2.0, 1.0))))
    assert SDNetAug.unsupported(small().task, SDNetAug.Options()) is None


def test_which_networks_each_term_trains_and_what_the_pictures_show() -> None:
    case = small()
    method, batch, seen = case.build(), case.data().batch(0), Collected()
    method.step(batch, clock(), seen)
    assert reached(seen.losses["seg"], method.model.anatomy) and not reached(seen.losses["seg"], method.model.modality)
    assert reached(seen.losses["rec_u"], method.model.anatomy) and reached(seen.losses["rec_u"], method.model.modality)
    assert not reached(seen.losses["kl"], method.model.anatomy)
    method.eval()
    with torch.no_grad():
        shown = method.pictures(batch["labeled"].image)
    assert list(shown) == ["reconstruction", "with the next image's modality"]
    assert all(maps.shape == batch["labeled"].image.shape for maps in shown.values())
