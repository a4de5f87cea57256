"""Public parts for plugin authors: worked numbers of the sheets, naive versions, laws."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import semibench.blocks as blocks
from semibench import IGNORE
from semibench.blocks import (
    bce_dice,
    cross_entropy,
    dice_ce,
    entropy,
    js_divergence,
    kl_divergence,
    log_mean_softmax,
    masked_cross_entropy,
    masked_dice,
    one_hot,
    region_loss,
    soft_dice,
    softmax_mse,
    supervised_loss,
    two_class_logits,
)

FOREGROUND = torch.tensor([[0.8, 0.6], [0.3, 0.1]])
TRUTH = torch.tensor([[1, 1], [0, 0]])


def logits_of(foreground: Tensor) -> Tensor:
    """(H, W) probabilities -> logits (1, 2, H, W) whose softmax they are."""
    return torch.stack([1 - foreground, foreground]).log()[None]


WORKED = logits_of(FOREGROUND)
TARGET = TRUTH[None]
LOSSES: list[Callable[[Tensor, Tensor], Tensor]] = [
    cross_entropy, soft_dice, dice_ce, bce_dice,
    lambda z, y: soft_dice(z, y, squared=False, per_image=True, background=False),
    lambda z, y: region_loss(z, y, torch.ones(y.shape[1:])),
]  # fmt: skip


def test_every_public_name_resolves() -> None:
    assert all(getattr(blocks, name) is not None for name in blocks.__all__)
    assert dir(blocks) == sorted(blocks.__all__)
    with pytest.raises(AttributeError, match="no_such_block"):
        blocks.no_such_block


def test_worked_numbers_of_the_ssl4mis_losses() -> None:
    assert cross_entropy(WORKED, TARGET).item() == pytest.approx(0.299001, abs=1e-6)
    assert soft_dice(WORKED, TARGET).item() == pytest.approx(0.091244, abs=1e-6)
    assert soft_dice(WORKED, TARGET, background=False).item() == pytest.approx(0.096774, abs=1e-6)
    assert dice_ce(WORKED, TARGET).item() == pytest.approx(0.195123, abs=1e-6)


def test_worked_numbers_of_the_3d_family() -> None:
    z, y = logits_of(torch.tensor([[0.8, 0.6], [0.2, 0.1]])), TARGET
    assert soft_dice(z, y, background=False).item() == pytest.approx(0.081967, abs=1e-6)
    assert soft_dice(z, y, background=False, squared=False, smooth=1e-8).item() == pytest.approx(0.243243, abs=1e-6)
    assert soft_dice(z, torch.zeros_like(y), background=False).item() == pytest.approx(0.999990, abs=1e-6)
    expected = 0.5 * (cross_entropy(z, y) + soft_dice(z, y, background=False))
    assert supervised_loss(z, y, "dice_ce_foreground").item() == pytest.approx(expected.item())


def test_absent_class_in_dice() -> None:
    absent = torch.zeros((1, 2, 2), dtype=torch.int64)
    assert soft_dice(logits_of(torch.full((2, 2), 0.01)), absent, background=False).item() == pytest.approx(
        0.97561, abs=1e-5
    )
    certain = torch.tensor([200.0, -200.0]).view(1, 2, 1, 1).expand(1, 2, 2, 2)
    assert soft_dice(certain, absent, background=False).item() == 0.0


def test_bce_dice_equals_the_sigmoid_form() -> None:
    torch.manual_seed(0)
    z, y = torch.randn(3, 1, 5, 4), torch.randint(0, 2, (3, 5, 4))
    p, hot = z.sigmoid()[:, 0], y.double()
    dice = [
        1 - (2 * (p[i] * hot[i]).sum() + 1e-5) / (p[i].sum() + hot[i].sum() + 1e-5) for i in range(3)
    ]  # fmt: skip
    expected = 0.5 * F.binary_cross_entropy_with_logits(z[:, 0].double(), hot) + sum(dice) / 3
    assert bce_dice(two_class_logits(z), y).item() == pytest.approx(float(expected), abs=1e-6)
    shifted = two_class_logits(z) + 7.0
    assert bce_dice(shifted, y).item() == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("size", [(6, 5), (4, 3, 5)])
def test_ignored_voxels_change_nothing(loss: Callable[[Tensor, Tensor], Tensor], size: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    z, y = torch.randn(2, 3, *size), torch.randint(0, 3, (2, *size))
    y[:, 0] = IGNORE
    z.requires_grad_()
    value = loss(z, y)
    (gradient,) = torch.autograd.grad(value, z)
    assert gradient[:, :, 0].abs().max() == 0 and gradient[:, :, 1:].abs().max() > 0
    other = z.detach().clone()
    other[:, :, 0] = torch.randn_like(other[:, :, 0])
    assert loss(other, y).item() == pytest.approx(value.item(), abs=1e-6)
    cut = loss(z.detach()[:, :, 1:], y[:, 1:])
    if loss is not LOSSES[-1]:
        assert cut.item() == pytest.approx(value.item(), abs=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_everything_ignored_or_empty_is_finite(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    for target in (torch.full((2, 4, 4), IGNORE), torch.zeros((2, 4, 4), dtype=torch.int64)):
        for dtype in (torch.float32, torch.bfloat16):
            z = torch.randn(2, 3, 4, 4).to(dtype).requires_grad_()
            value = loss(z, target)
            (gradient,) = torch.autograd.grad(value, z)
            assert value.isfinite() and gradient.isfinite().all() and value.ndim == 0
    assert loss(torch.randn(2, 3, 4, 4), torch.full((2, 4, 4), IGNORE)).item() == 0.0


def test_one_hot_and_weighted_cross_entropy() -> None:
    y = torch.tensor([[[0, 2, IGNORE]]])
    assert one_hot(y, 3).tolist() == [[[[1, 0, 0]], [[0, 0, 0]], [[0, 1, 0]]]]
    z, weight = torch.randn(1, 3, 1, 3), torch.tensor([1.0, 2.0, 3.0])
    expected = F.cross_entropy(z, y, weight=weight, ignore_index=IGNORE)
    assert cross_entropy(z, y, weight=weight).item() == pytest.approx(expected.item())
    with pytest.raises(
        ValueError, match=r"unknown supervised loss .none': dice_ce, .*, dice_ce_linear, .*, cross_entropy"
    ):
        supervised_loss(z, y, "none")  # type: ignore[arg-type]


def test_linear_dice_with_cross_entropy_of_two_voxels() -> None:
    """Foreground probabilities .8 of a voxel of class 1 and .3 of one of class 0: Dice (1.6 + 1) / (1.1 + 1 + 1)."""
    p = torch.tensor([0.8, 0.3])
    z, y = torch.stack([(1 - p).log(), p.log()]).view(1, 2, 1, 2), torch.tensor([[[1, 0]]])
    entropy = -(math.log(0.8) + math.log(0.7)) / 2
    assert supervised_loss(z, y, "dice_ce_linear").item() == pytest.approx(0.5 * (entropy + 1 - 2.6 / 3.1), abs=1e-6)


def test_masked_losses_equal_losses_on_the_cut_region() -> None:
    torch.manual_seed(2)
    z, y = torch.randn(2, 3, 6, 6), torch.randint(0, 3, (2, 6, 6))
    mask = torch.zeros(6, 6)
    mask[:, :4] = 1
    assert masked_cross_entropy(z, y, mask).item() == pytest.approx(cross_entropy(z[..., :4], y[..., :4]).item())
    expected = soft_dice(z[..., :4], y[..., :4], smooth=1e-10)
    assert masked_dice(z, y, mask).item() == pytest.approx(expected.item(), abs=1e-6)
    assert region_loss(z, y, mask).item() == pytest.approx(
        0.5 * (masked_cross_entropy(z, y, mask) + masked_dice(z, y, mask)).item()
    )
    assert region_loss(z, y, torch.zeros(6, 6)).item() == 0.0
    z.requires_grad_()
    (gradient,) = torch.autograd.grad(region_loss(z, y, mask), z)
    assert gradient[..., 4:].abs().max() == 0


def test_masked_dice_of_either_code_of_bcp() -> None:
    """Two images of four positions, the last one outside the region. By hand, foreground and background:
    LA, each image: 1 - 2.8/3.7, 1 - 1.4/2.3; 1 - 1/2.5, 1 - 2/3.5. ACDC, both images, squares: 1 - 3.8/4.84, 1 - 3.4/4.44."""
    foreground = torch.tensor([[0.8, 0.6, 0.3, 0.1], [0.5, 0.5, 0.5, 0.5]])
    z = torch.stack([1 - foreground, foreground], 1).log()
    y, mask = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0]]), torch.tensor([1.0, 1.0, 1.0, 0.0])
    la = masked_dice(z, y, mask, squared=False, per_image=True)
    assert la.item() == pytest.approx((2 - 2.8 / 3.7 - 1.4 / 2.3 + 2 - 1 / 2.5 - 2 / 3.5) / 4, abs=1e-6)
    acdc = masked_dice(z, y, mask)
    assert acdc.item() == pytest.approx((2 - 3.8 / 4.84 - 3.4 / 4.44) / 2, abs=1e-6)
    for options, dice in (({"squared": False, "per_image": True}, la), ({}, acdc)):
        region = region_loss(z, y, mask, **options)
        assert region.item() == pytest.approx(0.5 * (dice + masked_cross_entropy(z, y, mask)).item(), abs=1e-6)


def test_softmax_mse_worked_number_and_padding() -> None:
    student, teacher = torch.tensor([2.0, 0.0]).view(1, 2, 1, 1), torch.zeros(1, 2, 1, 1)
    assert softmax_mse(student, teacher.softmax(1)).item() == pytest.approx(0.145006, abs=1e-6)
    z, q = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4).softmax(1)
    valid = torch.ones(2, 4, 4, dtype=torch.bool)
    valid[..., 2:] = False
    assert softmax_mse(z, q, valid=valid).item() == pytest.approx(softmax_mse(z[..., :2], q[..., :2]).item())
    assert softmax_mse(z, q, valid=torch.zeros_like(valid)).item() == 0.0


def test_information_measures() -> None:
    uniform, certain = torch.zeros(1, 4, 2, 2), torch.tensor([60.0, 0, 0, 0]).view(1, 4, 1, 1).expand(1, 4, 2, 2)
    assert entropy(uniform).item() == pytest.approx(math.log(4))
    assert entropy(certain).item() == pytest.approx(0.0, abs=1e-6)
    torch.manual_seed(3)
    a, b = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    expected = F.kl_div(a.log_softmax(1), b.log_softmax(1), log_target=True, reduction="none").sum(1).mean()
    assert kl_divergence(a, b).item() == pytest.approx(expected.item(), abs=1e-6)
    assert kl_divergence(a, a).item() == pytest.approx(0.0, abs=1e-6)
    assert js_divergence(a, b).item() == pytest.approx(js_divergence(b, a).item(), abs=1e-6)
    far = -certain.roll(1, 1) + certain
    assert js_divergence(certain * 2, far * 2 - certain * 2).item() <= math.log(2) + 1e-6
    mean = (a.softmax(1) + b.softmax(1)) / 2
    torch.testing.assert_close(log_mean_softmax((a, b)).softmax(1), mean)
    torch.testing.assert_close(log_mean_softmax((a, b)).exp(), mean)


def test_two_class_logits() -> None:
    z = torch.randn(2, 1, 3, 3)
    torch.testing.assert_close(two_class_logits(z).softmax(1)[:, 1:], z.sigmoid())
    with pytest.raises(ValueError, match="one output channel"):
        two_class_logits(torch.randn(2, 2, 3, 3))
