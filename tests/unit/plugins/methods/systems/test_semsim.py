"""SemSim: counts of its sheet, what its terms learn from, its options (its parts: test_semsim_parts)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.methods_support import case_of, clock, samples
from torch import Tensor, nn
from torch.nn import functional as F

from semibench import UnsupportedError
from semibench.run.settings import term_records
from semibench_plugins.methods.pseudo_labels.fixmatch import FixMatch
from semibench_plugins.methods.systems.semsim.fusion import SpatialAwareFusion
from semibench_plugins.methods.systems.semsim.method import SemSim, SemSimMinus
from semibench_plugins.methods.systems.semsim.settings import ITERATIONS

torch.set_num_threads(1)
SMALL = {**SemSim.rehearsal_options, "width": 16}


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def semsim(dims: int = 2, method: type[SemSim] = SemSim, classes: int = 2, **options: Any) -> tuple[SemSim, Any]:
    case = case_of(method, dims, classes=classes, options={**SMALL, **options})
    built = case.build()
    assert isinstance(built, SemSim)
    return built, case.data().batch(0)


def reached(loss: Tensor, module: nn.Module) -> bool:
    found = torch.autograd.grad(loss, list(module.parameters()), allow_unused=True, retain_graph=True)
    return any(g is not None and bool(g.abs().sum() > 0) for g in found)


def test_parameter_counts_of_the_sheet() -> None:
    full = case_of(SemSim, classes=4, backbone_options={}).build()
    assert isinstance(full, SemSim)
    fusion = full.fusion
    assert isinstance(fusion, SpatialAwareFusion)
    assert (count(fusion.inward), count(fusion.blocks), count(fusion.outward)) == (29_056, 198_272, 28_896)
    assert (count(fusion.fuse[:3]), count(fusion.fuse[3])) == (452_256, 28_800)
    assert count(fusion) == 737_280 and count(full.net) == 1_813_764
    code = case_of(SemSim, classes=4, backbone_options={}, options=SemSim.presets["code"]["options"]).build()
    assert count(code) == 2_552_076 and count(code.projections) == 1_032  # type: ignore[arg-type]
    assert count(SpatialAwareFusion((32, 64, 128), 2, fusion="direct")) == 670_080
    assert count(SpatialAwareFusion((32, 64, 128), 2, fusion="direct", blocks=2)) == 868_352
    plain = case_of(SemSimMinus, classes=4, backbone_options={}).build()
    assert count(plain) == 1_813_764 + 74_112


def test_weights_are_those_of_the_paper_and_presets_those_of_its_budget() -> None:
    terms = {name: term.weight for name, term in SemSim.terms.items()}
    assert terms == {"sup": 0.5, "pixel": 0.25, "intra": 0.125, "cross": 0.125, "feature": 0.0}
    unlabeled = {"acdc": 1176, "acdc-3": 1244, "acdc-1": 1280, "isic2018": 1657, "isic2018-55": 1783,
                 "promise12": 893, "promise12-1": 916, "promise12-3": 847}  # fmt: skip
    assert {name: 300 * (number // 8) for name, number in unlabeled.items()} == ITERATIONS
    assert SemSim.presets["code"]["recipe"]["iterations"] == 300 * (1176 // 12)
    code = term_records(SemSim.terms, SemSim.presets["code"]["terms"])
    assert {name: record["weight"] for name, record in code.items()} == {
        "sup": 0.5, "pixel": 0.125, "intra": 0.125, "cross": 0.125, "feature": 0.25,
    }  # fmt: skip


def test_without_its_two_terms_it_is_fixmatch() -> None:
    given = case_of(SemSim).data().batch(0)
    confidence = semsim()[0].eval()(given["unlabeled"].image).softmax(1).amax(1)
    plain = {"threshold": confidence.median().item(), "cutmix": 1.0}
    method, _ = semsim(**plain, channel_dropout_on="none")
    other = case_of(FixMatch, options=plain).build()
    assert isinstance(other, FixMatch)
    other.net.load_state_dict(method.net.state_dict())
    found = []
    for one in (method.eval(), other.eval()):
        torch.manual_seed(5)
        found.append(one.losses(given, clock()))
    assert 0 < other.notes["kept"] < 1
    for term in ("sup", "pixel"):
        assert found[0][term].item() == pytest.approx(found[1][term].item(), rel=1e-5)
    assert (method.terms["pixel"].weight, other.terms["pixel"].weight) == (0.5 * 0.5, 0.5)


@pytest.mark.parametrize("dims", [2, 3])
def test_prediction_doesnt_touch_the_fusion(dims: int) -> None:
    method, batch = semsim(dims)
    touched: list[int] = []
    method.fusion.register_forward_hook(lambda *_: touched.append(1))
    method.eval()(batch["unlabeled"].image)
    assert not touched and list(method.predictors()) == ["main"]
    method.train().losses(batch, clock())
    assert len(touched) == 3, "weak, partners, strong"


def test_what_learns_from_which_term() -> None:
    method, batch = semsim(rate=1e-3)
    losses = method.train().losses(batch, clock())
    decoder, fusion = method.net.decoder, method.fusion
    assert reached(losses["pixel"], decoder) and not reached(losses["pixel"], fusion)
    for term in ("intra", "cross"):
        assert reached(losses[term], fusion) and not reached(losses[term], decoder), term
    assert not losses["feature"].requires_grad and losses["feature"].item() == 0.0
    loose, _ = semsim(detach_logits=False)
    assert reached(loose.train().losses(batch, clock())["intra"], loose.net.decoder)


def test_labels_of_each_view_are_its_own_kinds() -> None:
    """Against the definition, on the weak view, without cutting: the strong view of a labels test is the weak one."""
    method, batch = semsim(cutmix=0.0, channel_dropout_on="none", threshold=0.0, rate=1e-6)
    batch["unlabeled"].strong = (batch["unlabeled"].image,) * 2
    method.eval()
    with torch.no_grad():
        losses = method.losses(batch, clock())
        maps = method.net.encode(batch["unlabeled"].image)
        f, z = method.fused(maps), method.net(batch["unlabeled"].image)
        prototypes = method.prototypes_of(
            method.fused(method.net.encode(batch["labeled"].image)), batch["labeled"].target
        )
        z_in = method.refine(z, f, batch["unlabeled"].valid)
        unit, small = F.normalize(f.flatten(2), dim=1), F.interpolate(z, f.shape[2:], mode="bilinear").flatten(2)
        for b in range(1, len(unit)):
            m = (unit[b].T @ unit[b]).softmax(0)
            torch.testing.assert_close(z_in[b].flatten(1), small[b] + small[b] @ m, rtol=1e-4, atol=1e-5)
        p_cr = method.compare(f, prototypes)[0].softmax(1)
        valid = F.interpolate(batch["unlabeled"].valid[:, None].float(), f.shape[2:], mode="nearest-exact")[:, 0] > 0.5
        cross = -p_cr.amax(1).log()[valid].mean()
    assert losses["cross"].item() == pytest.approx(cross.item(), rel=1e-3)


def test_views_and_streams() -> None:
    seen: list[Tensor] = []
    method, batch = semsim(cutmix=0.0, channel_dropout_on="none", pixel_views=(2,), intra_view=2, cross_view=1)
    method.fusion.register_forward_pre_hook(lambda _module, given: seen.append(given[0][0]))
    method.net.decoder.register_forward_pre_hook(lambda _module, given: seen.append(given[0][0]))
    method.train().losses(batch, clock())
    number = len(batch["unlabeled"].image)
    assert [len(one) for one in seen] == [2 * number, 2 * number, 2 * number, number], "one view is decoded"
    both, _ = semsim(cutmix=0.0, pixel_views=(1, 2))
    assert both.train().losses(batch, clock())["pixel"].item() > 0


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(
    "options",
    [
        {"pseudo": "averaged", "targets": "soft"},
        {"cross_gate": "own", "temperature": 0.1, "uncertainty_view": "weak", "partner": "train"},
        {"refine": "probabilities", "resolution": "image", "fusion": "direct", "detach_prototypes": False},
        SemSim.presets["code"]["options"],
    ],
)
def test_options_give_finite_losses_that_reach_the_fusion(dims: int, options: dict[str, Any]) -> None:
    method, batch = semsim(dims, classes=3, **{**options, "threshold": 0.1})
    method.terms = {**method.terms, "feature": method.terms["pixel"]}
    losses = method.train().losses(batch, clock())
    assert all(value.isfinite() for value in losses.values()) and losses["feature"] > 0
    assert reached(losses["intra"], method.fusion) and reached(losses["cross"], method.fusion)


def test_affinity_in_3d_is_on_an_eighth_of_the_grid() -> None:
    method, batch = semsim(3)
    images = batch["unlabeled"].image
    features = method.fused(method.net.encode(images))
    assert features.shape[2:] == tuple(side // 4 for side in images.shape[2:])
    z = method.refine(torch.randn(len(images), 2, *images.shape[2:]), features, batch["unlabeled"].valid)
    assert z.shape[2:] == tuple(side // 8 for side in images.shape[2:])


def test_a_batch_of_one_and_labels_without_foreground() -> None:
    method, batch = semsim(classes=3)
    one, size = batch["unlabeled"], batch["unlabeled"].image.shape[2:]
    label = torch.zeros(1, *size, dtype=torch.int64)
    labeled, unlabeled = samples(batch["labeled"].image[:1], label), samples(one.image[:1])
    unlabeled.strong = tuple(view[:1] for view in one.strong)
    losses = method.eval().losses({"labeled": labeled, "unlabeled": unlabeled}, clock())
    assert all(value.isfinite() for value in losses.values())
    gradients = torch.autograd.grad(method.total(losses, clock()), list(method.parameters()), allow_unused=True)
    assert all(g is None or g.isfinite().all() for g in gradients)


def test_minus_is_semsim_with_another_default() -> None:
    assert SemSimMinus.Options().features == "convolution" and SemSim.Options().features == "fusion"
    same = SemSim.Options().model_dump() | {"features": "convolution"}
    assert SemSimMinus.Options().model_dump() == same


def test_sizes_and_networks_it_cant_take_are_named() -> None:
    with pytest.raises(UnsupportedError, match="cover 48 pixels"):
        semsim(window=6)
    case = case_of(SemSim, options=SMALL)

    def shallow(*_: Any, **__: Any) -> Any:
        net = case.build().net
        net.strides = (1, 4, 8)
        net.channels = net.channels[:3]
        return net

    with pytest.raises(UnsupportedError, match="three consecutive scales"):
        SemSim(case.task, shallow, SemSim.Options())
