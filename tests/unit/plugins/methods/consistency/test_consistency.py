"""UA-MT, DCT and CCT against the numbers of their sheets, and the laws of their terms."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from support.methods_support import Constant, blank, case_of, clock, quiet, reached, samples
from torch import Tensor, nn

from semibench import Clock, Term
from semibench.blocks import Teacher
from semibench.run.settings import term_records
from semibench_plugins.methods.consistency.cct import CCT
from semibench_plugins.methods.consistency.dct import DCT, rotation_agreement
from semibench_plugins.methods.consistency.ua_mt import UAMT
from semibench_plugins.methods.pseudo_labels.cps import CPS

torch.set_num_threads(1)


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
