"""Dermoscopy data sets: recipe values. Importing them doesn't import torch."""

from __future__ import annotations

from semibench import RecipeCard
from semibench_plugins.datasets.paper_budgets import semsim_budget

RECIPES: tuple[RecipeCard, ...] = (
    semsim_budget(
        "isic2018", 62100, "207 iterations each (181 labeled: 1657 unlabeled images); 55 labeled would be 66600"
    ),
)
