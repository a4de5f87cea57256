"""What the harness does to a method that it has built."""

from __future__ import annotations

import pytest
from torch import nn

from semibench.blocks import Teacher
from semibench.run.assembly import limit_averages
from semibench.run.request import Request
from semibench.run.resolve import resolve


@pytest.mark.parametrize(("share", "decay"), [("1", 0.99), ("0.05", 0.95), ("0.001", 0.0)])
def test_the_recipe_limits_every_teacher_however_deep(share: str, decay: float) -> None:
    settings = ("iterations=400", f"recipe.longest_average={share}")
    recipe = resolve(Request(protocol="self", dataset="tus", settings=settings, phantom="always")).options.recipe
    method = nn.ModuleDict({"a": Teacher(nn.Linear(1, 1)), "b": nn.Sequential(Teacher(nn.Linear(1, 1), 0.5))})
    limit_averages(method, recipe)  # type: ignore[arg-type]
    assert [m.decay for m in method.modules() if isinstance(m, Teacher)] == pytest.approx([decay, min(decay, 0.5)])
