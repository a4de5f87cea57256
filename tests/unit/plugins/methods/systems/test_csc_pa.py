"""CSC-PA: the two steps of an iteration, who learns from what, the options, the presets, prediction."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.methods_support import Collected, clock, samples
from torch import Tensor
from torch.nn import functional as F

from semibench import IGNORE, Backbone, Task, UsageError
from semibench_plugins.backbones.deeplabv3plus import DeepLabOptions, DeepLabV3Plus
from semibench_plugins.methods.systems.csc_pa import edges, masking, presets
from semibench_plugins.methods.systems.csc_pa.method import CSCPA

torch.set_num_threads(1)
SIDE = 33


def square(side: int = 5, low: int = 1, high: int = 4) -> Tensor:
    label = torch.zeros(1, side, side, dtype=torch.int64)
    label[:, low:high, low:high] = 1
    return label


# --- the method ---


def method(classes: int = 2, seed: int = 0, **options: Any) -> CSCPA:
    torch.manual_seed(seed)
    cases = {"labeled": 4, "unlabeled": 4, "all": 8}
    task = Task(2, 3, tuple("abcd"[:classes]), (SIDE, SIDE), ("default",), cases)

    def backbones(*_: Any, **__: Any) -> Backbone:
        net = DeepLabOptions(width=1 / 16, encoder="resnet18", dropout=0.0)
        return DeepLabV3Plus(dims=2, channels=3, outputs=classes, patch=task.patch, options=net)

    return CSCPA(task, backbones, CSCPA.Options(**options)).train()


def batch(seed: int = 0, labeled: int = 4, unlabeled: int = 4) -> dict[str, Any]:
    draw = torch.Generator().manual_seed(seed)
    images = torch.rand(labeled + unlabeled, 3, SIDE, SIDE, generator=draw)
    label = square(SIDE, 9, 25).expand(labeled, -1, -1).clone()
    images[:labeled] += label.unsqueeze(1)
    images[labeled:, :, 9:25, 9:25] += 1.0
    found = {"labeled": samples(images[:labeled], label), "unlabeled": samples(images[labeled:])}
    found["unlabeled"].valid[0, :, -4:] = False
    return found


def test_pretraining_is_supervised_and_fills_the_container() -> None:
    cscpa = method(slots=8)
    assert cscpa.container is not None
    for step, filled in ((0, 0), (8, 0), (9, 8)):
        collected = Collected()
        torch.manual_seed(step)
        cscpa.step(batch(), clock(step=step, steps=200), collected)
        ((losses, _),) = collected.calls
        assert set(losses) == {"sup", "affinity"}
        assert int(cscpa.container.filled) == filled, "only the last tenth of ten epochs fills it"
    small = method(slots=8)
    small.step(batch(), clock(step=0, steps=6), Collected())
    assert small.container is not None and int(small.container.filled) > 0, "a small budget fills it at its last step"


def test_pretraining_needs_an_even_batch() -> None:
    with pytest.raises(UsageError, match="even labeled_batch"):
        method().step(batch(labeled=3), clock(), Collected())
    method(fpa=False).step(batch(labeled=3), clock(), Collected())


def test_two_steps_an_iteration() -> None:
    cscpa, collected = method(), Collected()
    cscpa.step(batch(), clock(step=50), collected)
    (first, _), (second, _) = collected.calls
    assert set(first) == {"sup", "affinity"} and set(second) == set(CSCPA.terms)
    assert all(value.isfinite() for losses in (first, second) for value in losses.values())
    assert {name for name, value in second.items() if value.requires_grad} == {"sup", "unsup"}, "the code detaches PAL"


@pytest.mark.slow
def test_stage_two_sends_no_gradient_into_stage_one() -> None:
    """With the graph of stage 1 still there, its logits get nothing from stage 2's losses."""
    cscpa = method()
    seen: list[Tensor] = []
    inner = cscpa._classify

    def kept(*arguments: Any) -> Any:
        found = inner(*arguments)
        found.coarse.retain_grad()
        seen.append(found.coarse)
        return found

    cscpa._classify = kept  # type: ignore[method-assign]
    collected = Collected()
    cscpa.step(batch(), clock(step=50), collected)
    torch.stack(list(collected.calls[1][0].values())).sum().backward()
    assert seen[0].grad is None and seen[1].grad is not None


def test_the_containers_layer_learns_in_stage_one() -> None:
    cscpa = method(slots=8)
    assert cscpa.container is not None
    cscpa.container.fill(torch.rand(8, cscpa.net.decoder.channels[0]))
    cscpa._confident = lambda coarse, *_: torch.ones_like(coarse[:, 0], dtype=torch.bool)  # type: ignore[method-assign]
    for name in ("sup", "unsup"):
        collected = Collected()
        cscpa.step(batch(), clock(step=50), collected)
        losses = collected.calls[0][0] if name == "sup" else collected.calls[1][0]
        losses[name].backward()
        gradient = cscpa.container.mix.weight.grad
        assert (gradient is not None and bool(gradient.any())) == (name == "sup"), name
        cscpa.zero_grad()


def test_late_edges_are_those_of_the_iteration_before() -> None:
    cscpa = method(slots=8, edges_of="late", container_start="mean", container_learns=False)
    box = cscpa.container
    assert box is not None
    cscpa._confident = lambda coarse, *_: torch.ones_like(coarse[:, 0], dtype=torch.bool)  # type: ignore[method-assign]
    box.fill(torch.rand(8, cscpa.net.decoder.channels[0]))
    before = box.held()
    cscpa.step(batch(), clock(step=50), Collected())
    assert torch.equal(box.held(), before) and int(box.waiting) == 8
    waiting = box.postponed()
    cscpa.step(batch(1), clock(step=51), Collected())
    assert torch.allclose(box.held(), 0.5 * before + 0.5 * waiting, atol=1e-6)


def test_judging_leaves_no_trace() -> None:
    cscpa = method()
    state = {name: value.clone() for name, value in cscpa.state_dict().items()}
    cscpa._evaluated_logits(torch.rand(2, cscpa.net.decoder.channels[0], 9, 9, requires_grad=True))
    assert all(torch.equal(value, state[name]) for name, value in cscpa.state_dict().items())
    assert all(module.training for module in cscpa.net.decoder.modules())


def test_padding_of_unlabeled_samples() -> None:
    cscpa, probabilities = method(), torch.rand(4, 2, SIDE, SIDE).softmax(1)
    logits, parts = torch.randn(4, 2, SIDE, SIDE), batch()["unlabeled"]
    counted = cscpa._counted(parts)
    assert int((counted == IGNORE).sum()) == 4 * SIDE
    expected = F.cross_entropy(logits, probabilities.argmax(1).masked_fill(~parts.valid, -1), ignore_index=-1)
    found = cscpa._unsupervised(logits, probabilities, counted, clock(step=50))
    assert float(found) == pytest.approx(float(expected), rel=1e-6)
    assert not method(unlabeled_padding="counted")._counted(parts).any()


def test_filter_of_the_code_reweighs() -> None:
    cscpa = method(unsup_filter="percentile")
    probabilities, logits = torch.randn(4, 2, SIDE, SIDE).softmax(1), torch.randn(4, 2, SIDE, SIDE)
    everything = torch.zeros(4, SIDE, SIDE, dtype=torch.int64)
    found = cscpa._unsupervised(logits, probabilities, everything, clock(step=50))
    h = masking.entropy(probabilities)
    sure = h < torch.quantile(h.flatten(), 0.9)
    each = F.cross_entropy(logits, probabilities.argmax(1), reduction="none")
    assert float(found) == pytest.approx(float(sure.numel() / sure.sum() * each[sure].mean()), rel=1e-4)


def test_halves_of_the_code() -> None:
    values = []
    for kind in ("sum", "mean"):
        collected = Collected()
        cscpa = method(stage2_affinity=kind)
        torch.manual_seed(1)
        cscpa.step(batch(), clock(step=50), collected)
        values.append({name: float(value.detach()) for name, value in collected.calls[1][0].items()})
    for name in ("affinity", "affinity_unlabeled"):
        assert values[1][name] == pytest.approx(values[0][name] / 2, rel=1e-5)
    assert values[0]["unsup"] == values[1]["unsup"]


@pytest.mark.parametrize("inference", ["enhanced", "plain"])
def test_prediction_doesnt_depend_on_the_batch(inference: str) -> None:
    cscpa = method(inference=inference).eval()
    images = batch()["unlabeled"].image
    with torch.no_grad():
        together = cscpa(images)
        first, second = cscpa.predictors().values()
        assert torch.equal(together, first(images)) and not torch.equal(together, second(images))
        assert torch.equal(together, cscpa.net(images)) == (inference == "plain")
        assert torch.allclose(together[:1], cscpa(images[:1]), atol=1e-5)
    assert next(iter(cscpa.predictors())) == inference


@pytest.mark.parametrize("kind", ["stay", "move"])
def test_passes_over_masked_images_leave_the_running_statistics_alone(kind: str) -> None:
    """Only stage 1 moves them, by one step for each normalisation; in the code both stages do."""
    cscpa, states = method(masked_statistics=kind), []
    second = cscpa._second
    moved = [name for name in cscpa.state_dict() if name.endswith("running_mean")]

    def watched(*arguments: Any) -> None:
        states.append({name: cscpa.state_dict()[name].clone() for name in moved})
        second(*arguments)
        states.append({name: cscpa.state_dict()[name].clone() for name in moved})

    cscpa._second = watched  # type: ignore[method-assign]
    cscpa.step(batch(), clock(step=50), Collected())
    before, after = states
    assert len(moved) > 20
    assert {name for name in moved if torch.equal(before[name], after[name])} == set(moved if kind == "stay" else ())
    assert all(module.track_running_stats for module in cscpa.modules() if hasattr(module, "track_running_stats"))


def test_the_enhanced_prediction_is_the_classification_of_f_prime() -> None:
    cscpa = method(slots=8)
    assert cscpa.container is not None and cscpa.attention is not None
    cscpa.step(batch(), clock(step=0, steps=6), Collected())
    cscpa.step(batch(), clock(step=3, steps=6), Collected())
    cscpa.eval()
    images = batch()["unlabeled"].image
    with torch.no_grad():
        features = cscpa._encode(images)
        as_labeled, as_unlabeled = cscpa.attention(features, features)
        assert not torch.allclose(as_labeled, as_unlabeled, atol=1e-2), "two modules"
        shown = features + (as_labeled + as_unlabeled) / 2
        shown = shown + edges.edge_attention(features, cscpa.container.held())
        expected = cscpa.net.enlarge(cscpa.net.decoder.head(shown), images.shape[2:])
        found = cscpa.enhanced(images)
        assert torch.allclose(found, expected, atol=1e-5)
        assert not torch.allclose(found, cscpa.net(images), atol=1e-3)
        assert torch.allclose(found[:1], cscpa.enhanced(images[:1]), atol=1e-5)
    assert list(cscpa.predictors()) == ["plain", "enhanced"]
    assert list(method(fpa=False, epa=False).predictors()) == ["main"]
    assert list(method(fpa=False).predictors()) == list(method(epa=False).predictors()) == ["plain", "enhanced"]
    with torch.no_grad():
        bare = method(fpa=False).eval()
        assert torch.equal(bare.enhanced(images), bare.net(images)), "an empty container adds nothing"


def test_every_option_of_the_code_runs_and_presets_are_the_papers() -> None:
    found = CSCPA.presets
    assert found["busi-1-2"]["recipe"]["iterations"] == 12800 and found["busi-1-4"]["recipe"]["iterations"] == 19400
    assert found["busi-1-8"]["recipe"]["iterations"] == 22600 and found["udiat-1-2"]["recipe"]["iterations"] == 3200
    assert found["udiat"] is found["udiat-1-2"]
    assert found["busi-1-2-code"]["options"]["pal_mode"] == "code"
    assert all(
        CSCPA.Options(**found[f"busi-{share}"]["options"]) == CSCPA.Options(slots=256)
        for share in ("1-2", "1-4", "1-8")
    )
    cscpa, collected = method(**presets.CODE_OPTIONS), Collected()
    assert cscpa.container is not None and not cscpa.container.mix.weight.requires_grad
    cscpa.step(batch(), clock(step=50), collected)
    second = collected.calls[1][0]
    assert not second["affinity"].requires_grad and second["unsup"].requires_grad


@pytest.mark.parametrize(
    "options",
    [{"fpa": False, "epa": False}, {"fpa_form": "plain", "fpa_softmax": "channels"}, {"fpa_stride": 3}, {"pal_mode": "literal"}],
)  # fmt: skip
def test_other_options_run(options: dict[str, Any]) -> None:
    collected = Collected()
    method(classes=3, **options).step(batch(), clock(step=50), collected)
    assert all(value.isfinite() for value in collected.losses.values())


def test_default_is_the_code_where_the_print_fails_and_what_is_ours_is_a_preset() -> None:
    default, ours, printed = (CSCPA.Options(**options) for options in ({}, *presets.VARIANTS.values()))
    code = CSCPA.Options(**presets.CODE_OPTIONS)
    for name in ("pal_mode", "container_start", "fpa_form"):
        assert getattr(default, name) == getattr(code, name)
    assert (ours.pal_mode, ours.container_start) == ("soft", "mean")
    assert (printed.pal_mode, printed.fpa_form) == ("literal", "plain")
    torch.manual_seed(0)
    expected = torch.nn.Linear(16, 8).weight
    torch.manual_seed(0)
    box = edges.EdgeContainer(8, 4, start=default.container_start)
    assert torch.equal(box.mix.weight, expected), "torch's own start"
    collected = Collected()
    method(**presets.VARIANTS["ours"]).step(batch(), clock(step=50), collected)
    assert all(value.requires_grad for value in collected.calls[1][0].values()), "our PAL teaches"


def test_slots_follow_the_side_of_the_map() -> None:
    for patch, slots in (((513, 513), 256), ((1026, 1026), 256), ((256, 256), 127), ((64, 64), 32), ((16, 16), 8)):
        task = Task(2, 3, ("a", "b"), patch, ("default",), {})

        def backbones(*_: Any, **__: Any) -> Backbone:
            net = DeepLabOptions(width=1 / 16, encoder="resnet18")
            return DeepLabV3Plus(dims=2, channels=3, outputs=2, patch=patch, options=net)  # noqa: B023

        box = CSCPA(task, backbones, CSCPA.Options()).container
        assert box is not None and box.count == slots


def test_parameters_of_the_paper_size() -> None:
    """Network 43,626,178; two attentions of 526,080 + 1,024 each; the container's 512 x 256 + 256."""
    task = Task(2, 3, ("a", "b"), (513, 513), ("default",), {})
    with torch.device("meta"):
        net = DeepLabV3Plus(dims=2, channels=3, outputs=2, patch=(513, 513), options=DeepLabOptions())
    module = CSCPA(task, lambda *_, **__: net, CSCPA.Options())  # type: ignore[arg-type]
    counts = [sum(p.numel() for p in part.parameters()) for part in (net, module.attention, module.container)]  # type: ignore[union-attr]
    assert counts == [43_626_178, 2 * (4 * 512 * 256 + 3 * 256 + 512 + 1024), 512 * 256 + 256]
