"""Pelvis data sets: recipe values. Importing them doesn't import torch."""

from __future__ import annotations

from semibench import RecipeCard
from semibench_plugins.datasets.paper_budgets import semsim_budget, sliced_volumes

RECIPES: tuple[RecipeCard, ...] = (
    semsim_budget(
        "promise12", 33300, "111 iterations each (2 labeled cases: 893 unlabeled slices); 1 case would be 34200"
    ),
    *sliced_volumes("promise12"),
)
