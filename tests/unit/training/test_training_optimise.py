"""The `Optimise` contract: weights, gradients to whom they are for, accumulation, clipping, precision, refusals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from support import training_toys as toys
from torch import Tensor, nn
from torch.nn import functional as F

from semibench.contracts.errors import DivergedError, PluginError
from semibench.contracts.method import Method, Optimiser
from semibench.contracts.schedule import Clock, Ramp, Term
from semibench.training.optimise import Optimisation
from semibench.training.precision import LossScale, autocast
from semibench.training.records import Steps, Watch
from semibench.training.schedules import build_drivers

CPU = torch.device("cpu")


class Two(Method):
    """Two linear maps, one after the other, in float64."""

    terms: Mapping[str, Term] = {"a": Term(), "b": Term(0.5), "off": Term(0.0), "ramped": Term(2.0, Ramp("linear"))}

    def __init__(self, task: Any, backbones: Any, options: Any) -> None:
        super().__init__(task, backbones, options)
        self.first, self.second = nn.Linear(3, 3).double(), nn.Linear(3, 1).double()

    def optimisers(self) -> Mapping[str, Optimiser]:
        return {"first": Optimiser((self.first,)), "second": Optimiser((self.second,))}

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))


class One(Two):
    def optimisers(self) -> Mapping[str, Optimiser]:
        return {"main": Optimiser((self,))}


X = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(4, 3)


def optimisation(method: Method, step: int = 0, scale: LossScale | None = None, **changes: Any) -> Optimisation:
    changes = {"momentum": 0.0, "weight_decay": 0.0, "schedule": "constant", "lr": 0.1} | changes
    watch = Watch(Steps(Path("never.parquet")), type(method).__name__, eager=True)
    made = Optimisation(method, build_drivers(method, toys.recipe(**changes)), watch, scale or LossScale(False))
    clock = Clock("train", step, 10, {})
    watch.begin(step, clock, {})
    made.begin(clock)
    return made


def logged(made: Optimisation) -> dict[str, float]:
    return dict(made.watch.publish())


def test_terms_are_weighed_added_and_logged_unweighted() -> None:
    method = toys.build(One)
    made = optimisation(method, step=4)
    before = toys.state_of(method)
    out = method(X)
    losses = {"a": out.mean(), "b": out.square().mean(), "ramped": out.abs().mean()}
    total = losses["a"] + 0.5 * losses["b"] + 0.8 * losses["ramped"]
    expected = torch.autograd.grad(total, list(method.parameters()), retain_graph=True)
    assert made(losses) is True
    for (name, p), gradient in zip(method.named_parameters(), expected, strict=True):
        torch.testing.assert_close(p.detach(), before[name] - 0.1 * gradient, rtol=1e-12, atol=1e-14)
    shown = logged(made)
    assert shown["loss/b"] == pytest.approx(losses["b"].item())
    assert (shown["weight/b"], shown["weight/ramped"], shown["lr/main"]) == (0.5, pytest.approx(0.8), 0.1)


def test_a_term_of_weight_0_changes_no_digit_but_is_logged() -> None:
    with_term, without = toys.build(One), toys.build(One)
    made, plain = (optimisation(method, weight_decay=0.1, momentum=0.9) for method in (with_term, without))
    made({"a": with_term(X).square().mean(), "off": 1e30 * with_term(X).exp().mean()})
    plain({"a": without(X).square().mean()})
    toys.assert_same(toys.state_of(with_term), toys.state_of(without))
    assert logged(made)["loss/off"] > 1e29


def test_a_term_outside_its_gate_is_left_out_too() -> None:
    method = toys.build(One)
    method.terms = {"a": Term(active=(0.5, math.inf))}
    before = toys.state_of(method)
    assert optimisation(method, step=4)({"a": method(X).mean()}) is False
    toys.assert_same(before, toys.state_of(method))
    assert optimisation(method, step=5)({"a": method(X).mean()}) is True


def test_a_broken_term_of_weight_0_is_a_warning_and_no_more() -> None:
    method, warnings = toys.build(One), []
    made = optimisation(method)
    made.watch.warn = warnings.append
    for _ in range(2):
        assert made({"a": method(X).mean(), "off": method(X).mean() * math.nan}) is True
    assert all(p.isfinite().all() for p in method.parameters())
    assert len(warnings) == 1
    assert "'off' is nan" in warnings[0]
    assert "weight is 0" in warnings[0]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_stops_before_anything_is_changed(bad: float) -> None:
    method = toys.build(One)
    made = optimisation(method, step=3)
    samples = toys.ToyData().batch(2)
    made.watch.begin(13, made.clock, samples)
    before = toys.state_of(method)
    with pytest.raises(DivergedError) as error:
        made({"a": method(X).mean(), "b": method(X).mean() * bad})
    text = str(error.value)
    assert "'b' became" in text
    assert "step 3 of stage 'train' (iteration 13" in text
    assert f"labeled: {', '.join(str(int(i)) for i in samples['labeled'].index)}" in text
    toys.assert_same(before, toys.state_of(method))


def test_away_from_the_cpu_a_loss_is_checked_later_and_named_all_the_same() -> None:
    method = toys.build(One)
    made = optimisation(method, step=3)
    made.watch.eager = False
    made({"a": method(X).mean() * math.nan})
    later = Clock("train", 4, 10, {})
    made.watch.begin(4, later, {})
    made.begin(later)
    made({"b": method(X).mean()})
    with pytest.raises(DivergedError, match=r"'a' became nan .* step 3 of stage 'train' \(iteration 3"):
        made.watch.settle()


def test_gradients_go_to_the_optimisers_on_and_no_others() -> None:
    method = toys.build(Two)
    made = optimisation(method)
    before = toys.state_of(method)
    made({"a": method(X).square().mean()}, on=["second"])
    after = toys.state_of(method)
    assert torch.equal(before["first.weight"], after["first.weight"])
    assert not torch.equal(before["second.weight"], after["second.weight"])
    assert all(p.grad is None for p in method.parameters())
    made.end()


def test_a_frozen_network_the_graph_leads_through_gets_none() -> None:
    method = toys.build(One)
    method.first.requires_grad_(False)
    made = optimisation(method)
    made({"a": method(X).square().mean()})
    assert method.first.weight.grad is None
    assert made.drivers["main"].parameters == list(method.second.parameters())


def test_parts_added_up_equal_one_sum() -> None:
    whole, parts = toys.build(Two), toys.build(Two)
    one, many = optimisation(whole, momentum=0.9), optimisation(parts, momentum=0.9)
    both = ["first", "second"]
    one({"a": whole(X).square().mean(), "b": whole(2 * X).square().mean()}, on=both)
    assert many({"a": parts(X).square().mean()}, on=both, step=False) is False
    assert all(p.grad is None for p in parts.parameters())
    assert many({"b": parts(2 * X).square().mean()}, on=both) is True
    for mine, theirs in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-14, atol=1e-15)


def test_a_part_frees_its_graph() -> None:
    method = toys.build(One)
    loss = method(X).square().mean()
    made = optimisation(method)
    made({"a": loss}, step=False)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_gradients_kept_for_one_optimiser_dont_leak_into_another_that_shares_the_network() -> None:
    method, alone = toys.build(toys.Meta), toys.build(toys.Meta)
    x, y = toys.ToyData().images[:2], toys.ToyData().labels[:2]

    def loss(net: nn.Module, scale: float) -> Tensor:
        return scale * F.cross_entropy(net(x), y)

    made = optimisation(method)
    made({"outer": loss(method.net, 3.0)}, on=["outer"], step=False)
    made({"inner": loss(method.net, 1.0)}, on=["inner"])
    with pytest.raises(PluginError, match="the optimisers outer hold gradients"):
        made.end()
    plain = optimisation(alone)
    plain({"inner": loss(alone.net, 1.0)}, on=["inner"])
    toys.assert_same(toys.state_of(method), toys.state_of(alone))
    assert made({}, on=["outer"]) is True
    made.end()


def test_two_optimisers_on_one_network_at_once_clip_for_themselves() -> None:
    class Shared(One):
        def optimisers(self) -> Mapping[str, Optimiser]:
            return {
                "clipped": Optimiser((self.second,), settings={"clip_norm": 1e-3}),
                "free": Optimiser((self.second,)),
            }

    method = toys.build(Shared)
    before = method.second.weight.detach().clone()
    (gradient,) = torch.autograd.grad(method(X).square().mean(), [method.second.weight])
    bias = torch.autograd.grad(method(X).square().mean(), [method.second.bias])[0]
    norm = torch.cat([gradient.flatten(), bias]).norm()
    optimisation(method)({"a": method(X).square().mean()}, on=["clipped", "free"])
    expected = before - 0.1 * gradient - 0.1 * gradient * (1e-3 / (norm + 1e-6))
    torch.testing.assert_close(method.second.weight.detach(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("setting", "limit"), [("clip_norm", 0.01), ("clip_value", 0.01)])
def test_clipping(setting: str, limit: float) -> None:
    method = toys.build(One)
    before = toys.state_of(method)
    optimisation(method, **{setting: limit, "lr": 1.0})({"a": 100 * method(X).square().mean()})
    change = torch.cat([(before[n] - p.detach()).flatten() for n, p in method.named_parameters()])
    reached = change.norm() if setting == "clip_norm" else change.abs().max()
    assert float(reached) == pytest.approx(limit, rel=1e-3)


def test_parameters_without_gradient_are_left_alone() -> None:
    """Weight decay and momentum included: torch's optimisers skip them."""
    method = toys.build(One)
    before = toys.state_of(method)
    made = optimisation(method, weight_decay=0.5, momentum=0.9)
    made({"a": method.second(X).square().mean()})
    assert torch.equal(before["first.weight"], method.first.weight)
    assert not torch.equal(before["second.weight"], method.second.weight)


ONE = torch.ones((), dtype=torch.float64)


def test_losses_that_are_0_step_nothing() -> None:
    method = toys.build(Two)
    made = optimisation(method)
    before = toys.state_of(method)
    assert made({"a": 0 * ONE}, on=["first"]) is False
    assert made({"off": ONE, "ramped": ONE}, on=["first"]) is False, "their weight is 0 in step 0"
    assert made({}, on=["first"]) is False
    made.end()
    toys.assert_same(before, toys.state_of(method))


@pytest.mark.parametrize(
    ("losses", "on"),
    [
        (lambda out: {"a": out.mean().detach()}, ["second"]),
        (lambda out: {"a": out.mean().detach(), "ramped": out.mean(), "off": out.mean()}, ["second"]),
        (lambda out: {"a": out.mean().detach(), "b": ONE}, ["first", "second"]),
        (lambda out: {"a": nn.Linear(3, 1).double()(X).mean()}, ["second"]),
    ],
    ids=["one loss", "the others have weight 0", "two optimisers", "a foreign network"],
)
def test_an_optimiser_whose_losses_give_it_no_gradient_stops_the_run(losses: Any, on: list[str]) -> None:
    method = toys.build(Two)
    made = optimisation(method)
    made(losses(method(X)), on=on)
    with pytest.raises(
        PluginError, match=r"no parameter of the optimiser '(first|second)' got a gradient from its losses a"
    ):
        made.end()


def test_an_optimiser_that_no_loss_reaches_is_named_though_another_learns() -> None:
    """Unless a term of weight 0 may be the one that trains it, even if the method doesn't return it then."""
    for terms in ({"a": Term()}, Two.terms):
        method = toys.build(Two)
        method.terms = terms
        made = optimisation(method)
        made({"a": method.second(X).mean()}, on=["first", "second"])
        if "off" in terms:
            made.end()
        else:
            with pytest.raises(PluginError, match="'first' got a gradient from its losses a"):
                made.end()


def test_an_optimiser_may_start_to_learn_later() -> None:
    """One that isn't called, whose losses weigh nothing, or whose bank is still empty; then its losses count."""
    method = toys.build(Two)
    made = optimisation(method)
    start = [value.clone() for value in method.first.parameters()]
    for step, first in enumerate(({}, {"off": ONE}, {"b": 0 * ONE}, {"b": method.first(X).mean()})):
        made.begin(Clock("train", step, 10, {}))
        made({"a": method.second(X).mean(), **first}, on=["first", "second"] if first else ["second"])
        made.end()
    made.begin(Clock("train", 4, 10, {}))
    made({"b": ONE}, on=["first"])
    made.end()
    assert not all(torch.equal(old, new) for old, new in zip(start, method.first.parameters(), strict=True))


def test_a_detached_loss_is_found_when_it_first_counts() -> None:
    method = toys.build(One)
    made = optimisation(method)
    made({"ramped": ONE})
    made.end()
    made.begin(Clock("train", 1, 10, {}))
    made({"ramped": ONE})
    with pytest.raises(PluginError, match="in step 1 of stage 'train', no parameter of the optimiser 'main'"):
        made.end()


def refused(message: str, losses: Any, method: type[Method] = Two, **keywords: Any) -> None:
    with pytest.raises(PluginError, match=message):
        optimisation(toys.build(method))(losses, **keywords)


def test_what_is_refused() -> None:
    one = torch.ones((), requires_grad=True)
    refused("named typo are not declared in `terms`; declared: a, b, off, ramped", {"typo": one}, on=["first"])
    refused("there are several optimisers; choose with on=", {"a": one})
    refused("no optimiser is called third; known: first, second", {"a": one}, on=["third"])
    refused("`on` is a list", {"a": one}, on="first")
    refused("must be one number in a tensor, got shape \\(3,\\)", {"a": torch.ones(3)}, on=["first"])
    refused("must be one number in a tensor, got float", {"a": 1.0}, on=["first"])
    with torch.no_grad():
        refused("gradients disabled", {"a": one}, on=["first"])


def test_gradients_made_elsewhere_are_refused() -> None:
    method = toys.build(One)
    made = optimisation(method)
    method(X).mean().backward()
    with pytest.raises(PluginError, match="never call backward"):
        made.end()
    with pytest.raises(PluginError, match="never call backward"):
        made({"a": method(X).mean()})


def test_several_values_of_a_term_in_an_iteration_are_logged_as_their_mean() -> None:
    method = toys.build(One)
    made = optimisation(method, lr=1e-9)
    values = []
    for k in (1, 2):
        loss = method(X * k).square().mean()
        values.append(loss.item())
        made({"a": loss})
    made.end()
    assert logged(made)["loss/a"] == pytest.approx(sum(values) / 2)


def test_a_sum_over_terms_is_what_total_promises() -> None:
    method = toys.build(One)
    clock = Clock("train", 4, 10, {})
    losses = {"a": method(X).mean(), "b": method(X).square().mean(), "ramped": method(X).abs().mean()}
    expected = torch.autograd.grad(method.total(losses, clock), list(method.parameters()), retain_graph=True)
    before = toys.state_of(method)
    optimisation(method, step=4)(losses)
    for (name, p), gradient in zip(method.named_parameters(), expected, strict=True):
        torch.testing.assert_close(p.detach(), before[name] - 0.1 * gradient, rtol=1e-12, atol=1e-14)


# --- precision ---------------------------------------------------------------------------------------------------------


class Twice(Method):
    """First a pass without gradients, then one with, then another after the step."""

    terms: Mapping[str, Term] = {"a": Term()}

    def __init__(self, task: Any, backbones: Any, options: Any) -> None:
        super().__init__(task, backbones, options)
        self.net = nn.Linear(8, 8)
        self.outputs: list[Tensor] = []

    def step(self, batch: Any, clock: Clock, optimise: Any) -> None:
        x = torch.linspace(-1, 1, 32).reshape(4, 8)
        with torch.no_grad():
            self.net(x)
        out = self.net(x)
        self.outputs.append(out.detach())
        optimise({"a": out.square().mean()})
        self.outputs.append(self.net(x).detach())


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_weights_cast_for_one_pass_are_not_kept_for_the_next(precision: str) -> None:
    """torch's own cache answers the second pass with the weights of before the step."""
    method = toys.build(Twice)
    made = optimisation(method, lr=10.0, scale=LossScale(precision == "fp16", scale=256.0))
    before = method.net.weight.detach().clone()
    with autocast(precision, CPU):
        method.step({}, made.clock, made)
    assert not torch.equal(before, method.net.weight)
    assert method.outputs[0].dtype == {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    assert not torch.equal(method.outputs[0], method.outputs[1])


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_follows_full_precision(precision: str, tmp_path: Path) -> None:
    mixed, full = toys.build(toys.Staged), toys.build(toys.Staged)
    toys.run(full, tmp_path / "full")
    toys.run(mixed, tmp_path / precision, precision=precision)
    assert all(p.dtype == torch.float32 for p in mixed.parameters())
    for a, b in zip(full.parameters(), mixed.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0.1, atol=0.02)
    assert any(not torch.equal(a, b) for a, b in zip(full.parameters(), mixed.parameters(), strict=True))


def test_scaling_by_powers_of_two_changes_no_digit() -> None:
    scaled, plain = toys.build(Two), toys.build(Two)
    both = ["first", "second"]
    made, other = optimisation(scaled, scale=LossScale(True)), optimisation(plain)
    for method, optimise in ((scaled, made), (plain, other)):
        optimise({"a": method(X).square().mean()}, on=both, step=False)
        optimise({"b": method(2 * X).square().mean()}, on=both)
    toys.assert_same(toys.state_of(scaled), toys.state_of(plain))


def test_an_overflow_skips_the_step_and_halves_the_scale() -> None:
    class Half(One):
        """Gradients are passed on in half precision, so that a large scale overflows."""

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).half().double()

    method = toys.build(Half)
    scale = LossScale(True, scale=2.0**20, growth=2)
    made = optimisation(method, scale=scale)
    before = toys.state_of(method)
    assert made({"a": method(X).square().sum()}) is False
    made.end()
    toys.assert_same(before, toys.state_of(method))
    assert scale.scale == 2.0**19
    stepped = []
    for _ in range(12):
        stepped.append(made({"a": method(X).square().sum()}))
        made.end()
    assert any(stepped)
    assert all(p.isfinite().all() for p in method.parameters())


def test_an_overflow_in_one_part_spoils_the_whole_step() -> None:
    method = toys.build(One)
    made = optimisation(method, scale=LossScale(True))
    made.drivers["main"].overflow = True
    before = toys.state_of(method)
    assert made({"a": method(X).mean()}) is False
    toys.assert_same(before, toys.state_of(method))
    assert made({"a": method(X).mean()}) is True


def test_the_scale_grows_after_good_iterations_and_survives_a_round_trip() -> None:
    scale = LossScale(True, scale=4.0, growth=3)
    for _ in range(3):
        scale.update(overflow=False)
    assert (scale.scale, scale.good) == (8.0, 0)
    scale.update(overflow=False)
    other = LossScale(True)
    other.load(scale.state())
    assert (other.scale, other.good) == (8.0, 1)
    for _ in range(9):
        scale.update(overflow=True)
    assert scale.scale == 1.0
    assert LossScale(False).restore([torch.tensor([math.inf])])
