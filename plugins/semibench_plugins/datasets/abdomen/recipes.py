"""Abdominal data sets: recipe values. Importing them doesn't import torch."""

from __future__ import annotations

from semibench import RecipeCard
from semibench_plugins.datasets.paper_budgets import generic_ssl_views

RECIPES: tuple[RecipeCard, ...] = (
    *generic_ssl_views("synapse", "amos22"),
    RecipeCard(
        name="paper",
        dims=3,
        datasets=("synapse", "amos22"),
        values={"patch": [64, 128, 128], "lr": 0.03, "weight_decay": 3e-5},
        source="DTLP, Table I, and GenericSSL: 64 x 128 x 128, 2 + 2, rate .03; Synapse's 2400 iterations are raised to 15000",
    ),
    RecipeCard(
        name="paper", dims=3, datasets=("amos22",), values={"iterations": 31800},
        source="DTLP: 300 epochs of 106 iterations (212 unlabeled volumes, 2 + 2)",
    ),
    RecipeCard(name="quick", dims=3, datasets=("synapse", "amos22"), values={"patch": [32, 32, 48], "size": [32, 32, 48]}),
    RecipeCard(
        name="paper", dims=3, datasets=("pancreas",), values={"patch": [96, 96, 96]},
        source="MC-Net family: 96^3, 2 + 2, 15000 iterations; Diff-CL's 300 epochs would be 7500 (12 labeled) or 8400 (6)",
    ),
)  # fmt: skip
