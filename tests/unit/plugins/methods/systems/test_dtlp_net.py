"""DTLP-Net against the numbers of its sheet, and the laws of its parts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from support.methods_support import Collected, case_of, clock, quiet, samples
from torch import Tensor, nn

from semibench import IGNORE, Term, UsageError
from semibench.blocks import box_mask
from semibench.run.settings import term_records
from semibench_plugins.backbones.diff_vnet import DiffVNet
from semibench_plugins.methods.generalisation.three_decoders.losses import soft_dice_between
from semibench_plugins.methods.systems.dtlp_net.ensemble import as_probabilities, bits, fused
from semibench_plugins.methods.systems.dtlp_net.inputs import block_size, boxes, kept_blocks, partners
from semibench_plugins.methods.systems.dtlp_net.losses import relative_error
from semibench_plugins.methods.systems.dtlp_net.method import DTLPNet
from semibench_plugins.methods.systems.dtlp_net.propagation import propagate, propagated, rows_at_once

torch.set_num_threads(1)


def method(dims: int = 2, classes: int = 2, **options: Any) -> DTLPNet:
    built = case_of(DTLPNet, dims, backbone=DiffVNet, classes=classes, options={"ddim_steps": 2} | options).build()
    assert isinstance(built, DTLPNet)
    return built


def batch(dims: int = 2, classes: int = 2, seed: int = 0) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    size = (32, 32) if dims == 2 else (16, 32, 16)
    image = torch.randn((4, 1, *size), generator=generator)
    label = torch.randint(classes, (2, *size), generator=generator)
    return {"labeled": samples(image[:2], label), "unlabeled": samples(image[2:])}


def reached(loss: Tensor, module: nn.Module) -> bool:
    given = [p for p in module.parameters() if p.requires_grad]
    if not given:
        return False
    found = torch.autograd.grad(loss, given, allow_unused=True, retain_graph=True)
    return any(g is not None and bool(g.abs().sum() > 0) for g in found)


# diverse teaching


def test_entropy_ensemble() -> None:
    first, second = torch.tensor([0.9, 0.1]).view(1, 2, 1), torch.tensor([0.5, 0.5]).view(1, 2, 1)
    assert [float(bits(p)) for p in (first, second)] == pytest.approx([0.46900, 1.0], abs=1e-5)
    assert [math.exp(-float(bits(p))) for p in (first, second)] == pytest.approx([0.62563, 0.36788], abs=1e-5)
    both = fused(first, second)
    assert both.flatten().tolist() == pytest.approx([0.75189, 0.24811], abs=1e-5)
    assert torch.allclose(both, fused(second, first)) and torch.allclose(fused(first, first), first)
    assert torch.allclose(both.sum(1), torch.tensor(1.0))


@pytest.mark.parametrize(("classes", "least"), [(2, 0.3679), (4, 0.1353), (5, 0.0981), (14, 0.0222), (16, 0.0183)])
def test_bounds_of_the_entropy_weight(classes: int, least: float) -> None:
    flat, hard = torch.full((1, classes, 1), 1 / classes), torch.eye(classes)[:1].view(1, classes, 1)
    assert math.exp(-float(bits(flat))) == pytest.approx(least, abs=1e-4)
    assert math.exp(-float(bits(hard))) == 1.0


def test_label_maps_as_probabilities() -> None:
    maps = torch.tensor([[1.0, -1.0, 0.0], [-1.0, -1.0, 0.0]]).view(1, 2, 3)
    found = as_probabilities(maps)
    assert torch.allclose(found, torch.tensor([[1.0, 0.5, 0.5], [0.0, 0.5, 0.5]]).view(1, 2, 3), atol=1e-5)
    assert torch.allclose(as_probabilities(maps, "softmax"), maps.softmax(1))


# derived inputs


@pytest.mark.parametrize(
    ("patch", "block"),
    [((112, 112, 80), (7, 7, 5)), ((64, 128, 128), (4, 8, 8)), ((128, 128, 128), (8, 8, 8)), ((32, 128, 128), (2, 8, 8)),
     ((16, 8), (1, 1))],
)  # fmt: skip
def test_blocks_of_table_one(patch: tuple[int, ...], block: tuple[int, ...]) -> None:
    assert block_size(patch) == block


@pytest.mark.parametrize(("ratio", "margin"), [(0.5, 0.0234), (0.7, 0.0215)])
def test_share_of_masked_blocks(ratio: float, margin: float) -> None:
    torch.manual_seed(0)
    mask = kept_blocks(torch.zeros(2, 1, 64, 64, 64), ratio)
    assert mask.shape == (2, 1, 64, 64, 64) and not torch.equal(mask[0], mask[1])
    cells = mask.unfold(2, 4, 4).unfold(3, 4, 4).unfold(4, 4, 4).flatten(5)
    assert torch.equal(cells.amin(-1), cells.amax(-1)), "a block is kept or hidden as a whole"
    for one in mask:
        assert float(one.mean()) == pytest.approx(1 - ratio, abs=margin)
    assert bool((kept_blocks(torch.zeros(1, 1, 32, 32), 0.0) == 1).all())


def test_partners_are_all_others_alike() -> None:
    torch.manual_seed(0)
    drawn = torch.stack([partners(2, 2) for _ in range(3000)])
    for sample in (0, 1):
        counts = torch.bincount(drawn[:, sample], minlength=4)
        assert counts[sample] == 0
        assert counts[[n for n in range(4) if n != sample]].tolist() == pytest.approx([1000] * 3, abs=110)
    assert partners(1, 0).tolist() == [0]


def test_boxes() -> None:
    torch.manual_seed(0)
    found = boxes((40, 20, 8), 50, (0.25, 0.75), like=torch.zeros(1))
    sides = [[int(one.any(dim=tuple(a for a in range(3) if a != axis)).sum()) for axis in range(3)] for one in found]
    for axis, length in enumerate((40, 20, 8)):
        along = [side[axis] for side in sides]
        assert int(0.25 * length) <= min(along) < max(along) <= 0.75 * length
    assert all(int(one.sum()) == math.prod(side) for one, side in zip(found, sides, strict=True)), "one box, no more"
    torch.manual_seed(7)
    (bcp,) = boxes((30, 30), 1, (2 / 3, 2 / 3), like=torch.zeros(1))
    assert int(bcp.sum()) == int((box_mask((30, 30), 2 / 3) == 0).sum())


def test_mix_takes_label_and_image_of_one_partner(monkeypatch: pytest.MonkeyPatch) -> None:
    built = method()
    image, shown = torch.full((2, 1, 32, 32), 7.0), torch.zeros(2, 1, 32, 32)
    target, pseudo = torch.ones(2, 32, 32, dtype=torch.int64), torch.zeros(2, 32, 32, dtype=torch.int64)
    seen: list[tuple[Tensor, Tensor]] = []
    monkeypatch.setattr(built.network, "theta_logits", lambda images: images.repeat(1, 2, 1, 1))
    monkeypatch.setattr(built, "_dice_ce", lambda logits, labels: seen.append((logits[:, :1], labels)) or logits.sum())
    for seed in range(8):
        torch.manual_seed(seed)
        built._mixed(image, target, shown, pseudo)
    assert all(torch.equal(images[:, 0] == 7.0, labels == 1) for images, labels in seen)
    assert any(bool((labels == 1).any()) for _, labels in seen) and any(
        bool((labels[0] == 0).all()) for _, labels in seen
    )


# losses


def test_relative_error() -> None:
    teacher = torch.randn(2, 3, 4, 4)
    assert float(relative_error(teacher, teacher)) == 0.0
    assert float(relative_error(torch.zeros_like(teacher), teacher)) == pytest.approx(1.0, abs=1e-6)
    student = torch.randn(2, 3, 4, 4)
    assert float(relative_error(5 * student, 5 * teacher)) == pytest.approx(
        float(relative_error(student, teacher)), rel=1e-5
    )
    each = [float((s - t).square().sum() / t.square().sum()) for s, t in zip(student, teacher, strict=True)]
    assert float(relative_error(student, teacher)) == pytest.approx(sum(each) / 2, rel=1e-5)
    valid = torch.ones(2, 4, 4, dtype=torch.bool)
    valid[..., 2:] = False
    cut = relative_error(student[..., :2], teacher[..., :2])
    assert float(relative_error(student, teacher, valid)) == pytest.approx(float(cut), rel=1e-5)


def test_soft_dice_of_two_maps() -> None:
    p, q = torch.tensor([0.9, 0.1]).view(1, 1, 2), torch.tensor([0.6, 0.4]).view(1, 1, 2)
    assert float(soft_dice_between(p, q, smooth=0.0)) == pytest.approx(0.42, abs=1e-6)
    assert float(soft_dice_between(p, q, squared=True, smooth=0.0)) == pytest.approx(0.134328, abs=1e-6)
    assert float(soft_dice_between(p, p, squared=True)) == pytest.approx(0.0, abs=1e-6)
    assert float(soft_dice_between(p, p)) > 0.1
    classes = [soft_dice_between(a, b) for a, b in ((p, q), (1 - p, 1 - q))]
    both = soft_dice_between(torch.cat([p, 1 - p], 1), torch.cat([q, 1 - q], 1))
    assert float(both) == pytest.approx(float(sum(classes)) / 2, abs=1e-6), "the mean over classes"


# label propagation

E1 = torch.tensor([[[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]])
E2 = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
TOY = torch.tensor([[[2.0, 0.0, 1.0], [0.0, 2.0, 1.0]]])
"""Columns (1,0), (0,1), (1,1); (1,0), (0,1), (0,0); rows of logits (2,0,1), (0,2,1)."""


@pytest.mark.parametrize("budget", [256.0, 1e-9])
@pytest.mark.parametrize(
    ("options", "first", "second"),
    [({}, (1.408092, 0.897622, 0.694286), (0.897622, 1.408092, 0.694286)),
     ({"scale": "outside"}, (1.113377, 0.598355, 0.409588), (0.598355, 1.113377, 0.409588)),
     ({"norm": "column"}, (1.203336, 0.796664, 1.0), (0.796664, 1.203336, 1.0)),
     ({"norm": "transpose"}, (1.255235, 0.744765, 1.0), (0.744765, 1.255235, 1.0))],
)  # fmt: skip
def test_worked_propagation(
    options: dict[str, Any], first: tuple[float, ...], second: tuple[float, ...], budget: float
) -> None:
    z = propagate(E1, E2, TOY, budget=budget, **options)
    assert torch.allclose(z[0], torch.tensor([first, second]), atol=2e-6)


def test_rows_of_the_correlation_sum_to_one() -> None:
    ones = torch.eye(3)[None]
    assert torch.allclose(propagate(E1, E2, ones).sum(2), torch.ones(1, 3), atol=1e-6)
    printed = propagate(E1, E2, ones, scale="outside")
    assert torch.allclose(printed.sum(2), torch.full((1, 3), 1 / math.sqrt(2)), atol=1e-6)
    flat = propagate(torch.zeros_like(E1), E2, TOY)
    assert torch.allclose(flat, TOY.mean(2, keepdim=True).expand_as(flat), atol=1e-6)


@pytest.mark.parametrize("norm", ["row", "column", "transpose"])
def test_blocks_give_the_same_values_and_gradients(norm: Any) -> None:
    torch.manual_seed(0)
    given = [torch.randn(2, d, 37, requires_grad=True) for d in (5, 5, 3)]
    results = []
    for budget in (256.0, 2 * 37 * 12 * 4 / 2**20):
        z = propagate(*given, norm=norm, budget=budget)
        results.append([z, *torch.autograd.grad(z.square().sum(), given)])
    assert rows_at_once(37, 2, 2 * 37 * 12 * 4 / 2**20) == 4
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)


def peak(voxels: int, budget: float, norm: Any) -> float:
    """MiB that forward and backward of one propagation hold at most, as the allocator reports it."""
    from torch.profiler import ProfilerActivity, profile

    given = [torch.randn(1, 8, voxels, requires_grad=True) for _ in range(2)]
    logits = torch.randn(1, 2, voxels, requires_grad=True)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        propagate(*given, logits, norm=norm, budget=budget).square().sum().backward()
    result = record.profiler
    assert result is not None
    events = [event for event in result.kineto_results.events() if event.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most / 2**20


@pytest.mark.parametrize("norm", ["row", "column", "transpose"])
def test_memory_stays_within_the_budget(norm: Any) -> None:
    voxels, vectors = 1024, 0.5
    whole = voxels * voxels * 4 / 2**20
    assert peak(voxels, 256.0, norm) > 2 * whole, "in one piece there are two maps and more: the measure works"
    for budget in (1.0, 3.0):
        assert peak(voxels, budget, norm) < budget + vectors


def test_rows_and_the_sheets_figures() -> None:
    sizes = {"la": 245, "synapse": 256, "mmwhs": 512, "mnms": 128}
    for voxels in sizes.values():
        assert rows_at_once(voxels, 2, 256.0) == voxels, "at stride 16 one piece is enough"
    assert pytest.approx(4.29e9, rel=2e-3) == 32768**2 * 4
    rows = rows_at_once(32768, 2, 256.0)
    assert 2 * rows * 32768 * 12 <= 256 * 2**20 < 2 * (rows + 1) * 32768 * 12
    assert rows_at_once(32768, 2, 1e-9) == 1


def test_propagated_has_the_size_of_the_logits() -> None:
    logits = torch.randn(1, 3, 16, 32, 16)
    flat = torch.zeros(1, 4, 1, 2, 1)
    found = propagated(flat, flat, logits)
    assert found.shape == logits.shape
    assert torch.allclose(found, logits.mean((2, 3, 4), keepdim=True).expand_as(found), atol=1e-6)


# the method


@pytest.mark.parametrize("dims", [2, 3])
def test_who_learns_from_what(dims: int) -> None:
    built = method(dims, classes=3)
    quiet(
        built
    )  # in a network this narrow, dropout now and then takes every channel of a head, and with it the gradient
    collected = Collected()
    built.step(batch(dims, 3), clock(), collected)
    groups = [set(losses) for losses, _ in collected.calls]
    assert groups == [{"deno", "coor"}, {"diff", "sup"}, {"mix"}, {"mic", "rec"}, {"kd", "plain", "coor"}]
    network = built.network
    theta, psi, xi = network.net.decoder, network.psi, network.xi
    embeddings = nn.ModuleList([built.queries, built.keys])
    owners = {
        "sup": {theta},
        "deno": {xi},
        "diff": {psi},
        "mix": {theta},
        "mic": {theta},
        "rec": {theta},
        "kd": {theta},
        "plain": {theta},
    }
    for number, (losses, _) in enumerate(collected.calls):
        for name, loss in losses.items():
            wanted = owners.get(name, {xi, embeddings} if number == 0 else {theta, embeddings})
            found = {part for part in (theta, psi, xi, embeddings, built.teacher) if reached(loss, part)}
            assert found == wanted, name
            assert reached(loss, network.net.levels), f"the encoder learns nothing from {name}"


OPTIONS: list[dict[str, Any]] = [
    {"stride": 8, "norm": "column", "embedding": "classes", "detach_logits": True},
    {"rec_on": "features", "kd_map": "softmax", "kd_squared": True, "norm": "transpose", "scale": "outside"},
    {"rec_on": "probabilities", "labelling": "eval", "teacher_mode": "eval", "buffers": "copy", "memory": 1e-6},
    {"loss": "code", "difficulty": "ema", "nesterov": True, "mixing": 0.0, "clean_map": "softmax"},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_options_run(options: dict[str, Any]) -> None:
    built = method(**options)
    collected = Collected()
    built.step(batch(), clock(), collected)
    assert set(collected.losses) == set(DTLPNet.terms)
    assert all(bool(loss.isfinite()) for loss in collected.losses.values())
    total = torch.stack([loss for losses, _ in collected.calls for loss in losses.values()]).sum()
    total.backward()


def test_detached_logits_leave_the_decoder_alone() -> None:
    built = method(detach_logits=True)
    collected = Collected()
    built.step(batch(), clock(), collected)
    last = collected.calls[-1][0]["coor"]
    assert not reached(last, built.network.net.decoder) and reached(last, built.network.net.levels)


def test_teaching() -> None:
    built = method(classes=3).train()
    images = torch.randn(2, 1, 32, 32)
    fusion, drawn, psi, second = built.teach(images)
    assert fusion.shape == drawn.shape == psi.shape == second.shape == (2, 3, 32, 32)
    assert float(drawn.min()) >= -1.0 and float(drawn.max()) <= 1.0
    inner = fusion[..., 1:-1, 1:-1]
    assert torch.allclose(inner.sum(1), torch.ones_like(inner[:, 0]), atol=1e-4)
    assert not any(value.requires_grad for value in (fusion, drawn, psi, second))


@pytest.mark.slow
def test_the_teacher_follows_encoder_and_theta() -> None:
    built = method()
    with torch.no_grad():
        for parameter in built.network.net.parameters():
            parameter.add_(1.0)
    built.after_step(clock())
    pairs = zip(built.teacher.net.parameters(), built.network.net.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs), "the first update copies"
    names = [name for name, _ in built.teacher.named_parameters()]
    assert any("decoder" in name for name in names) and not any("psi" in name or "xi" in name for name in names)


TABLE_ONE: Mapping[str, tuple[tuple[int, ...], float, float, float, float, float, float]] = {
    "la": ((112, 112, 80), 1e-2, 0.7, 2.0, 0.1, 0.2, 1.2),
    "synapse": ((64, 128, 128), 3e-2, 0.5, 0.1, 0.2, 0.5, 1.0),
    "amos22": ((64, 128, 128), 3e-2, 0.5, 0.1, 0.2, 0.5, 1.3),
    "mmwhs": ((128, 128, 128), 5e-3, 0.5, 1.0, 0.1, 0.1, 0.9),
    "mnms": ((32, 128, 128), 1e-2, 0.5, 1.0, 0.1, 0.1, 1.0),
}


@pytest.mark.parametrize("name", TABLE_ONE)
def test_table_one(name: str) -> None:
    patch, lr, ratio, alpha, beta, gamma, eta = TABLE_ONE[name]
    preset = DTLPNet.presets[name]
    weights = {
        term: Term.restore(record).weight for term, record in term_records(DTLPNet.terms, preset["terms"]).items()
    }
    assert weights == {
        "sup": 0,
        "deno": 1,
        "diff": 1,
        "mix": 1,
        "mic": alpha,
        "kd": beta,
        "rec": gamma,
        "coor": eta,
        "plain": 0,
    }
    assert preset["options"]["mask_ratio"] == ratio
    recipe = preset["recipe"]
    assert (recipe["patch"], recipe["lr"], recipe["labeled_batch"], recipe["unlabeled_batch"]) == (patch, lr, 2, 2)
    if beta != gamma:
        swapped = term_records(DTLPNet.terms, DTLPNet.presets[f"{name}-swapped"]["terms"])
        assert (Term.restore(swapped["kd"]).weight, Term.restore(swapped["rec"]).weight) == (gamma, beta)


@pytest.mark.parametrize("name", ["la", "both-teachers", "printed"])
def test_theta_learns_no_label_where_a_preset_follows_the_paper(name: str) -> None:
    """Eq. 22 has no loss of theta on labeled samples. A&D's blending stays there, too."""
    preset = DTLPNet.presets[name]
    assert preset["options"]["mixing"] == 0.01
    assert DTLPNet.Options().mixing == 0.0 and DTLPNet.terms["sup"].weight == 1.0
    built = method(**preset["options"])
    built.terms = {name: Term.restore(record) for name, record in term_records(DTLPNet.terms, preset["terms"]).items()}
    collected = Collected()
    built.step(batch(), clock(), collected)
    assert "sup" not in collected.losses
    assert not any(reached(loss, built.network.net.decoder) for loss in collected.calls[1][0].values())


def test_ramped_preset() -> None:
    terms = term_records(DTLPNet.terms, DTLPNet.presets["ramped"]["terms"])
    assert (
        Term.restore(terms["mix"]).at(0.0) == pytest.approx(math.exp(-5)) and Term.restore(terms["mix"]).at(1.0) == 1.0
    )
    assert Term.restore(terms["deno"]).at(0.0) == 1.0


def test_padding_never_teaches() -> None:
    built = method()
    given = batch()
    given["unlabeled"].valid[..., -8:] = False
    seen: list[Tensor] = []
    inner = built._dice_ce

    def noted(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        seen.append(target)
        return inner(logits, target, weight)

    built._dice_ce = noted  # type: ignore[method-assign]
    built.step(given, clock(), Collected())
    pseudo = seen[-1]
    assert bool((pseudo[..., -8:] == IGNORE).all()) and not bool((pseudo[..., :-8] == IGNORE).any())


def test_a_stride_the_network_lacks_is_refused() -> None:
    class Short(DiffVNet):
        @property
        def strides(self) -> tuple[int, ...]:  # type: ignore[override]
            return (1, 2, 4, 8)

        @strides.setter
        def strides(self, value: tuple[int, ...]) -> None:
            return

    with pytest.raises(UsageError, match="stride 16"):
        case_of(DTLPNet, backbone=Short).build()
