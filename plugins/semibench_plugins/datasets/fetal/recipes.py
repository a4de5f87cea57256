"""Fetal ultrasound data sets: recipe values. Importing them doesn't import torch."""

from __future__ import annotations

from semibench import RecipeCard
from semibench_plugins.datasets.paper_budgets import mgcc_budget

RECIPES: tuple[RecipeCard, ...] = (mgcc_budget("hc18"),)
