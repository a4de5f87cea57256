"""MedFCT against its published number of parameters, worked numbers, loops, and the laws of its terms."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from support.methods_support import blank, case_of, clock, quiet, reached
from torch import Tensor, nn

from semibench import IGNORE, UsageError
from semibench.blocks import dice_ce, soft_dice
from semibench_plugins.backbones.swin_unet import SwinUNet
from semibench_plugins.backbones.unet import UNet
from semibench_plugins.backbones.vnet import VNet
from semibench_plugins.methods.pseudo_labels.medfct.method import MedFCT, similarity_maps, surer_labels
from semibench_plugins.methods.pseudo_labels.medfct.network import FourierFusion, JointNetwork, Outputs

torch.set_num_threads(1)

SMALL = {"second_width": 0.125}


def joint() -> JointNetwork:
    shape: dict[str, Any] = {"dims": 2, "channels": 1, "outputs": 2, "patch": (32, 32)}
    networks = [kind(**shape, options=kind.Options(width=0.125)) for kind in (UNet, SwinUNet)]
    return JointNetwork(*networks, shape["patch"])


def test_the_published_number_of_parameters() -> None:
    """At 224 pixels, three channels and four classes: U-Net and Swin-UNet (their own tests count these), and the fusions."""
    fusions = [FourierFusion(*given) for given in ((64, 96, (56, 56)), (128, 192, (28, 28)), (256, 384, (14, 14)))]
    count = sum(parameter.numel() for fusion in fusions for parameter in fusion.parameters())
    assert 1_814_052 + 27_168_420 + count == 31_183_334
    network = joint()
    assert [tuple(fusion.first_filter.shape[2:]) for fusion in network.fusions] == [(8, 5), (4, 3), (2, 2)]


def test_a_fusion_with_open_filters_and_closed_gates_returns_its_inputs() -> None:
    fusion = FourierFusion(3, 3, (6, 8)).eval()
    with torch.no_grad():
        for learned in (fusion.first_filter, fusion.second_filter):
            learned.fill_(1.0)
        for gate in (fusion.first_gate, fusion.second_gate):
            gate[-1].weight.zero_()
            gate[-1].bias.fill_(-200.0)
        nn.init.dirac_(fusion.enter.weight)
        for layer in (fusion.first_leave, fusion.second_leave):
            layer.weight.copy_(torch.eye(3))
        for layer in (fusion.enter, fusion.first_leave, fusion.second_leave):
            layer.bias.zero_()
    first, second = torch.randn(2, 3, 6, 8), torch.randn(2, 3, 6, 8)
    one, two = fusion(first, second)
    torch.testing.assert_close(one, first, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(two, second, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        for gate in (fusion.first_gate, fusion.second_gate):
            gate[-1].bias.fill_(200.0)
    one, two = fusion(first, second)
    torch.testing.assert_close(two, first + second, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(one, 2 * first + second, atol=1e-5, rtol=1e-5, msg="U' = V' + U with V' = U + V")


def test_the_branches_meet_in_the_encoders_alone() -> None:
    network = joint().eval()
    images = torch.randn(2, 1, 32, 32)
    one, two = network.encode(images)
    assert [tuple(m.shape[2:]) for m in one] == [(32, 32), (16, 16), (8, 8), (4, 4), (2, 2)]
    assert [tuple(m.shape[2:]) for m in two] == [(8, 8), (4, 4), (2, 2), (1, 1)]
    with torch.no_grad():
        for fusion in network.fusions:
            for layer in (fusion.first_leave, fusion.second_leave):
                layer.weight.zero_()
                layer.bias.zero_()
    out = network(images)
    torch.testing.assert_close(out.logits[0], network.first(images))
    torch.testing.assert_close(out.logits[1], network.second(images))
    network.encode(torch.randn(1, 1, 64, 32))
    with pytest.raises(UsageError, match="multiples"):
        network.encode(torch.randn(1, 1, 48, 40))


def test_other_networks_are_refused() -> None:
    with pytest.raises(UsageError, match="--backbone unet"):
        case_of(MedFCT, options=SMALL, backbone=SwinUNet).build()
    case = case_of(MedFCT, 3, backbone=VNet)
    assert "2D" in (MedFCT.unsupported(case.task, case.parsed_options()) or "")


def test_labels_of_the_surer_branch() -> None:
    first = torch.tensor([[0.0, 3.0], [0.0, 1.0], [0.0, 2.0], [0.0, 5.0]]).T.view(1, 2, 2, 2)
    second = torch.tensor([[1.0, 0.0], [4.0, 0.0], [0.0, 2.0], [0.0, 0.0]]).T.view(1, 2, 2, 2)
    valid = torch.tensor([[[True, True], [True, False]]])
    assert surer_labels(first, second, valid).tolist() == [[[1, 0], [0, IGNORE]]], "first, second, tie, padding"


def test_similarity_maps_as_loops() -> None:
    torch.manual_seed(2)
    features, logits = torch.randn(2, 4, 2, 3), torch.randn(2, 3, 2, 3)
    found = similarity_maps(features, logits)
    p = logits.softmax(1)
    for b in range(2):
        for c in range(3):
            weights = p[b, c].exp() / p[b, c].exp().sum()
            centre = sum(weights[y, x] * features[b, :, y, x] for y in range(2) for x in range(3))
            for y in range(2):
                for x in range(3):
                    expected = torch.cosine_similarity(features[b, :, y, x], centre, dim=0)
                    assert float(found[b, c, y, x]) == pytest.approx(float(expected), abs=1e-5)


class Answers(nn.Module):
    """The same outputs whatever the images."""

    def __init__(self, first: Tensor, second: Tensor, features: float) -> None:
        super().__init__()
        self.first, self.second, self.features = nn.Parameter(first), nn.Parameter(second), features

    def forward(self, images: Tensor) -> Outputs:
        shape = (len(images), 2, *images.shape[2:])
        logits = (self.first.view(1, 2, 1, 1).expand(shape), self.second.view(1, 2, 1, 1).expand(shape))
        return Outputs(logits, (logits[0] * 0 + self.features, logits[1] * 0 + 2 * self.features))


def test_worked_losses() -> None:
    method = case_of(MedFCT, options=SMALL).build()
    assert isinstance(method, MedFCT)
    a, b = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 1.0])
    method.student, method.teacher = Answers(a, b, 1.0), Answers(b, -b, 0.5)  # type: ignore[assignment]
    label = torch.tensor([[[1, 1], [0, 0]]])
    losses = method.losses(blank(label), clock(step=50))
    z, y = (v.view(1, 2, 1, 1).expand(1, 2, 2, 2) for v in (a, b))
    ones = torch.ones(1, 2, 2, dtype=torch.int64)
    assert losses["sup"].item() == pytest.approx((dice_ce(z, label) + dice_ce(y, label)).item() / 2)
    assert losses["cross"].item() == pytest.approx((soft_dice(z, ones) + soft_dice(y, 0 * ones)).item() / 2)
    tie = (soft_dice(z, 0 * ones) + soft_dice(y, 0 * ones)).item() / 2
    assert losses["pixel"].item() == pytest.approx(tie), "equal entropies: background"
    assert losses["feature"].item() == pytest.approx((0.5**2 + 1.0**2) / 2)
    assert losses["centres"].item() == 0.0, "its weight is 0"


def test_what_trains_whom() -> None:
    case = case_of(MedFCT, options=SMALL)
    method, batch = case.build().train(), case.data().batch(0)
    assert isinstance(method, MedFCT)
    method.terms = {**MedFCT.terms, "centres": MedFCT.terms["feature"]}
    losses = quiet(method).losses(batch, clock(step=50))
    for name, loss in losses.items():
        assert reached(loss, method.student), name
    assert not any(parameter.requires_grad for parameter in method.teacher.parameters())
    assert list(method.predictors()) == ["mean", "first", "second", "teacher"]


def test_the_teacher_starts_later() -> None:
    terms = MedFCT.terms
    assert [terms[name].at(999 / 30000) for name in ("pixel", "feature")] == [0.0, 0.0]
    assert terms["cross"].at(0.0) == 1.0 and terms["feature"].at(1000 / 30000) == 0.5
    assert terms["pixel"].at(0.5) == pytest.approx(0.1 * math.exp(-5 / 4))
    case = case_of(MedFCT, options=SMALL)
    method, batch = case.build().train(), case.data().batch(0)
    passes: list[Tensor] = []
    method.teacher.register_forward_hook(lambda module, given, result: passes.append(given[0]))  # type: ignore[union-attr]
    assert "pixel" not in method.losses(batch, clock()) and not passes, "its pass is left out while it counts nothing"
    assert "pixel" in method.losses(batch, clock(step=50)) and len(passes) == 1


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_gates_use_the_norm_of_the_network(norm: str) -> None:
    case = case_of(MedFCT, options=SMALL, backbone_options={"width": 0.125, "norm": norm})
    batch_norms = [part for part in case.build().modules() if isinstance(part, nn.BatchNorm2d)]
    assert bool(batch_norms) == (norm == "batch")
