"""Heart data sets: recipe values. Importing them doesn't import torch."""

from __future__ import annotations

from semibench import RecipeCard
from semibench_plugins.datasets.paper_budgets import generic_ssl_views, semsim_budget, sliced_volumes

RECIPES: tuple[RecipeCard, ...] = (
    *generic_ssl_views("mmwhs", "mnms"),
    semsim_budget(
        "acdc",
        44100,
        "147 iterations each (7 labeled patients: 1176 unlabeled slices); 3 patients would be 46500, 1 48000",
    ),
    *sliced_volumes("acdc"),
    RecipeCard(name="paper", dims=3, datasets=("la",), values={"patch": [112, 112, 80]}, source="UA-MT"),
    RecipeCard(
        name="paper",
        dims=3,
        datasets=("mmwhs",),
        values={"patch": [128, 128, 128], "weight_decay": 3e-5},
        source="GenericSSL: 128^3, 2 + 2; its 2400 iterations are raised to the common 3D budget",
    ),
        RecipeCard(
        name="paper",
        dims=3,
        datasets=("mnms",),
        values={"patch": [32, 128, 128], "labeled_batch": 4, "unlabeled_batch": 4, "iterations": 33000, "weight_decay": 3e-5},
        source="GenericSSL: 32 x 128 x 128, 4 + 4, 300 epochs of 110 iterations",
    ),
    RecipeCard(name="quick", dims=3, datasets=("mnms",), values={"patch": [16, 48, 48], "size": [16, 48, 48]}),
    RecipeCard(name="smoke", dims=3, datasets=("mnms",), values={"patch": [16, 32, 32]}),
)  # fmt: skip
