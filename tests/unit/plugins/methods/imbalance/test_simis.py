"""SimiS against worked numbers and the laws of its weights."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from support.methods_support import Constant, blank, case_of, clock

from semibench import Term
from semibench.run.settings import term_records
from semibench_plugins.methods.imbalance.simis import SimiS, gaps

torch.set_num_threads(1)


def method(**changes: Any) -> SimiS:
    built = case_of(SimiS, **changes).build()
    assert isinstance(built, SimiS)
    return built


def test_worked_gaps() -> None:
    assert gaps(torch.tensor([900.0, 90.0, 10.0])).tolist() == pytest.approx([0.0, 2.43, 2.67], abs=1e-6)
    assert gaps(torch.tensor([50.0, 50.0, 0.0])).tolist() == [0.0, 0.0, 1.5], "as a class that is very rare"


def test_weights_start_almost_equal() -> None:
    built, pools = method(), case_of(SimiS).data().pools
    built.begin("train", pools)
    counts = pools.class_voxels()
    gap = 2 * float((counts[0] - counts[1]) / counts.sum())
    assert built.weights.tolist() == [pytest.approx([1.98, 1.98 + 0.01 * gap])] * 2


def test_weights_follow_the_predictions_of_each_network() -> None:
    """Network 1 predicts class 0 everywhere, network 2 class 1. The start keeps the share .99^n."""
    built = method()
    built.first, built.second = Constant(torch.tensor([2.0, 0.0])), Constant(torch.tensor([0.0, 1.0]))  # type: ignore[assignment]
    for _ in range(4):
        built.losses(blank(), clock())
    away = 2 * 0.99**4
    assert built.weights.tolist() == [pytest.approx([away, 2.0]), pytest.approx([2.0, away])]


def test_weights_never_vanish() -> None:
    built = method(options={"floor": 0.001})
    built.first, built.second = (Constant(torch.tensor([0.3, -0.2]).view(2, 1, 1)) for _ in range(2))  # type: ignore[assignment]
    built.weights.zero_()
    losses = built.losses(blank(torch.ones(1, 2, 2, dtype=torch.int64)), clock())
    expected = float(-torch.tensor([0.3, -0.2]).log_softmax(0)[0])
    assert losses["cross"].item() == pytest.approx(2 * expected, rel=1e-5), "weighted means, all weights alike"
    assert losses["sup"].isfinite()


def test_the_preset_of_the_port_has_its_ramp() -> None:
    """Its scripts pass the switch of the ramp for every method: at the start the weight is .1 exp(-5)."""
    term = Term.restore(term_records(SimiS.terms, SimiS.presets["dhc"]["terms"])["cross"])
    assert term.at(0.0) == pytest.approx(0.1 * math.exp(-5.0)) and term.at(1.0) == pytest.approx(0.1, rel=1e-3)
