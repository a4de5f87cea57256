"""DGNet: meta-learning over domains with content, style and domain apart."""

from __future__ import annotations

import math

import pytest
import torch
from support.methods_support import Collected, case_of, clock, gradient, reached, samples
from torch import Tensor, nn
from torch.func import functional_call

from semibench.blocks import code_kl, content_rank, hsic, image_range, inner_step
from semibench.conformance import MethodSubject
from semibench.contracts.errors import UsageError
from semibench_plugins.methods.disentanglement.dgnet import DGNet, halves, picked
from semibench_plugins.methods.disentanglement.supervision import dice_sum_ce

BACKBONE = {"width": 0.125, "dropout": (0.0,) * 5}
NARROW = {"modality_filters": 1}


@pytest.fixture(scope="module")
def case() -> MethodSubject:
    return case_of(DGNet, options=NARROW, backbone_options=BACKBONE)


class Weight(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(()))

    def forward(self, power: int) -> Tensor:
        return self.w**power


@pytest.mark.parametrize(("first_order", "expected"), [(False, 0.56), (True, 1.4)])
def test_second_order_of_a_worked_step(first_order: bool, expected: float) -> None:
    """Train w^3, test w^2, w = 1, rate .1: w' = .7 and d(w'^2)/dw = 2 x .7 x (1 - .6) = .56; as a constant 1.4."""
    net = Weight()
    moved = inner_step(net, net(3), 0.1, first_order=first_order)
    assert moved["w"].item() == pytest.approx(0.7)
    functional_call(net, moved, (2,)).backward()
    assert net.w.grad is not None and net.w.grad.item() == pytest.approx(expected, abs=1e-6)


def test_the_codes_loss_of_the_domain_has_a_floor(case: MethodSubject) -> None:
    sure, domain = torch.tensor([[60.0, 0.0, 0.0], [0.0, 60.0, 0.0]]), torch.tensor([0, 1])
    assert case.build().domain_loss(sure, domain).item() == pytest.approx(0.0, abs=1e-6)
    code = case.variant(options={**NARROW, "domain_loss": "bce_of_softmax"}).build()
    floor = (math.log(1 + math.exp(-1)) + 2 * math.log(2)) / 3
    assert code.domain_loss(sure, domain).item() == pytest.approx(floor, abs=1e-6)
    assert floor == pytest.approx(0.5665, abs=1e-4)
    assert DGNet.presets["code"]["terms"]["hsic"] == pytest.approx(0.1 * (4 - 1)), "m - 1 in place of its square, m = 4"


def test_domains_for_training_and_test() -> None:
    domain = torch.tensor([0, 0, 1, 1, 3, 3])
    train, test = halves(domain, torch.tensor([3, 2, 0, 1]))
    assert domain[train].tolist() == [0, 0, 3, 3] and domain[test].tolist() == [1, 1], "domain 2 isn't there"
    train, test = halves(torch.tensor([0, 1, 2, 3]), torch.tensor([2, 0, 1, 3]))
    assert train.tolist() == [True, False, True, False] and test.tolist() == [False, True, False, False]


def test_it_needs_three_domains_and_moves_no_normalisation(case: MethodSubject) -> None:
    few = case.variant(domains=2)
    assert "three training domains" in str(DGNet.unsupported(few.task, DGNet.Options()))
    assert DGNet.unsupported(case.task, DGNet.Options()) is None
    method = case.build()
    still = {name for name, _ in method.model.named_parameters()} - method.moving
    norms = {
        f"{name}.{part}"
        for name, m in method.model.named_modules()
        if isinstance(m, nn.BatchNorm2d)
        for part in ("weight", "bias")
    }
    assert still == norms and norms


def test_an_iteration_has_an_unlabeled_and_a_labeled_meta_step_with_the_terms_of_the_formula(
    case: MethodSubject,
) -> None:
    method, batch, seen = case.build(), case.data().batch(0), Collected()
    torch.manual_seed(0)
    method.step(batch, clock(), seen)
    (unlabeled, _), (losses, on) = seen.calls
    assert on == ("net", "parts")
    assert {name.removesuffix("_u") for name in unlabeled} | {"seg", "test_seg"} == set(losses)
    assert set(unlabeled) | set(losses) == set(DGNet.terms)
    assert all(DGNet.terms[name].unlabeled == name.endswith("_u") for name in DGNet.terms)
    labeled = picked(batch["labeled"], batch["labeled"].domain != 0)
    torch.manual_seed(1)
    found = method.trained(labeled)
    torch.manual_seed(1)
    goal = image_range(labeled.image, labeled.valid).scaled(labeled.image)
    seen_again = method.model(labeled.image, goal)
    z, drawn, content = seen_again.z, seen_again.drawn, seen_again.content
    assert content.shape[1] == 2 + 4 and z.shape[1] == 16
    valid = labeled.valid.unsqueeze(1).float()
    expected = {
        "seg": dice_sum_ce(content[:, :2], labeled.target),
        "rec": ((drawn - goal).abs() * valid).sum() / valid.sum(),
        "code": (method.model.modality(drawn).mean - z).abs().mean(),
        "kl": code_kl(seen_again.code),
        "hsic": hsic(z[:, :8], z[:, 8:]),
        "domain": -method.model.classifier(z[:, :8]).log_softmax(1)[range(len(z)), labeled.domain].mean(),
    }
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=name)
    rank = content_rank(content, 2, positions=10**6, valid=labeled.valid)
    assert found["rank"].item() == pytest.approx(rank.item(), rel=0.2), "positions drawn"


def test_the_code_bounds_the_rank_of_the_softmax_in_the_labeled_step(case: MethodSubject) -> None:
    code = {**NARROW, **DGNet.presets["code"]["options"]}
    method, batch = case.variant(options=code).build(), case.data().batch(0)
    content = torch.randn(3, 6, 4, 4)
    torch.testing.assert_close(method.ranked(content, batch["labeled"]), content.softmax(1))
    assert method.ranked(content, batch["unlabeled"]) is content
    assert case.build().ranked(content, batch["labeled"]) is content


def test_fewer_than_three_domains_in_a_batch_are_refused() -> None:
    with pytest.raises(UsageError, match="three training domains in each batch, and found 1"):
        halves(torch.zeros(4, dtype=torch.int64), torch.tensor([2, 0, 1]))


def test_the_test_loss_is_that_of_the_moved_weights(case: MethodSubject) -> None:
    batch, values, gradients = case.data().batch(0)["labeled"], {}, {}
    order = torch.tensor([2, 0, 1])
    for rate, first_order in ((0.0, False), (0.1, False), (0.1, True)):
        options = {**NARROW, "inner_rate": rate, "first_order": first_order}
        method = case.variant(options=options).build()
        torch.manual_seed(0)
        losses = method.meta(batch, order, clock())
        values[rate, first_order] = losses["test_seg"].item()
        gradients[rate, first_order] = gradient(losses["test_seg"], method.model.content)
    plain = case.build().train()
    test = picked(batch, batch.domain == 1)
    expected = dice_sum_ce(plain.logits(plain.model.content(test.image)), test.target)
    assert values[0.0, False] == pytest.approx(expected.item(), rel=1e-5), "rate 0: the plain loss"
    assert abs(values[0.1, False] - expected.item()) > 1e-3
    assert values[0.1, True] == pytest.approx(values[0.1, False], rel=1e-5), "one step, whatever its derivative"
    pairs = [
        (a, b)
        for a, b in zip(gradients[0.1, False], gradients[0.1, True], strict=True)
        if a is not None and b is not None
    ]
    assert any((a - b).abs().max() > 1e-3 * b.abs().max() for a, b in pairs), "the inner gradient is differentiated"


def test_statistics_come_from_the_training_domains(case: MethodSubject) -> None:
    method, batch = case.build().train(), case.data().batch(0)["unlabeled"]
    method.meta(batch, torch.tensor([2, 0, 1]), clock(), "_u")
    other = case.build().train()
    other.model.content(picked(batch, batch.domain != 1).image)
    own = other.model.content.state_dict()
    for name, value in method.model.content.state_dict().items():
        torch.testing.assert_close(value, own[name], msg=name)


def test_what_terms_train_and_what_the_pictures_show(case: MethodSubject) -> None:
    method, batch = case.build(), case.data().batch(0)["labeled"]
    losses = method.trained(samples(batch.image, batch.target, batch.domain))
    assert reached(losses["seg"], method.model.content) and not reached(losses["seg"], method.model.modality)
    assert reached(losses["rank"], method.model.content) and reached(losses["rec"], method.model.content)
    assert reached(losses["domain"], method.model.modality) and not reached(losses["domain"], method.model.content)
    method.eval()
    with torch.no_grad():
        shown = method.pictures(batch.image)
        assert method(batch.image).shape == (len(batch.image), 2, 32, 32)
    assert list(shown) == ["reconstruction", "with the next image's style"]
    assert all(maps.shape == batch.image.shape for maps in shown.values())
