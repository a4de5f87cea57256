"""Learning rates, ramps and shares against worked numbers, and optimisers built from contracts."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from support import training_toys as toys
from torch import nn

from semibench.contracts.errors import PluginError, UsageError
from semibench.contracts.method import Method, Optimiser
from semibench.contracts.schedule import Ramp, Stage, Term
from semibench.training import schedules


@pytest.mark.parametrize(
    ("part", "expected"), [(0.0, 0.01), (0.25, 0.0077189), (0.5, 0.0053589), (0.75, 0.0028717), (0.9, 0.0012589)]
)
def test_poly_of_the_published_table(part: float, expected: float) -> None:
    """SSL4MIS and MGCC: lr0 (1 - it/it_max)^0.9 with lr0 = .01."""
    assert 0.01 * schedules.poly(round(part * 30000), 30000, 0.9) == pytest.approx(expected, abs=5e-8)


@pytest.mark.parametrize(
    ("steps", "last"), [(20000, 1.346e-6), (30000, 9.345e-7), (40000, 7.213e-7), (44100, 6.607e-7)]
)
def test_poly_at_the_last_step(steps: int, last: float) -> None:
    assert 0.01 * schedules.poly(steps - 1, steps, 0.9) == pytest.approx(last, rel=5e-4)


def test_poly_beyond_the_end_is_real_and_zero() -> None:
    """The unclamped power is complex there, the fault MGCC's published loop meets."""
    assert isinstance((1 - 20001 / 20000) ** 0.9, complex)
    assert schedules.poly(20001, 20000, 0.9) == 0.0
    assert schedules.constant(7, 5, 0.9) == 1.0


@pytest.mark.parametrize(
    ("ramp", "weight", "progress", "expected"),
    [
        (Ramp("sigmoid", levels=200), 0.1, 0.0, 0.000674),
        (Ramp("sigmoid", levels=200), 0.1, 1000 / 30000, 0.000905),
        (Ramp("sigmoid", levels=200), 0.1, 7500 / 30000, 0.006005),
        (Ramp("sigmoid", levels=200), 0.1, 15000 / 30000, 0.02865),
        (Ramp("sigmoid", levels=200), 0.1, 29999 / 30000, 0.099988),
        (Ramp("sigmoid", end=1.5, levels=200), 7.0, 0.0, 0.04717),
        (Ramp("sigmoid", end=1.5, levels=200), 7.0, 5000 / 20000, 0.21434),
        (Ramp("sigmoid", end=1.5, levels=200), 7.0, 10000 / 20000, 0.74186),
        (Ramp("sigmoid", end=1.5, levels=200), 7.0, 15000 / 20000, 2.00553),
        (Ramp("sigmoid", end=1.5, levels=200), 7.0, 19999 / 20000, 3.99397),
        (Ramp("sigmoid", end=3.75), 1.0, 0.0, 0.0067379),
        (Ramp("sigmoid", end=0.4, levels=40), 1.0, 3000 / 15000, 0.2865),
        (Ramp("sigmoid", end=0.4, levels=40), 1.0, 1.0, 1.0),
        (Ramp("sigmoid"), 10.0, 0.5, 2.865),
        (Ramp("cosine", 0.15), 1.0, 0.25 * 0.15, 0.146447),
        (Ramp("decline"), 1.0, 0.25, 0.75),
        (Ramp("linear", 0.5), 2.0, 0.25, 1.0),
    ],
)
def test_ramps_of_the_published_table(ramp: Ramp, weight: float, progress: float, expected: float) -> None:
    """methods table of the design and training_2d.md 1.2: r(it // 150, 200) and its kin."""
    assert Term(weight, ramp).at(progress) == pytest.approx(expected, rel=2e-4, abs=5e-7)


def test_staircases_are_those_of_whole_units() -> None:
    """levels=200 over 30000 iterations is it // 150, at every iteration."""
    ramp = Ramp("sigmoid", levels=200)
    for iteration in range(0, 30001, 50):
        expected = math.exp(-5 * (1 - min(iteration // 150, 200) / 200) ** 2)
        assert ramp(iteration / 30000) == pytest.approx(expected, rel=1e-12)


def test_gates() -> None:
    """Zero while iteration < 1000 of 30000; only below 20000 of 30000; start included, end excluded."""
    late, early = Term(active=(1 / 30, math.inf)), Term(active=(0, 2 / 3))
    assert [late.at(i / 30000) for i in (0, 999, 1000, 30000)] == [0, 0, 1, 1]
    assert [early.at(i / 30000) for i in (0, 19999, 20000, 29999)] == [1, 1, 0, 0]


@pytest.mark.parametrize(
    ("total", "shares", "expected"),
    [
        (30000, (1.0,), [30000]),
        (30000, (0.25, 0.75), [7500, 22500]),
        (10, (1 / 3, 1 / 3, 1 / 3), [4, 3, 3]),
        (11, (0.4, 0.6), [4, 7]),
        (12, (0.4, 0.6), [5, 7]),
        (10, (0.01, 0.99), [1, 9]),
        (3, (0.01, 0.01, 0.98), [1, 1, 1]),
    ],
)
def test_allot_worked_numbers(total: int, shares: tuple[float, ...], expected: list[int]) -> None:
    assert schedules.allot(total, shares) == expected


@pytest.mark.parametrize("total", [3, 7, 100, 12345])
def test_allot_is_whole_and_near_the_shares(total: int) -> None:
    for first in (0.02, 0.1, 0.35, 0.6):
        shares = (first, (1 - first) * 0.3, (1 - first) * 0.7)
        parts = schedules.allot(total, shares)
        assert sum(parts) == total
        assert min(parts) >= 1
        if total > 50:
            assert all(abs(part - share * total) <= 1 for part, share in zip(parts, shares, strict=True))


def test_allot_refuses_what_it_cant_share() -> None:
    with pytest.raises(UsageError, match="1 iterations cannot be divided among 2 stages"):
        schedules.allot(1, (0.5, 0.5))
    for shares in ((), (0.5, 0.4), (1.2, -0.2)):
        with pytest.raises(PluginError, match="sum to 1"):
            schedules.allot(10, shares)


def test_stages_need_names_that_differ() -> None:
    class Twice(toys.Supervised):
        def stages(self) -> Any:
            return Stage("a", 0.5), Stage("a", 0.5)

    with pytest.raises(PluginError, match="different names"):
        schedules.plan_stages(toys.build(Twice), 10)
    plan = schedules.plan_stages(toys.build(toys.Staged), 12)
    assert [(part.name, part.steps, part.offset) for part in plan] == [("pretrain", 5, 0), ("train", 7, 5)]


def driver(contract: Optimiser, **changes: Any) -> schedules.Driver:
    return schedules.build_driver("main", contract, toys.recipe(**changes))


@pytest.mark.parametrize(
    ("kind", "made", "settings"),
    [
        ("sgd", torch.optim.SGD, {"momentum": 0.8, "weight_decay": 0.02}),
        ("adam", torch.optim.Adam, {"betas": (0.5, 0.9), "weight_decay": 0.02}),
        ("adamw", torch.optim.AdamW, {"betas": (0.5, 0.9), "weight_decay": 0.02}),
        ("rmsprop", torch.optim.RMSprop, {"momentum": 0.8, "weight_decay": 0.02}),
    ],
)
def test_the_recipe_fills_what_the_contract_leaves_open(kind: str, made: type, settings: dict[str, Any]) -> None:
    contract = Optimiser((nn.Linear(2, 2),))
    built = driver(contract, optimiser=kind, momentum=0.8, betas=(0.5, 0.9), weight_decay=0.02, lr=0.3, power=0.7)
    assert type(built.optimiser) is made
    group = built.optimiser.param_groups[0]
    assert {name: group[name] for name in settings} == settings
    assert (built.lr, built.power, built.schedule) == (0.3, 0.7, "poly")


def test_the_contract_wins_over_the_recipe() -> None:
    settings = {"betas": (0.9, 0.99), "weight_decay": 0.0, "clip_norm": 10, "clip_value": 2.0, "power": 2.0}
    built = driver(Optimiser((nn.Linear(2, 2),), "adam", 1e-4, 10.0, "constant", settings), clip_norm=1.0)
    assert built.optimiser.param_groups[0]["weight_decay"] == 0.0
    assert (built.clip_norm, built.clip_value, built.power) == (10, 2.0, 2.0)
    assert built.rate(3, 4) == pytest.approx(1e-3)
    assert driver(Optimiser((nn.Linear(2, 2),), lr_factor=10), lr=0.01).lr == pytest.approx(0.1)


def test_step_k_uses_the_rate_of_k() -> None:
    built = driver(Optimiser((nn.Linear(2, 2),)), lr=0.01)
    assert built.set_rate(0, 10) == 0.01
    assert built.set_rate(5, 10) == pytest.approx(0.0053589, abs=5e-8)
    assert built.optimiser.param_groups[0]["lr"] == built.rate(5, 10)


def test_the_rate_rises_in_the_warm_up_and_then_follows_the_schedule() -> None:
    built = driver(Optimiser((nn.Linear(2, 2),)), lr=0.01, power=1.0, warm_up=0.4)
    factors = [0.25, 0.5 * 0.9, 0.75 * 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
    assert [built.rate(step, 10) for step in range(10)] == pytest.approx([0.01 * factor for factor in factors])
    own = driver(Optimiser((nn.Linear(2, 2),), schedule="constant"), lr=0.01, warm_up=0.4)
    assert own.rate(0, 10) == 0.01, "a method that sets its own schedule has no warm-up"


@pytest.mark.parametrize(
    ("contract", "message"),
    [
        (Optimiser((nn.Linear(2, 2),), "lion"), "known kinds"),  # type: ignore[arg-type]
        (Optimiser((nn.Linear(2, 2),), schedule="step"), "schedules"),  # type: ignore[arg-type]
        (Optimiser((nn.Linear(2, 2),), "adam", settings={"momentum": 0.9}), "does not accept momentum"),
        (Optimiser((nn.Linear(2, 2).requires_grad_(False),)), "nothing to train"),
    ],
)
def test_contracts_that_cant_be_built(contract: Optimiser, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        driver(contract)


def test_a_method_needs_an_optimiser() -> None:
    class None_(toys.Supervised):
        def optimisers(self) -> Any:
            return {}

    with pytest.raises(PluginError, match="optimisers\\(\\) is empty"):
        schedules.build_drivers(toys.build(None_), toys.recipe())


def test_shared_and_frozen_parameters_are_counted_once_and_not_at_all() -> None:
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    second.bias.requires_grad_(False)
    found = schedules.trainable((first, nn.Sequential(first, second)))
    assert [id(p) for p in found] == [id(p) for p in (first.weight, first.bias, second.weight)]
    method: Method = toys.build(toys.Meta)
    drivers = schedules.build_drivers(method, toys.recipe())
    assert drivers["inner"].parameters == drivers["outer"].parameters
