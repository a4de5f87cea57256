"""MC-Net and MC-Net+: worked numbers, laws of the terms, published numbers of parameters."""

from __future__ import annotations

import pytest
import torch
from support.methods_support import case_of, clock, reached
from torch import Tensor

from semibench import Backbone, Method, Term
from semibench.run.settings import term_records
from semibench_plugins.methods.mutual_consistency.mc_net import MCNet, MCNetPlus, mutual_consistency, sharpened
from semibench_plugins.methods.mutual_consistency.other_decoders import other_decoders
from semibench_plugins.methods.mutual_consistency.supervision import label_loss

torch.set_num_threads(1)


def logits_of(*probabilities: float) -> Tensor:
    """One position with these probabilities, (1, K, 1, 1)."""
    return torch.tensor(probabilities).log().view(1, -1, 1, 1)


def agreement(*outputs: Tensor) -> float:
    return mutual_consistency(outputs, 0.1, torch.ones(1, 1, 1, dtype=torch.bool)).item()


def test_sharpening_worked_numbers() -> None:
    sharp = [sharpened(logits_of(1 - p, p), 0.1)[0, 1].item() for p in (0.5, 0.55, 0.6, 0.7)]
    assert sharp == pytest.approx([0.5, 0.88150, 0.98295, 0.99979], abs=1e-5)
    powers = torch.tensor([0.2, 0.3, 0.5]) ** 2
    torch.testing.assert_close(sharpened(logits_of(0.2, 0.3, 0.5), 0.5).flatten(), powers / powers.sum())


def test_sharpening_is_steep_at_one_half() -> None:
    """Its slope there is 1 / T."""
    p = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    sharp = sharpened(torch.stack([1 - p, p]).log().view(1, 2, 1, 1), 0.1)[0, 1].sum()
    assert torch.autograd.grad(sharp, p)[0].item() == pytest.approx(10.0, rel=1e-4)


def test_dice_without_foreground() -> None:
    """Close to 1 where a little is predicted, 0 where nothing is."""
    target = torch.zeros(1, 4, 4, dtype=torch.int64)
    little, nothing = (torch.tensor([0.0, z]).view(1, 2, 1, 1).expand(1, 2, 4, 4) for z in (-4.0, -1000.0))
    assert label_loss([little], target, "dice").item() == pytest.approx(1.0)
    assert label_loss([nothing], target, "dice").item() == 0.0


def test_consistency_worked_numbers() -> None:
    first, second = logits_of(0.4, 0.6), logits_of(0.1, 0.9)
    assert agreement(first, second) == pytest.approx(0.16688, abs=1e-5)
    assert agreement(second, first) == pytest.approx(0.16688, abs=1e-5), "the order of the decoders says nothing"
    assert agreement(first, second, second) == pytest.approx(0.35376, abs=2e-5), "a sum over six pairs"
    sure = torch.tensor([60.0, -60.0]).view(1, 2, 1, 1)
    assert agreement(sure, sure, sure) == 0.0


def test_padding_counts_nowhere_and_gradient_passes_as_asked() -> None:
    torch.manual_seed(0)
    first, second = (torch.randn(2, 3, 4, 4, requires_grad=True) for _ in range(2))
    valid = torch.ones(2, 4, 4, dtype=torch.bool)
    valid[0, :, 2:] = False
    kept = valid.unsqueeze(1).expand_as(first)
    through, stopped = (mutual_consistency((first, second), 0.1, valid, stop_gradient=stop) for stop in (False, True))
    p, q = first.softmax(1), second.softmax(1)
    sharp_p, sharp_q = ((m**10) / (m**10).sum(1, keepdim=True) for m in (p, q))
    expected = ((p - sharp_q) ** 2)[kept].mean() + ((q - sharp_p) ** 2)[kept].mean()
    assert through.item() == pytest.approx(expected.item(), rel=1e-5) == stopped.item()
    grad, constant = (torch.autograd.grad(value, first)[0] for value in (through, stopped))
    (exact,) = torch.autograd.grad(((p - sharp_q.detach()) ** 2)[kept].mean(), first)
    torch.testing.assert_close(constant, exact)
    assert not torch.allclose(grad, constant) and not grad[0, :, :, 2:].any()


def test_dice_has_plain_sums_of_the_foreground() -> None:
    p, y = torch.tensor([0.8, 0.6, 0.2, 0.1]), torch.tensor([1, 1, 0, 0])
    logits = torch.stack([(1 - p).log(), p.log()]).view(1, 2, 2, 2)
    assert label_loss([logits], y.view(1, 2, 2), "dice").item() == pytest.approx(0.243243, abs=1e-6)
    assert label_loss([logits] * 3, y.view(1, 2, 2), "dice").item() == pytest.approx(3 * 0.243243, abs=3e-6)
    nothing = torch.zeros(1, 2, 2, dtype=torch.int64)
    assert label_loss([logits], nothing, "dice").item() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(("kind", "expected"), [(MCNet, 12_347_716), (MCNetPlus, 15_246_566)])
def test_published_numbers_of_parameters(kind: type[Method], expected: int) -> None:
    method = case_of(kind, 3, backbone_options={}).build()
    assert sum(p.numel() for p in method.parameters()) == expected


@pytest.mark.parametrize("kind", [MCNet, MCNetPlus])
def test_every_decoder_learns_and_the_first_predicts(kind: type[MCNet]) -> None:
    case = case_of(kind)
    method, batch = case.build(), case.data().batch(0)
    assert isinstance(method, MCNet) and len(method.auxiliary) == kind.others
    losses = method.losses(batch, clock())
    for decoder in (method.net.decoder, *method.auxiliary):
        assert reached(losses["sup"], decoder) and reached(losses["consistency"], decoder)
    images = case.images()
    before = method.eval()(images)
    for value in method.auxiliary.parameters():
        value.data.add_(1.0)
    assert torch.equal(method(images), before)


def test_weights_of_the_published_schedule() -> None:
    """w = exp(-5 (1 - s / 40)^2) with s = iteration // 150, of 15000."""
    records = term_records(MCNet.terms, {})
    sup, consistency = (Term.restore(records[name]) for name in ("sup", "consistency"))
    assert sup.at(0.0) == 0.5 and consistency.at(0.0) == consistency.at(149 / 15000) == pytest.approx(
        0.0067379, rel=1e-4
    )
    assert consistency.at(3000 / 15000) == pytest.approx(0.2865048, rel=1e-6)
    assert consistency.at(6000 / 15000) == consistency.at(0.99) == 1.0


@pytest.mark.parametrize(
    ("dims", "changes", "others"),
    [
        (3, {"upsampling": "transposed"}, ["linear", "nearest"]),
        (3, {"upsampling": "linear"}, ["transposed", "nearest"]),
        (2, {}, ["transposed", "nearest"]),
        (2, {"variant": "34m"}, ["transposed", "linear"]),
    ],
)
def test_other_decoders_have_another_upsampling(dims: int, changes: dict[str, str], others: list[str]) -> None:
    """`unet` has linear upsampling, its variant `34m` nearest."""
    net = case_of(MCNet, dims, backbone_options={"width": 0.125, **changes}).build().net
    assert isinstance(net, Backbone)
    found = other_decoders(net, 2)
    assert [str(decoder) for decoder in found] == [str(net.new_decoder(upsampling=kind)) for kind in others]
