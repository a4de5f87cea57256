"""OTCMC (our reconstruction): its plan and moments against worked numbers, its terms against their laws."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.methods_support import case_of, clock, reached
from torch import Tensor

from semibench import IGNORE
from semibench_plugins.methods.consistency.otcmc import (
    OTCMC,
    central_moments,
    moment_orders,
    propagated,
    transport_plan,
)

torch.set_num_threads(1)
SMALL = {"samples": 16, "rounds": 5}


def method(dims: int = 2, **changes: Any) -> OTCMC:
    built = case_of(OTCMC, dims, options=SMALL | changes).build()
    assert isinstance(built, OTCMC)
    return built


def test_worked_plan() -> None:
    plan = transport_plan(torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.2, 0.8]]), sharpness=0.05, rounds=100)
    expected = torch.tensor([[0.333222, 0.000112], [0.0, 0.333333], [0.166778, 0.166555]])
    assert torch.allclose(plan, expected, atol=2e-6)
    assert torch.allclose(plan.sum(1), torch.full((3,), 1 / 3), atol=1e-5)
    assert torch.allclose(plan.sum(0), torch.full((2,), 1 / 2), atol=1e-6)


def test_labels_travel_along_the_plan() -> None:
    plan = torch.tensor([[0.2, 0.0], [0.1, 0.3], [0.1, 0.3]])
    found = propagated(plan, torch.tensor([0, 1, 2]), 3)
    assert torch.allclose(found, torch.tensor([[0.5, 0.25, 0.25], [0.0, 0.5, 0.5]]))


def cube(side: int, size: int, corner: int = 0) -> Tensor:
    mask = torch.zeros(1, size, size, size)
    mask[:, corner : corner + side, corner : corner + side, corner : corner + side] = 1.0
    return mask


def test_worked_moments_of_cubes() -> None:
    """(n^2 - 1) / (12 n^2) along an axis; what is odd or mixed vanishes. Moved shapes have the same moments."""
    orders = moment_orders(3, 3)
    assert len(orders) == 16 and (2, 0, 0) in orders and (1, 1, 1) in orders
    small, moved, large = (central_moments(mask, orders)[0] for mask in (cube(8, 24), cube(8, 24, 13), cube(16, 24)))
    at = orders.index((2, 0, 0))
    assert small[at].item() == pytest.approx(0.08203, abs=1e-5) and large[at].item() == pytest.approx(0.08301, abs=1e-5)
    assert torch.allclose(small, moved, atol=1e-5)
    squares = [order for order in orders if 2 in order and sum(order) == 2]
    rest = [number for number, order in enumerate(orders) if order not in squares]
    assert torch.allclose(small[rest], torch.zeros(len(rest)), atol=1e-5)


def test_moments_against_sums_over_pixels() -> None:
    mask, orders = torch.rand(2, 5, 7), moment_orders(2, 3)
    found = central_moments(mask, orders)
    for n in range(2):
        m = mask[n].double()
        y, x = torch.meshgrid(torch.arange(5.0).double(), torch.arange(7.0).double(), indexing="ij")
        mass = m.sum()
        cy, cx = (m * y).sum() / mass, (m * x).sum() / mass
        for number, (p, q) in enumerate(orders):
            eta = (m * (y - cy) ** p * (x - cx) ** q).sum() / mass ** ((p + q) / 2 + 1)
            assert found[n, number].item() == pytest.approx(eta.item(), rel=1e-3, abs=1e-5)
    assert not central_moments(torch.zeros(1, 4, 4), orders).any(), "nothing there"


def test_equal_and_moved_masks_have_no_distance() -> None:
    built, valid = method(), torch.ones(1, 9, 9, dtype=torch.bool)
    soft = torch.zeros(1, 2, 9, 9)
    soft[:, 1, 1:4, 2:6] = torch.rand(3, 4)
    soft[:, 0] = 1 - soft[:, 1]
    assert built.moments_apart(soft, soft, valid).item() == 0.0
    assert built.moments_apart(soft, soft.roll((3, 2), (2, 3)), valid).item() == pytest.approx(0.0, abs=1e-8)
    assert built.moments_apart(soft, soft.flip(2) ** 2, valid).item() > 1e-6


def test_a_class_that_the_teacher_does_not_see_is_not_compared() -> None:
    """Its soft mask is a thin background, whose moments are huge: 1.7 and more below .002 of each voxel in 3D."""
    built, valid = method(), torch.ones(2, 9, 9, dtype=torch.bool)
    soft = torch.full((2, 2, 9, 9), 1e-3)
    soft[:, 0] = 1 - 1e-3
    soft = soft.requires_grad_()
    goal = soft.detach().clone()
    goal[:, 1] = 3e-4
    loss = built.moments_apart(soft, goal, valid)
    (gradient,) = torch.autograd.grad(loss, soft)
    assert loss.item() == 0.0 and not gradient.any()
    goal[1, 1, 2:5, 2:5], goal[1, 0, 2:5, 2:5] = 0.9, 0.1
    alone = built.moments_apart(soft[1:], goal[1:], valid[1:])
    assert built.moments_apart(soft, goal, valid).item() == pytest.approx(alone.item()) and alone.item() > 0
    assert built.moments_apart(torch.zeros(2, 2, 9, 9), goal, valid).item() == 0.0, "and where the student has no mass"


def test_the_recipe_lasts_300_passes_over_the_unlabeled_scans_of_the_left_atrium() -> None:
    """80 scans: 76 or 72 of them without a label, in batches of two."""
    for name, labels in {"la": 4, "la-8": 8}.items():
        recipe = OTCMC.presets[name]["recipe"]
        assert recipe["iterations"] == 300 * (80 - labels) / recipe["unlabeled_batch"]
        assert recipe["schedule"] == "constant" and recipe["weight_decay"] == 3e-5


@pytest.mark.parametrize("dims", [2, 3])
def test_who_learns_and_what_is_padding(dims: int) -> None:
    built, batch = method(dims), case_of(OTCMC, dims).data().batch(0)
    losses = built.losses(batch, clock())
    assert all(reached(loss, built.student) for loss in losses.values())
    batch["labeled"].target.fill_(IGNORE)
    assert built.losses(batch, clock())["transport"].item() == 0.0
