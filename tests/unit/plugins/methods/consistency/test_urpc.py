"""URPC against the worked numbers of the paper's and the code's divergence, a plain loop, and the laws of its heads."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from support.methods_support import case_of, clock, quiet, reached
from torch import Tensor

from semibench import Term, UsageError
from semibench.blocks import supervised_loss
from semibench.run.settings import term_records
from semibench_plugins.methods.consistency.urpc import URPC, Divergence, rectified_agreement

torch.set_num_threads(1)


def logits_of(*probabilities: Sequence[float]) -> list[Tensor]:
    """One position at each scale."""
    return [torch.tensor(each).log().view(1, -1, 1, 1) for each in probabilities]


def everywhere(logits: Tensor) -> Tensor:
    return torch.ones(len(logits), *logits.shape[2:], dtype=torch.bool)


@pytest.mark.parametrize(
    ("divergence", "first", "second"), [("from-mean", 0.0444, 0.0257), ("from-scale", 0.0367, 0.0282)]
)
def test_two_scales_at_one_position(divergence: Divergence, first: float, second: float) -> None:
    """p = (.9, .1) and (.7, .3), mean (.8, .2): both squares are .01, and the weights cancel."""
    scales = logits_of((0.9, 0.1), (0.7, 0.3))
    square, uncertainty = rectified_agreement(scales, everywhere(scales[0]), divergence)
    assert square.item() == pytest.approx(0.01, abs=1e-6)
    assert uncertainty.item() == pytest.approx((first + second) / 2, abs=1e-4)
    if divergence == "from-mean":
        assert (square + uncertainty).item() == pytest.approx(0.0451, abs=1e-4)


@pytest.mark.parametrize(("divergence", "of_first"), [("from-mean", 0.153664), ("from-scale", 0.116322)])
def test_the_two_directions_of_the_divergence(divergence: Divergence, of_first: float) -> None:
    """The scale (.9, .1) beside (.5, .5); the other scale's divergence by hand."""
    mean, other = (0.7, 0.3), (0.5, 0.5)
    p, q = (other, mean) if divergence == "from-scale" else (mean, other)
    of_other = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    scales = logits_of((0.9, 0.1), other)
    uncertainty = rectified_agreement(scales, everywhere(scales[0]), divergence)[1]
    assert uncertainty.item() == pytest.approx((of_first + of_other) / 2, abs=1e-6)


@pytest.mark.parametrize("divergence", ["from-mean", "from-scale"])
def test_agreement_is_that_of_a_loop(divergence: Divergence) -> None:
    torch.manual_seed(0)
    scales = [2.0 * torch.randn(2, 3, 4, 3) for _ in range(4)]
    valid = torch.rand(2, 4, 3) < 0.7
    squares = divergences = 0.0
    p = torch.stack([each.double().softmax(1) for each in scales])
    for s in range(4):
        weighted = weights = apart = 0.0
        for n, y, x in valid.nonzero().tolist():
            mean, one = p[:, n, :, y, x].mean(0), p[s, n, :, y, x]
            a, b = (one, mean) if divergence == "from-scale" else (mean, one)
            d = float((a * (a / b).log()).sum())
            weighted += float((mean - one).square().mean()) * math.exp(-d)
            weights, apart = weights + math.exp(-d), apart + d
        squares, divergences = squares + weighted / weights / 4, divergences + apart / int(valid.sum()) / 4
    found = rectified_agreement(scales, valid, divergence)
    assert [each.item() for each in found] == pytest.approx([squares, divergences], rel=1e-5)


def test_equal_scales_agree_and_certain_ones_stay_finite() -> None:
    same = torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = torch.stack(rectified_agreement([same] * 4, everywhere(same), "from-mean")).sum()
    (gradient,) = torch.autograd.grad(loss, same)
    assert loss.item() == pytest.approx(0.0, abs=1e-6) and gradient.abs().max() < 1e-6
    one, other = (torch.tensor([[sign * 100.0, -sign * 100.0]]).view(1, 2, 1, 1).requires_grad_() for sign in (1, -1))
    for direction in ("from-mean", "from-scale"):
        loss = torch.stack(rectified_agreement([one, other], everywhere(one), direction)).sum()  # type: ignore[arg-type]
        gradients = torch.autograd.grad(loss, (one, other))
        assert math.isfinite(loss.item()) and all(bool(each.isfinite().all()) for each in gradients)


@pytest.mark.parametrize(("classes", "published", "unused"), [(4, 1_831_060, 9_220), (2, 1_822_122, 4_610)])
def test_parameters_are_the_published_ones_without_the_unused_head(classes: int, published: int, unused: int) -> None:
    method = case_of(URPC, classes=classes, backbone_options={}).build()
    assert sum(p.numel() for p in method.parameters()) == published - unused


@pytest.mark.parametrize("dims", [2, 3])
def test_scales_have_full_size_and_the_finest_one_is_scored(dims: int) -> None:
    case = case_of(URPC, dims)
    method, images = case.build().eval(), case.images(1)
    assert isinstance(method, URPC)
    with torch.no_grad():
        scales = method.pyramid(images)
        assert len(scales) == 4 and {z.shape for z in scales} == {(1, 2, *images.shape[2:])}
        assert torch.equal(scales[0], method(images))
    if dims == 2:
        coarse = scales[1].reshape(1, 2, 16, 2, 16, 2)
        assert torch.equal(coarse, coarse[:, :, :, :1, :, :1].expand_as(coarse)), "nearest neighbours"


def test_every_head_learns_from_labels_and_from_agreement() -> None:
    case = case_of(URPC)
    method, batch = quiet(case.build()).train(), case.data().batch(0)
    assert isinstance(method, URPC)
    losses = method.losses(batch, clock())
    for head in (method.net.decoder, *method.heads):
        assert all(reached(loss, head) for loss in losses.values())


def test_equal_heads_have_the_supervised_loss_of_one() -> None:
    case = case_of(URPC)
    method, batch = case.build(), case.data().batch(0)
    logits = torch.randn(4, 2, 32, 32)
    method.pyramid = lambda _images: [logits] * 4  # type: ignore[method-assign, assignment]
    losses = method.losses(batch, clock())
    one = supervised_loss(logits[:2], batch["labeled"].target)
    assert losses["sup"].item() == pytest.approx(one.item(), rel=1e-6)
    assert losses["consistency"].item() == pytest.approx(0.0, abs=1e-7)


@pytest.mark.parametrize("dims", [2, 3])
def test_heads_see_perturbed_maps_in_training_only(dims: int) -> None:
    case = case_of(URPC, dims)
    method, images = quiet(case.build()), case.images(1)
    assert isinstance(method, URPC)
    kinds = [type(each).__name__ for each in method.perturbations]
    assert kinds == (["FeatureNoise", "FeatureDropout", "Dropout"] if dims == 2 else ["Dropout3d"] * 3)
    loud = case.build()
    assert [getattr(p, "p", None) for p in loud.perturbations][-1] == 0.5  # type: ignore[union-attr, arg-type]
    if dims == 2:
        with torch.no_grad():
            plain, noisy = (method.train(mode).pyramid(images)[1] for mode in (False, True))
        assert not torch.equal(plain, noisy)


def test_weights_and_presets() -> None:
    assert [URPC.terms[name].at(0.5) for name in ("consistency", "uncertainty")] == pytest.approx(
        [0.02865] * 2, abs=1e-5
    )
    for preset in ("la", "ssl4mis-3d"):  # a step lasts 150 iterations
        records = term_records(URPC.terms, URPC.presets[preset]["terms"])
        steps = URPC.presets[preset]["recipe"]["iterations"] // 150
        assert {Term.restore(records[name]).ramp.levels for name in ("consistency", "uncertainty")} == {steps}


def test_a_decoder_with_fewer_maps_is_refused() -> None:
    with pytest.raises(UsageError, match=r"predicts at 5 scales, but the decoder of UNet has 4 maps"):
        case_of(URPC, options={"scales": 5}).build()
