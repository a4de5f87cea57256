"""Which validation may choose weights."""

from __future__ import annotations

from typing import Any

import pytest

from semibench import CaseRef, Split
from semibench.contracts.recipe import Recipe
from semibench.run.selection import why_no_best


def recipe(**changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "name": "x", "dims": 2, "iterations": 4, "labeled_batch": 1, "unlabeled_batch": 1, "patch": (8, 8),
        "evaluate_every": 2,
    }  # fmt: skip
    return Recipe(**(values | changes))


def split(groups: list[str], dataset: str = "a") -> Split:
    validation = tuple(CaseRef(dataset, f"{i}", group, "d", True) for i, group in enumerate(groups))
    return Split((), (), validation, (), "labeled" if groups else "none")


@pytest.mark.parametrize(
    ("groups", "changes", "reason"),
    [
        (["p", "q", "r", "s"], {}, None),
        (["p", "q", "r"], {}, "come from 3 groups"),
        (["p"] * 10, {}, "come from 1 group "),
        (["p", "p", "q", "q", "r", "r", "s", "s"], {"evaluate_cases": 4}, None),  # cases 0, 2, 4, 6
        (["p", "p", "q", "q", "r", "r", "s", "s"], {"evaluate_cases": 2}, "come from 2 groups"),
        (["p", "q", "r", "s"], {"keep_best": False}, "recipe doesn't validate"),
        (["p", "q", "r", "s"], {"evaluate_every": 0}, "recipe doesn't validate"),
        ([], {}, "no validation cases"),
    ],
)
def test_fewer_than_four_groups_choose_nothing(groups: list[str], changes: dict[str, Any], reason: str | None) -> None:
    found = why_no_best(recipe(**changes), split(groups))
    assert (found is None) if reason is None else (found is not None and reason in found)
