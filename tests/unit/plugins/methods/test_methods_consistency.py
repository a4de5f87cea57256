"""UA-MT, DCT, CPS, CTCT and CCT against the numbers of their sheets, and the laws of their terms."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from support.methods_support import case_of, clock, samples
from torch import Tensor, nn

from semibench import Clock, Method, Term
from semibench.blocks import Teacher, dice_ce, soft_dice
from semibench.run.settings import term_records
from semibench_plugins.methods.consistency.cct import CCT
from semibench_plugins.methods.consistency.dct import DCT, rotation_agreement
from semibench_plugins.methods.consistency.ua_mt import UAMT
from semibench_plugins.methods.pseudo_labels.cps import CPS, pseudo_labels
from semibench_plugins.methods.pseudo_labels.ctct import CTCT

torch.set_num_threads(1)


class Constant(nn.Module):
    """The same logits whatever the image; shape (K,) or (K, *spatial)."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, images: Tensor) -> Tensor:
        logits = self.logits.view(len(self.logits), *[1] * (images.ndim - 2)) if self.logits.ndim == 1 else self.logits
        return logits.expand(len(images), len(self.logits), *images.shape[2:])


def blank(label: Tensor | None = None) -> dict[str, Any]:
    """One labeled and one unlabeled image of 2 x 2."""
    label = torch.zeros(1, 2, 2, dtype=torch.int64) if label is None else label
    return {"labeled": samples(torch.zeros(1, 1, 2, 2), label), "unlabeled": samples(torch.zeros(1, 1, 2, 2))}


def quiet(method: Method) -> Method:
    for module in method.modules():
        if isinstance(module, nn.Dropout | nn.Dropout2d | nn.Dropout3d):
            module.p = 0.0
    return method


def gradient(loss: Tensor, module: nn.Module) -> list[Tensor | None]:
    return list(torch.autograd.grad(loss, list(module.parameters()), allow_unused=True, retain_graph=True))


def reached(loss: Tensor, module: nn.Module) -> bool:
    return any(g is not None and bool(g.abs().sum() > 0) for g in gradient(loss, module))


# UA-MT


def uamt(student: Tensor, teacher: Tensor, **options: Any) -> UAMT:
    method = case_of(UAMT, classes=len(student), options={"noise": 0.0, **options}).build().train()
    assert isinstance(method, UAMT)
    method.student = Constant(student)  # type: ignore[assignment]
    method.teacher = Teacher(Constant(teacher))
    return method


def by_foreground(*values: float) -> Tensor:
    p = torch.tensor(values).view(2, 2)
    return torch.stack([(1 - p).log(), p.log()])


def test_uamt_worked_numbers() -> None:
    method = uamt(by_foreground(0.6, 0.8, 0.9, 0.3), by_foreground(0.5, 0.9, 0.99, 0.3))
    entropy = method.uncertainty(torch.zeros(1, 1, 2, 2)).flatten().tolist()
    assert entropy == pytest.approx([0.6931, 0.3251, 0.0560, 0.6109], abs=1e-4)
    early = method.losses(blank(), clock(step=0))["consistency"]
    assert early.item() == pytest.approx(0.00905, abs=1e-6)
    almost = Clock("train", 96, 100, {})
    assert 0.6109 < method.threshold(almost) < 0.6931, "the voxel at .5 stays out"
    assert method.losses(blank(), almost)["consistency"].item() == pytest.approx(0.0060333, abs=1e-6)
    assert not any(p.requires_grad for p in method.teacher.parameters()) and reached(early, method.student)


def test_uamt_thresholds_and_weights() -> None:
    method = uamt(torch.zeros(2), torch.zeros(2))
    assert [method.threshold(clock(step=s)) for s in (0, 50)] == pytest.approx([0.52103, 0.5695], abs=1e-4)
    assert method.threshold(Clock("train", 100, 100, {})) == pytest.approx(math.log(2))
    assert method.weight("consistency", clock(step=0)) == pytest.approx(6.738e-4, abs=1e-7)
    assert method.weight("consistency", clock(step=50)) == pytest.approx(0.02865, abs=1e-5)
    four = uamt(torch.zeros(4), torch.zeros(4))
    assert four.threshold(Clock("train", 100, 100, {})) == pytest.approx(math.log(4))
    assert uamt(torch.zeros(4), torch.zeros(4), constants="binary").kinds == 2


def test_uamt_uncertain_teachers_teach_nothing_and_certain_ones_are_mean_teachers() -> None:
    assert uamt(torch.tensor([2.0, 0.0]), torch.zeros(2)).losses(blank(), clock())["consistency"].item() == 0.0
    sure = uamt(torch.tensor([2.0, 0.0]), torch.tensor([9.0, 0.0]))
    p, q = torch.tensor([2.0, 0.0]).softmax(0), torch.tensor([9.0, 0.0]).softmax(0)
    assert sure.losses(blank(), clock())["consistency"].item() == pytest.approx(
        (p - q).square().mean().item(), rel=1e-5
    )
    sure.threshold = lambda _clock: 10.0  # type: ignore[method-assign, misc, assignment]
    sure.teacher = Teacher(Constant(torch.zeros(2)))
    assert sure.losses(blank(), clock())["consistency"].item() == pytest.approx(0.145006, abs=1e-6)


def test_uamt_draws_nine_noisy_views_of_the_unlabeled_samples() -> None:
    case = case_of(UAMT)
    method, batch = case.build().train(), case.data().batch(0)
    assert isinstance(method, UAMT)
    seen: list[Tensor] = []
    method.teacher.net.register_forward_pre_hook(lambda _m, given: seen.append(given[0]))
    method.losses(batch, clock())
    count = len(batch["unlabeled"].image)
    assert [len(images) for images in seen] == [count] + 4 * [2 * count]
    noise = torch.cat([images.unflatten(0, (-1, count)) for images in seen]) - batch["unlabeled"].image
    assert noise.shape[0] == 9 and noise.abs().max() <= 0.2 + 1e-6 and len({float(n.sum()) for n in noise}) == 9


# DCT


def test_rotation_agreement_value_and_half_gradients() -> None:
    torch.manual_seed(0)
    plain, turned = (torch.randn(2, 3, 4, 4, requires_grad=True) for _ in range(2))
    valid = torch.ones(2, 4, 4, dtype=torch.bool)
    full = (turned.softmax(1) - torch.rot90(plain, 3, (2, 3)).softmax(1)).square().mean()
    half = rotation_agreement(plain, turned, 3, valid)
    assert half.item() == pytest.approx(full.item())
    for whole, part in zip(
        torch.autograd.grad(full, (plain, turned)), torch.autograd.grad(half, (plain, turned)), strict=True
    ):
        torch.testing.assert_close(part, whole / 2)


@pytest.mark.parametrize("dims", [2, 3])
def test_equivariant_network_agrees_with_its_rotations(dims: int) -> None:
    method = case_of(DCT, dims, options={"variant": "rotation"}).build()
    assert isinstance(method, DCT) and method.second is None and list(method.predictors()) == ["main"]
    method.first = (nn.Conv2d, nn.Conv3d)[dims - 2](1, 2, 1)  # type: ignore[assignment]
    size = (6, 6, 4)[:dims]
    label = torch.zeros(2, *size, dtype=torch.int64)
    valid = torch.ones(2, *size, dtype=torch.bool)
    valid[0, ..., -1] = False
    unlabeled = samples(torch.randn(2, 1, *size))
    unlabeled.valid = valid
    batch = {"labeled": samples(torch.randn(2, 1, *size), label), "unlabeled": unlabeled}
    for seed in range(6):
        torch.manual_seed(seed)
        assert method.losses(batch, clock())["agreement"].item() == pytest.approx(0.0, abs=1e-12)


def test_oblong_images_are_turned_by_half() -> None:
    method = case_of(DCT, options={"variant": "rotation"}).build()
    method.first = nn.Conv2d(1, 2, 1)  # type: ignore[assignment]
    label = torch.zeros(1, 4, 6, dtype=torch.int64)
    batch = {"labeled": samples(torch.randn(1, 1, 4, 6), label), "unlabeled": samples(torch.randn(1, 1, 4, 6))}
    for seed in range(4):
        torch.manual_seed(seed)
        assert method.losses(batch, clock())["agreement"].item() == pytest.approx(0.0, abs=1e-12)


def test_co_training_terms() -> None:
    method = case_of(DCT).build()
    assert isinstance(method, DCT) and method.second is not None
    a, b = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 1.0])
    first, second = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 1)
    for net, bias in ((first, a), (second, b)):
        net.weight.data.zero_()
        net.bias.data.copy_(bias)  # type: ignore[union-attr]
    method.first, method.second = first, second  # type: ignore[assignment]
    losses = method.losses(blank(), clock())
    p, q = a.softmax(0), b.softmax(0)
    m = (p + q) / 2
    js = 0.5 * ((p * (p / m).log()).sum() + (q * (q / m).log()).sum())
    assert losses["agreement"].item() == pytest.approx(js.item(), rel=1e-5)
    crossed = -(p * q.log()).sum() - (q * p.log()).sum()
    assert losses["difference"].item() == pytest.approx(crossed.item(), rel=1e-5), "constant networks can't be attacked"
    method.second.load_state_dict(first.state_dict())
    assert method.losses(blank(), clock())["agreement"].item() == pytest.approx(0.0, abs=1e-7)


def test_attacks_are_steps_of_epsilon_that_raise_the_loss() -> None:
    case = case_of(DCT, options={"epsilon": 0.01})
    method, batch = quiet(case.build()).train(), case.data().batch(0)
    assert isinstance(method, DCT)
    images = batch["labeled"].image.clone().requires_grad_()
    logits = method.first(images)
    goal = batch["labeled"].target
    attack = method._attack(images, logits, goal)
    assert (attack - images).abs().max().item() == pytest.approx(0.01, rel=1e-3) and not attack.requires_grad
    before, after = (nn.functional.cross_entropy(z, goal, ignore_index=255) for z in (logits, method.first(attack)))
    assert after > before
    assert all(p.grad is None for p in method.parameters())


# CPS and CTCT


def test_cps_worked_numbers() -> None:
    method = case_of(CPS).build()
    assert isinstance(method, CPS)
    method.first, method.second = Constant(torch.tensor([2.0, 0.0])), Constant(torch.tensor([0.0, 1.0]))  # type: ignore[assignment]
    cross = method.losses(blank(), clock())["cross"]
    assert cross.item() == pytest.approx(3.440190, abs=1e-6)
    method.first, method.second = method.second, method.first
    assert method.losses(blank(), clock())["cross"].item() == pytest.approx(3.440190, abs=1e-6)
    method.first, method.second = Constant(torch.tensor([20.0, -20.0])), Constant(torch.tensor([20.0, -20.0]))  # type: ignore[assignment]
    assert method.losses(blank(), clock())["cross"].item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("method_class", [CPS, CTCT])
def test_two_networks_differ_and_give_labels_without_gradient(method_class: type[Method]) -> None:
    options = {"second_width": 0.125} if method_class is CTCT else {}
    case = case_of(method_class, options=options)
    method, batch = case.build().train(), case.data().batch(0)
    if method_class is CPS:
        pairs = zip(method.first.parameters(), method.second.parameters(), strict=True)  # type: ignore[union-attr]
        assert any(not torch.equal(one, two) for one, two in pairs)
    losses = method.losses(batch, clock())
    assert reached(losses["cross"], method.first) and reached(losses["cross"], method.second)  # type: ignore[arg-type]
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    valid = torch.ones(2, 4, 4, dtype=torch.bool)
    valid[0, 0] = False
    label = pseudo_labels(logits, valid)
    assert not label.requires_grad and label[0, 0].eq(255).all() and torch.equal(label[1], logits[1].argmax(0))
    assert list(method.predictors()) == ["first", "second", "mean"]


def test_cps_on_all_samples_or_the_unlabeled() -> None:
    case = case_of(CPS)
    batch = case.data().batch(0)
    every, some = (quiet(case.variant(options={"on": on}).build()).eval() for on in ("all", "unlabeled"))
    assert every.losses(batch, clock())["sup"].item() == some.losses(batch, clock())["sup"].item()
    assert every.losses(batch, clock())["cross"].item() != some.losses(batch, clock())["cross"].item()
    assert every.weight("cross", clock()) == 1.5 and CPS.presets["ssl4mis"]["terms"]["cross"]["weight"] == 0.1


def test_ctct_is_dice_of_the_others_labels() -> None:
    case = case_of(CTCT, options={"second_width": 0.125})
    method = case.build()
    assert isinstance(method, CTCT)
    assert type(method.second).__name__ == "SwinUNet" and type(method.first).__name__ == "UNet"
    a, b = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 1.0])
    method.first, method.second = Constant(a), Constant(b)  # type: ignore[assignment]
    label = torch.tensor([[[1, 1], [0, 0]]])
    losses = method.losses(blank(label), clock())
    z, y = (v.view(1, 2, 1, 1).expand(1, 2, 2, 2) for v in (a, b))
    ones = torch.ones(1, 2, 2, dtype=torch.int64)
    assert losses["cross"].item() == pytest.approx((soft_dice(z, ones) + soft_dice(y, 0 * ones)).item())
    assert losses["sup"].item() == pytest.approx((dice_ce(z, label) + dice_ce(y, label)).item())
    method.first, method.second = Constant(20 * a), Constant(20 * a)  # type: ignore[assignment]
    absent = method.losses(blank(label), clock())["cross"].item()
    assert absent == pytest.approx(0.0, abs=1e-3), "saturated and equal"


def test_ctct_is_for_two_dimensions() -> None:
    case = case_of(CTCT, 3)
    assert "2D" in (CTCT.unsupported(case.task, case.chosen()) or "")


# CCT


def test_cct_counts_of_the_sheet() -> None:
    for classes, expected in ((4, 3_713_664), (2, 3_712_504)):
        method = case_of(CCT, classes=classes, backbone_options={}).build()
        assert sum(p.numel() for p in method.parameters()) == expected


def test_cct_tied_decoders_without_perturbation_agree() -> None:
    case = case_of(CCT, options={"perturbations": ["none", "none"]})
    method, batch = quiet(case.build()).train(), case.data().batch(0)
    assert isinstance(method, CCT)
    for decoder in method.auxiliary:
        decoder.load_state_dict(method.net.decoder.state_dict())
    assert method.losses(batch, clock())["consistency"].item() == pytest.approx(0.0, abs=1e-10)


@pytest.mark.parametrize("perturb", ["bottleneck", "all"])
def test_cct_perturbs_the_maps_it_says(perturb: str) -> None:
    case = case_of(CCT, options={"perturb": perturb, "perturbations": ["feature-noise"]})
    method, batch = quiet(case.build()).train(), case.data().batch(0)
    assert isinstance(method, CCT)
    seen: list[list[Tensor]] = []
    for decoder in (method.net.decoder, method.auxiliary[0]):
        decoder.register_forward_pre_hook(lambda _m, given: seen.append(given[0]))
    method.losses(batch, clock())
    changed = [not torch.equal(a, b) for a, b in zip(*seen, strict=True)]
    assert changed == ([False] * 4 + [True] if perturb == "bottleneck" else [True] * 5)
    ratio = (seen[1][-1] / seen[0][-1])[seen[0][-1].abs() > 1e-3]
    assert ratio.min() >= 0.7 - 1e-4 and ratio.max() <= 1.3 + 1e-4


def test_cct_gradient_and_supervision_options() -> None:
    case = case_of(CCT)
    batch = case.data().batch(0)
    method = case.build().train()
    assert isinstance(method, CCT)
    losses = method.losses(batch, clock())
    assert not reached(losses["consistency"], method.net.decoder) and reached(losses["consistency"], method.auxiliary)
    assert not reached(losses["sup"], method.auxiliary)
    loose = case.variant(options=CCT.presets["ssl4mis"]["options"]).build().train()
    assert isinstance(loose, CCT)
    losses = loose.losses(batch, clock())
    assert reached(losses["consistency"], loose.net.decoder) and reached(losses["sup"], loose.auxiliary)
    assert method.weight("consistency", clock(step=10)) == pytest.approx(30.0)


def test_cct_masks_hide_objects_or_context() -> None:
    method = case_of(CCT, options={"perturbations": ["object-mask", "context-mask", "spatial-dropout"]}).build().train()
    assert isinstance(method, CCT)
    found = torch.zeros(1, 1, 4, 4)
    found[..., :2, :] = 1
    maps = torch.ones(1, 3, 2, 2)
    objects, context = (method._masked(maps, found, name) for name in ("object-mask", "context-mask"))  # type: ignore[arg-type]
    assert objects[..., 0, :].sum() == 0 and objects[..., 1, :].eq(1).all()
    assert torch.equal(objects + context, maps)
    assert torch.equal(method.eval()._masked(maps, found, "object-mask"), maps)


def test_presets_give_the_published_schedules() -> None:

    for method, term, preset in (
        (DCT, "agreement", "ssl4mis"),
        (CPS, "cross", "ssl4mis"),
        (CCT, "consistency", "ssl4mis"),
    ):
        record = term_records(method.terms, method.presets[preset]["terms"])[term]
        assert Term.restore(record).at(0.5) == pytest.approx(0.0286505, abs=1e-6), method.__name__
