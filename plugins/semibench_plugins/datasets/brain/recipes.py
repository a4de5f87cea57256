"""Brain data sets: recipe values. Importing them doesn't import torch."""

from __future__ import annotations

from semibench import RecipeCard

RECIPES: tuple[RecipeCard, ...] = (
    RecipeCard(
        name="paper", dims=3, datasets=("brats19",), values={"patch": [96, 96, 96], "iterations": 30000},
        source="SSL4MIS BraTS: 96^3, 2 + 2, 30000 iterations (its scripts' rate is .1, the default .01)",
    ),
    RecipeCard(name="paper", dims=3, datasets=("msd-hippocampus",), values={"patch": [32, 48, 32]}),
    RecipeCard(name="quick", dims=3, datasets=("msd-hippocampus",), values={"patch": [32, 48, 32], "size": [32, 48, 32]}),
)  # fmt: skip
