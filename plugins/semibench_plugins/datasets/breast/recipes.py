"""Breast ultrasound data sets: recipe values. Importing them doesn't import torch."""

from __future__ import annotations

from semibench import RecipeCard
from semibench_plugins.datasets.paper_budgets import mgcc_budget

RECIPES: tuple[RecipeCard, ...] = (
    mgcc_budget("busi", "busis", "udiat", "bus-bra"),
    RecipeCard(
        name="paper", protocols=("synthetic",), datasets=("busi",), protocol={"count": 725}, source="MGCC, IV-C"
    ),
)
