"""vMFNet: kernels of features, from which images are drawn and segmented."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from support.methods_support import Collected, case_of, clock, quiet, reached, samples
from torch import nn

from semibench import Samples
from semibench.blocks import masked_mean
from semibench.conformance import MethodSubject
from semibench_plugins.methods.disentanglement.supervision import dice_sum_ce
from semibench_plugins.methods.disentanglement.vmfnet import FIRST, SECOND, VMFNet, drawing_head


@pytest.fixture(scope="module")
def case() -> MethodSubject:
    return case_of(VMFNet, options={"width": 4, "positions": 16})


def test_drawing_heads_double_the_size_and_that_of_images_is_linear() -> None:
    torch.manual_seed(0)
    head = drawing_head(3, 4, 2, linear=True)
    one, other = torch.randn(1, 3, 5, 6), torch.randn(1, 3, 5, 6)
    assert head(one).shape == (1, 2, 10, 12)
    torch.testing.assert_close(head(0.3 * one + 0.7 * other), 0.3 * head(one) + 0.7 * head(other))
    kinds = [type(layer) for layer in drawing_head(12, 64, 4, linear=False)]
    unit = [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    assert kinds == [*unit, *unit, nn.ConvTranspose2d, *unit, *unit, nn.Conv2d]


def test_the_backbone_draws_its_input_first(case: MethodSubject) -> None:
    method, batch, seen = case.build(), case.data().batch(0), Collected()
    assert [(stage.name, stage.share) for stage in method.stages()] == [(FIRST, 0.05), (SECOND, 0.95)]
    torch.manual_seed(0)
    method.step(batch, clock(FIRST), seen)
    ((losses, on),) = seen.calls
    both = [batch["labeled"], batch["unlabeled"]]
    images, valid = torch.cat([one.image for one in both]), torch.cat([one.valid for one in both])
    torch.manual_seed(0)
    drawn = case.build().train().net
    torch.manual_seed(0)
    torch.testing.assert_close(losses["first_rec"], masked_mean((drawn(images) - images).abs(), valid[:, None]))
    assert on == ("net",)


@pytest.mark.slow
def test_kernels_are_fitted_to_features_of_all_training_images_without_padding(case: MethodSubject) -> None:
    method, pools = case.build(), case.data().pools
    images = sum(len(samples.image) for samples in pools.batches("all"))
    assert len(method.collected(pools)) == images * 16, "16 of each"
    every = case.variant(options={"width": 4, "positions": 10_000, "most": 1_000_000}).build()
    found = every.collected(pools)
    assert len(found) == images * 16 * 16 - 2 * 16, "two images have a column of padding at half the resolution"
    few = case.variant(options={"width": 4, "positions": 16, "most": 100}).build()
    assert len(few.collected(pools)) == 100
    one = case.variant(options={"width": 4, "positions": 10_000, "most": 100}).build()
    assert len(one.collected(pools)) == 100, "fewer than an image holds"
    before = method.kernels.kernels.detach().clone()
    method.begin(FIRST, pools)
    assert torch.equal(before, method.kernels.kernels)
    method.begin(SECOND, pools)
    torch.testing.assert_close(method.kernels.kernels.norm(dim=1), torch.ones(12))
    assert not torch.allclose(before, method.kernels.kernels)


def test_kernels_of_a_part_of_the_images_are_of_images_anywhere_in_the_list(case: MethodSubject) -> None:
    """Domains follow one another in the list of a split, so the first images are of one domain."""

    class InOrder:
        def batches(self, pool: str) -> Iterator[Samples]:
            for number in range(10):
                yield samples(torch.full((4, 1, 32, 32), float(number)))

    method, read = case.variant(options={"width": 4, "positions": 16, "most": 160}).build(), []
    seen = method.features
    method.features = lambda images: read.extend(images[:, 0, 0, 0].tolist()) or seen(images)  # type: ignore[method-assign]
    torch.manual_seed(0)
    assert len(method.collected(InOrder())) == 160  # type: ignore[arg-type]
    assert len(read) == 10 and min(read) < 3 and max(read) > 6, "ten of forty images"


def test_losses_are_those_of_the_formula(case: MethodSubject) -> None:
    method, batch, seen = quiet(case.build()), case.data().batch(0), Collected()
    method.step(batch, clock(SECOND), seen)
    assert [sorted(losses) for losses, _ in seen.calls] == [["cluster", "rec", "seg"], ["cluster_u", "rec_u"]]
    assert {on for _, on in seen.calls} == {("net", "parts")}
    labeled, other = batch["labeled"], quiet(case.build()).train()
    features = other.net.decoder(other.net.encode(labeled.image))[1]
    assert features.shape[2:] == (16, 16)
    activations = other.kernels(features)
    drawn = other.renderer(torch.einsum("bjyx,jd->bdyx", activations, other.kernels.kernels))
    valid = labeled.valid.unsqueeze(1).float()
    torch.testing.assert_close(seen.losses["rec"], ((drawn - labeled.image).abs() * valid).sum() / valid.sum())
    torch.testing.assert_close(seen.losses["seg"], dice_sum_ce(other.segmentor(activations), labeled.target))
    torch.testing.assert_close(seen.losses["cluster"], other.kernels.distance(features))
    assert reached(seen.losses["cluster"], method.kernels) and not reached(seen.losses["cluster"], method.net)
    assert reached(seen.losses["seg"], method.kernels) and reached(seen.losses["rec_u"], method.net)


def test_predictions_see_the_directions_of_kernels_alone(case: MethodSubject) -> None:
    method, images = case.build().eval(), case.images()
    with torch.no_grad():
        before, shown = method(images), method.pictures(images)
        method.kernels.kernels *= 2.0
        torch.testing.assert_close(method(images), before)
    assert shown["reconstruction"].shape == images.shape
    assert shown["nearest kernel"].shape == images.shape
    assert shown["nearest kernel"].min() >= 1.0 and shown["nearest kernel"].max() <= 12.0
