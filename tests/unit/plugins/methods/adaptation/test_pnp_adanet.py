"""PnP-AdaNet: its stages, what each step moves, and its losses by hand and against plain loops."""

from __future__ import annotations

import pytest
import torch
from support.methods_support import Collected, case_of, clock
from torch import Tensor
from torch.nn import functional as F

from semibench.conformance import MethodSubject
from semibench_plugins.methods.adaptation.pnp_adanet import PnPAdaNet
from semibench_plugins.methods.adaptation.resizing import resized

torch.set_num_threads(1)

SMALL = {"critic_filters": 2, "critic_steps": 1}


def adapting(**options: object) -> tuple[MethodSubject, PnPAdaNet]:
    case = case_of(PnPAdaNet, options={**SMALL, **options})
    method = case.build()
    assert isinstance(method, PnPAdaNet)
    method.begin("adapt", case.data().pools)
    return case, method.train()


def state(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_resizing_is_the_mean_of_windows_or_linear() -> None:
    maps = torch.rand(2, 3, 8, 4)
    torch.testing.assert_close(resized(maps, (2, 2)), F.avg_pool2d(maps, (4, 2)))
    expected = F.interpolate(maps, (16, 4), mode="bilinear")
    torch.testing.assert_close(resized(maps, (16, 4)), expected)
    assert resized(torch.rand(1, 2, 8, 8, 4), (4, 4, 4)).shape == (1, 2, 4, 4, 4)


def test_the_source_stage_trains_the_segmenter_alone() -> None:
    case = case_of(PnPAdaNet, options=SMALL)
    method, seen = case.build().train(), Collected()
    method.step(case.data().batch(0), clock("source"), seen)
    ((losses, on),) = seen.calls
    assert set(losses) == {"sup"} and on == ("net",)
    images = case.images()
    with torch.no_grad():
        assert torch.equal(method.eval()(images), method.net(images)), "the segmenter is scored until `adapt`"


def test_the_target_path_starts_as_the_segmenter() -> None:
    case, method = adapting()
    images = case.images()
    with torch.no_grad():
        assert torch.equal(method.eval()(images), method.net(images))


def test_only_the_first_levels_and_the_critics_change() -> None:
    rehearsal = case_of(PnPAdaNet, options=SMALL).rehearse(steps=2)
    method = rehearsal.method
    seen: dict[str, dict[str, Tensor]] = {}
    begin = method.begin

    def remembering(stage: str, pools: object) -> None:
        begin(stage, pools)  # type: ignore[arg-type]
        if stage == "adapt":
            seen.update(net=state(method.net), target=state(method.target), critics=state(method.feature_critic))

    method.begin = remembering  # type: ignore[method-assign]
    rehearsal.run()
    after = {"net": method.net, "target": method.target, "critics": method.feature_critic}
    moved = {
        part: {name for name, value in after[part].state_dict().items() if not torch.equal(value, before[name])}
        for part, before in seen.items()
    }
    assert not moved["net"], "the source segmenter, statistics included"
    assert moved["target"] and all(name.startswith(("blocks.0.", "blocks.1.")) for name in moved["target"])
    assert any(name.endswith("running_mean") for name in moved["target"]), "statistics of the copied levels follow"
    assert moved["critics"]
    weights = [p for critic in (method.feature_critic, method.mask_critic) for p in critic.parameters()]
    assert max(p.abs().max().item() for p in weights) <= 0.03 + 1e-8


def test_equal_domains_leave_the_critics_at_zero() -> None:
    """In eval mode both paths are one network, and the same images give the critics nothing to tell apart."""
    case, method = adapting()
    batch = case.data().batch(0)
    with torch.no_grad():
        views = method.eval().views(method.target, batch["labeled"].image)
    again = method.views(method.net, batch["labeled"].image)
    for critic, one, other in zip((method.feature_critic, method.mask_critic), views, again, strict=True):
        assert method._critic_loss(critic, one, other).item() == pytest.approx(0.0, abs=1e-6)


def test_signs_of_the_losses() -> None:
    """Critics whose score is the first channel's mean: the levels raise it on the target, the critics lower it there."""
    case, method = adapting()
    seen = Collected()
    method.feature_critic.forward = lambda stacked: stacked[:, :1]  # type: ignore[method-assign, assignment]
    method.mask_critic.forward = lambda maps: maps[:, :1]  # type: ignore[method-assign, assignment]
    batch = case.data().batch(0)
    method.step(batch, clock("adapt", 50), seen)
    assert [on for _, on in seen.calls] == [("levels",), ("critics",)]
    with torch.no_grad():
        source = [view[:, :1].mean() for view in method.eval().views(method.net, batch["labeled"].image)]
    target = [-seen.losses[name].item() for name in ("features", "masks")]
    expected = sum(t - s.item() for t, s in zip(target, source, strict=True))
    assert seen.losses["critic"].item() == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_the_levels_learn_in_every_nth_iteration() -> None:
    case, method = adapting(critic_steps=3)
    calls = []
    for step in range(6):
        seen = Collected()
        method.step(case.data().batch(step), clock("adapt", step), seen)
        calls.append([on for _, on in seen.calls])
    critics, both = [("critics",)], [("levels",), ("critics",)]
    assert calls == [critics, critics, both, critics, critics, both]
    assert [PnPAdaNet.terms["features"].at(t) for t in (0.0, 0.05, 0.1, 1.0)] == [0.0, 0.0, 1.0, 1.0]
    assert PnPAdaNet.presets["published"]["options"]["critic_steps"] == 20


def test_with_a_penalty_no_weight_is_clipped() -> None:
    rehearsal = case_of(PnPAdaNet, options={**SMALL, "lipschitz": "penalty"}).rehearse(steps=1).run()
    assert max(p.abs().max().item() for p in rehearsal.method.mask_critic.parameters()) > 0.03


def test_levels_and_critics_decay() -> None:
    """1e-4 for the levels; a critic, which learns more often, has as many times less."""
    settings = {
        name: dict(one.settings)
        for name, one in case_of(PnPAdaNet, options={"critic_steps": 20}).build().optimisers().items()
    }
    assert settings["levels"]["weight_decay"] == 1e-4 and settings["critics"]["weight_decay"] == pytest.approx(5e-6)
