"""Diff-CL: the sheet's worked numbers, laws of its parts, who learns from what, presets. (Which of its forms learn:
tests/battery/test_learning.py.)"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from support.methods_support import Collected, case_of, clock, samples
from torch import Tensor, nn
from torch.nn import functional as F

from semibench import IGNORE, Method, Recipe, Samples, Term, UnsupportedError, UsageError
from semibench.blocks import LabelDiffusion, cross_entropy, soft_dice
from semibench.conformance import MethodSubject
from semibench.conformance.subject import SmallBackbones
from semibench.run.settings import build, term_records
from semibench_plugins.backbones.diffusion_vnet import DiffusionVNet
from semibench_plugins.methods.systems.diff_cl.method import DiffCL
from semibench_plugins.methods.systems.diff_cl.presets import FORMS

torch.set_num_threads(1)
SMALL = {"samples": 128, "extremes": 16, "anchors": 32, "bank": 64, "added": 64, "width": 8}


def case(dims: int = 2, **options: Any) -> MethodSubject:
    return case_of(DiffCL, dims, options={**SMALL, **options})


def made(dims: int = 2, **options: Any) -> DiffCL:
    method = case(dims, **options).build()
    assert isinstance(method, DiffCL)
    return method


def count(module: nn.Module | None) -> int:
    return sum(parameter.numel() for parameter in module.parameters()) if module is not None else 0


def batch(dims: int = 2, seed: int = 0) -> dict[str, Samples]:
    draw = torch.Generator().manual_seed(seed)
    size = (32, 32, 16)[:dims]
    image = torch.randn((4, 1, *size), generator=draw)
    label = (image[:2, 0] > 0.5).long()
    return {"labeled": samples(image[:2], label), "unlabeled": samples(image[2:])}


# --- diffusion (section 3.1) ---


def test_schedule() -> None:
    kept = LabelDiffusion().kept
    for index, value in (
        (0, 0.9999),
        (99, 0.897018),
        (249, 0.524085),
        (499, 0.078587),
        (749, 0.0033506),
        (999, 4.0358e-5),
    ):
        assert float(kept[index]) == pytest.approx(value, rel=2e-5)


def test_noising_from_nothing_to_pure_noise_and_back() -> None:
    diffusion = LabelDiffusion()
    clean, noise = torch.rand(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    diffusion.kept[3], diffusion.kept[4] = 1.0, 0.0
    torch.testing.assert_close(diffusion.noised(clean, torch.tensor([3, 3]), noise), clean)
    torch.testing.assert_close(diffusion.noised(clean, torch.tensor([4, 4]), noise), noise)
    later, earlier = torch.tensor([700, 700]), torch.tensor([300, 300])
    back = diffusion.back(diffusion.noised(clean, later, noise), clean, 700, 300)
    torch.testing.assert_close(back, diffusion.noised(clean, earlier, noise), rtol=1e-4, atol=1e-4)


def test_clean_maps() -> None:
    label = torch.tensor([[[0, 1, IGNORE]]])
    assert made().clean(label)[0, :, 0].tolist() == [[1, 0, 0], [0, 1, 0]]
    assert made(x0_range="symmetric").clean(label)[0, :, 0].tolist() == [[1, -1, -1], [-1, 1, -1]]


def test_without_the_module_it_is_the_plain_network() -> None:
    method, images = made(3, high_frequency=False).eval(), torch.randn(1, 1, 32, 32, 16)
    torch.testing.assert_close(method(images), method.segmentation(images))
    assert count(method) == count(made(3)) - count(made(3).filter)


@pytest.mark.parametrize("level", [5, 3])
def test_the_module_is_added_to_its_map(level: int) -> None:
    method, images = made(3, level=level).eval(), torch.randn(1, 1, 32, 32, 16)
    net = method.segmentation
    maps = net.encode(images)
    assert method.filter is not None
    maps[level - 1] = maps[level - 1] + method.filter(maps[level - 1])
    torch.testing.assert_close(method(images), net.decode(maps, images.shape[2:]))


def test_memory_takes_what_the_diffusion_network_gets_right() -> None:
    method = made(added=5).train()
    target = torch.zeros(2, 32, 32, dtype=torch.int64)
    target[:, :4, :4], target[1, :, -2:] = 1, IGNORE
    logits = torch.zeros(2, 2, 32, 32)
    logits[:, 1, :2] = 1.0
    finest = torch.randn(2, method.diffusion.channels[0], 32, 32, requires_grad=True)
    method.remember(finest, logits, target)
    assert method.bank.filled.tolist() == [5, 5]
    logits[:, 1] = -1.0
    method.remember(finest, logits, target)
    assert method.bank.filled.tolist() == [10, 5], "class 1 is missed everywhere, so nothing is added to it"
    assert not method.bank.features.requires_grad


# --- one iteration (Algorithm 1) ---


def losses(method: DiffCL, given: Mapping[str, Samples] | None = None, dims: int = 2) -> Collected:
    collected = Collected()
    torch.manual_seed(1)
    method.step(given or batch(dims), clock(), collected)
    return collected


@pytest.mark.parametrize("dims", [2, 3])
def test_each_network_has_its_own_losses_and_optimiser(dims: int) -> None:
    method = made(dims).train()
    found = losses(method, dims=dims)
    assert [on for _, on in found.calls] == [("diffusion",), ("segmentation",)]
    owned = {name: [p for m in part.modules for p in m.parameters()] for name, part in method.optimisers().items()}
    assert sum(len(part) for part in owned.values()) == len(list(method.parameters()))
    for (values, _), stranger in zip(found.calls, ("segmentation", "diffusion"), strict=True):
        total = torch.stack(list(values.values())).sum()
        gradients = torch.autograd.grad(total, owned[stranger], allow_unused=True, retain_graph=True)
        assert all(gradient is None for gradient in gradients), f"{list(values)} reach the other network"


def test_losses_are_those_of_the_definition() -> None:
    """Recomputed from the two networks' logits, seen by hooks."""
    method, given = made(dice="all").train(), batch()
    seen: dict[str, Tensor] = {}
    for name, net in (("d", method.diffusion), ("c", method.segmentation)):
        last = net.decoder.last
        last.register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out}))
    values = losses(method, given).losses
    y = given["labeled"].target
    for long, own, other in (("diffusion", "d", "c"), ("segmentation", "c", "d")):
        guess = seen[other][2:].argmax(1)
        p = seen[own].softmax(1)
        hot = F.one_hot(torch.cat([y, guess]), 2).movedim(-1, 1)
        for part, rows, target in (("sup", slice(0, 2), y), ("cross", slice(2, 4), guess)):
            common = (p[rows] * hot[rows]).sum((0, 2, 3))
            size = p[rows].sum((0, 2, 3)) + hot[rows].sum((0, 2, 3))
            dice = (1 - (2 * common + 1e-5) / (size + 1e-5)).mean()
            torch.testing.assert_close(values[f"{long}_{part}_dice"], dice)
            torch.testing.assert_close(values[f"{long}_{part}_ce"], F.cross_entropy(seen[own][rows], target))
    assert set(values) == set(DiffCL.terms)


def test_the_diffusion_network_sees_the_noisy_labels() -> None:
    method, given = made().train(), batch()
    seen: list[tuple[Tensor, ...]] = []
    encode = method.diffusion.encode

    def noted(images: Tensor, noisy: Tensor, time: Tensor) -> Any:
        seen.append((images, noisy, time))
        return encode(images, noisy, time)

    method.diffusion.encode = noted  # type: ignore[method-assign, assignment]
    method.schedule.kept.fill_(1.0)
    losses(method, given)
    ((images, noisy, time),) = seen
    assert images.shape == (4, 1, 32, 32) and time.shape == (4,)
    torch.testing.assert_close(noisy[:2].argmax(1), given["labeled"].target)
    assert set(noisy.unique().tolist()) == {0.0, 1.0}
    late = made(t_min=900).train()
    late.diffusion.encode = noted  # type: ignore[method-assign, assignment]
    losses(late, given)
    assert int(seen[-1][2].min()) >= 900


def test_agreement_is_logged_by_quarters() -> None:
    method = made()
    of_c = torch.zeros(3, 4, 4, dtype=torch.int64)
    of_d = of_c.clone()
    of_d[1, :2], of_c[2, 0] = 1, IGNORE
    method._note_agreement(of_c, of_d, torch.tensor([0, 999, 800]))
    assert set(method.notes) == {"agreement_0", "agreement_3"}
    assert float(method.notes["agreement_0"]) == 1 and float(method.notes["agreement_3"]) == pytest.approx(
        (0.5 + 1) / 2
    )


def test_without_unsupervised_terms_labels_alone_count() -> None:
    """mu = eta = 0: what is minimised is the supervised loss of each network."""
    method, given = made().train(), batch()
    values = losses(method, given).losses
    off = {
        name: replace(term, weight=0.0) for name, term in DiffCL.terms.items() if "cross" in name or name == "contrast"
    }
    method.terms = {**DiffCL.terms, **off}
    total = method.total(values, clock())
    sup = sum(values[name] * method.weight(name, clock()) for name in values if "_sup_" in name)
    torch.testing.assert_close(total, sup)
    torch.manual_seed(1)
    logits = method.segment(torch.cat([given["labeled"].image, given["unlabeled"].image]))[1][:2]
    y = given["labeled"].target
    torch.testing.assert_close(values["segmentation_sup_ce"], cross_entropy(logits, y))
    torch.testing.assert_close(values["segmentation_sup_dice"], soft_dice(logits, y, squared=False, background=False))


def test_inference_needs_no_diffusion_network() -> None:
    method, images = made().eval(), torch.randn(2, 1, 32, 32)
    before = method(images)
    with torch.no_grad():
        for parameter in method.diffusion.parameters():
            parameter.fill_(torch.nan)
    torch.testing.assert_close(method(images), before)
    assert list(method.predictors()) == ["main"]


@pytest.mark.parametrize("clean", ["clip", "softmax"])
def test_the_diffusion_network_can_be_sampled(clean: str) -> None:
    method, images = made(score_diffusion=True, ddim_clean=clean, ddim_steps=3).eval(), torch.randn(3, 1, 32, 32)
    steps: list[int] = []
    denoise = method.denoise
    method.denoise = lambda i, n, t: (steps.append(int(t[0])), denoise(i, n, t))[1]  # type: ignore[method-assign, func-returns-value]
    with torch.no_grad():
        torch.manual_seed(0)
        found = method.predictors()["diffusion"](images)
        torch.manual_seed(0)
        alone = method.sample(images[:1])
    assert steps == [999, 500, 0] * 2 and found.shape == (3, 2, 32, 32)
    torch.testing.assert_close(found[:1], alone, rtol=1e-4, atol=1e-4)


# --- options and presets ---


def test_whole_method_at_published_size() -> None:
    """V-Net 9,448,866, module 4,461,824, head 16 x 64 and 64 x 64, diffusion V-Net 10,837,266 of which 11,214,834 minus
    what is idle."""
    whole = {"backbone_options": {}, "options": {}}
    with torch.device("meta"):
        method = case_of(DiffCL, 3, **whole).build()
    assert isinstance(method, DiffCL) and isinstance(method.diffusion, DiffusionVNet)
    assert count(method.segmentation) == 9_448_866 and count(method.filter) == 4_461_824
    assert count(method.head) == 5_376 and count(method.diffusion) == 10_837_266
    assert tuple(method.bank.features.shape) == (2, 4096, 64)


def test_lambda() -> None:
    ramp = resolved("la-8-printed")["diffusion_sup_ce"].ramp
    for epoch, value in ((0, 0.01348), (75, 0.12011), (150, 0.57301), (225, 1.46323), (300, 2.0)):
        assert 2 * ramp(epoch / 300) == pytest.approx(value, abs=1e-5)
    assert ramp(0.5) == ramp(0.5 + 0.9 / 300), "by epochs"


TABLE = {
    "la-4": (0.01, 0.7, 0.6, 11400), "la-8": (0.01, 0.5, 0.7, 10800), "pancreas-6": (0.1, 0.007, 0.8, 8400),
    "pancreas-12": (0.1, 0.0003, 0.5, 7500), "brats19-25": (0.1, 0.007, 0.5, 33900), "brats19-50": (0.1, 0.003, 0.5, 30000),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("form", FORMS)
def test_presets_are_table_2(name: str, form: str) -> None:
    """What all forms share."""
    _, _, threshold, iterations = TABLE[name]
    preset = DiffCL.presets[f"{name}-{form}"]
    recipe = build(Recipe, "own", case().recipe(1).model_dump(), {"dims": 3}, preset["recipe"])
    assert DiffCL.Options(**preset["options"]).threshold == threshold
    assert (recipe.iterations, recipe.labeled_batch, recipe.unlabeled_batch) == (iterations, 2, 2)
    assert (recipe.schedule, recipe.lr, recipe.weight_decay, recipe.momentum) == ("constant", 0.01, 3e-5, 0.9)
    assert recipe.patch == ((112, 112, 80) if name.startswith("la") else (96, 96, 96))
    unlabeled = {"la-4": 76, "la-8": 72, "pancreas-6": 56, "pancreas-12": 50, "brats19-25": 225, "brats19-50": 200}[
        name
    ]
    assert iterations == 300 * math.ceil(unlabeled / 2)


@pytest.mark.parametrize("name", TABLE)
def test_weights_as_printed(name: str) -> None:
    beta, eta, *_ = TABLE[name]
    terms = resolved(f"{name}-printed")
    for net in ("diffusion", "segmentation"):
        assert terms[f"{net}_sup_ce"].at(1.0) == pytest.approx(2 * beta)
        assert terms[f"{net}_sup_ce"].at(0.5) == pytest.approx(0.57301 * beta, rel=1e-4)
        assert [terms[f"{net}_{part}"].at(0.0) for part in ("sup_dice", "cross_dice", "cross_ce")] == [1, 1, 1]
    assert terms["contrast"].at(0.0) == terms["contrast"].at(0.9) == eta


@pytest.mark.parametrize("name", TABLE)
def test_a_supervised_cross_entropy_in_full_is_the_only_difference(name: str) -> None:
    printed, ours = resolved(f"{name}-printed"), resolved(f"{name}-ce")
    changed = {term for term in printed if printed[term] != ours[term]}
    assert changed == {"diffusion_sup_ce", "segmentation_sup_ce"}
    assert [ours[term].at(progress) for term in changed for progress in (0.0, 0.5, 1.0)] == [1.0] * 6


def resolved(name: str) -> dict[str, Term]:
    records = term_records(DiffCL.terms, DiffCL.presets[name]["terms"])
    return {term: Term.restore(record) for term, record in records.items()}


def test_ramp_on_the_unsupervised_losses() -> None:
    terms = resolved("brats19-25-ramp-unsupervised")
    for net in ("diffusion", "segmentation"):
        assert [terms[f"{net}_sup_{loss}"].at(0.0) for loss in ("dice", "ce")] == [1, 1]
        for loss in ("dice", "ce"):
            assert terms[f"{net}_cross_{loss}"].at(0.0) == pytest.approx(0.0067379, rel=1e-4)
            assert terms[f"{net}_cross_{loss}"].at(1.0) == 1
    assert terms["contrast"].at(0.5) == pytest.approx(0.007 * 0.2865048, rel=1e-4)


def test_default_is_the_preset_of_eight_labels() -> None:
    plain = {name: replace(term, search=None, unlabeled=False) for name, term in DiffCL.terms.items()}
    assert resolved("la-8-ce") == plain
    assert DiffCL.Options(**DiffCL.presets["la-8-ce"]["options"]) == DiffCL.Options()


def test_presets_of_a_data_set_are_those_that_learn() -> None:
    of_data = {"la": "la-8-ce", "pancreas": "pancreas-12-ce", "brats19": "brats19-25-ce"}
    assert set(DiffCL.presets) == {f"{name}-{form}" for name in TABLE for form in FORMS} | set(of_data)
    assert all(DiffCL.presets[name] == DiffCL.presets[same] for name, same in of_data.items())


def test_refusals() -> None:
    with pytest.raises(UnsupportedError, match="single position"):
        replace_patch(16)
    with pytest.raises(UsageError, match="maps 1 to 5"):
        made(level=6)
    with pytest.raises(ValueError, match="2 extremes <= samples"):
        DiffCL.Options(samples=10, extremes=6)
    with pytest.raises(ValueError, match="anchors <= bank"):
        DiffCL.Options(anchors=300, bank=200)


def replace_patch(side: int) -> Method:
    small = case()
    task = replace(small.task, patch=(side, side))
    return DiffCL(task, SmallBackbones(small.backbone, task, {"width": 0.125}), DiffCL.Options())


@pytest.mark.parametrize(
    "options",
    [{"level": 4}, {"gate": "mul", "step_init": "first"}, {"positives": "agreeing", "reduction": "sum"},
     {"x0_range": "symmetric", "score_diffusion": True, "ddim_steps": 2}],
)  # fmt: skip
def test_options_train(options: dict[str, Any]) -> None:
    rehearsal = case(**options).rehearse(steps=2).run()
    assert all(math.isfinite(value) for call in rehearsal.calls for value in call.values.values())
