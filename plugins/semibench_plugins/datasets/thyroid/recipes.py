"""Thyroid ultrasound data sets: recipe values. Importing them doesn't import torch."""

from __future__ import annotations

from semibench import RecipeCard
from semibench_plugins.datasets.paper_budgets import mgcc_budget

RECIPES: tuple[RecipeCard, ...] = (
    mgcc_budget("tus", "tnscui2020"),
    RecipeCard(
        name="paper", protocols=("synthetic",), datasets=("tus",), protocol={"count": 3644}, source="MGCC, IV-C"
    ),
)
