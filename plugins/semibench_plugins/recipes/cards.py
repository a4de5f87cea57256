"""Recipes: `paper` (the published budget of a setting), `standard` (ten times the iterations of `quick`), `quick`
(minutes on two CPU cores) and `smoke` (seconds).

Sources: "SSL4MIS" = HiLab-git/SSL4MIS; "UA-MT family" = the 3D V-Net repositories; MGCC = arXiv 2305.09447, IV-B; DTLP =
the GenericSSL recipe that DTLP-Net follows; SemSim = arXiv 2410.13486. Budgets are counted in iterations (batches drawn).
"""

from __future__ import annotations

from typing import Any

from semibench import RecipeCard, hookimpl
from semibench_plugins.datasets.families import RECIPES
from semibench_plugins.datasets.paper_budgets import MGCC_WEAK, SGD_POLY

ROTFLIP = {"flip": 0.5, "rotate90": 0.75, "rotate": [0.0, 0.0], "scale": [0.0, 1.0, 1.0]}
QUICK_WIDTHS = {"*": 0.5, "mgcc-net": 0.125, "deeplabv3plus": 0.25, "diff-vnet": 0.25}
"""Fractions of the published number of channels. Larger networks get smaller fractions, so that a run takes minutes."""

PAPER = [
    RecipeCard(
        name="paper",
        dims=2,
        values={**SGD_POLY, "iterations": 30000, "labeled_batch": 12, "unlabeled_batch": 12, "patch": [256, 256],
                "evaluate_every": 500, "checkpoint_every": 1000},
        source="SSL4MIS: 30000 iterations, 24 = 12 + 12, 256 x 256",
    ),
    RecipeCard(
        name="paper",
        dims=3,
        values={**SGD_POLY, "iterations": 15000, "labeled_batch": 2, "unlabeled_batch": 2, "patch": [96, 96, 96], "weak": ROTFLIP,
                "evaluate_every": 500, "checkpoint_every": 500},
        source="UA-MT family with the length of MC-Net (R2) and poly decay: one recipe for all methods",
    ),
]  # fmt: skip

ADAM: dict[str, Any] = {**SGD_POLY, "optimiser": "adam", "lr": 2e-3, "warm_up": 0.1}
"""SGD_POLY at its published rate learns nothing in a few hundred iterations, so short runs use Adam for all methods."""

SHORT_NETWORKS: dict[str, dict[str, Any]] = {
    "*": {"norm": "instance"},
    "unet": {"dropout": [0.0] * 5},
    "vnet": {"has_dropout": False},
    "diff-vnet": {"has_dropout": False, "unit_dropout": 0.0},
    "diffusion-vnet": {"has_dropout": False, "unit_dropout": 0.0},
    "deeplabv3plus": {"dropout": 0.0},
    "swin-unet": {"drop_path": 0.0},
}
"""Networks of short runs, chosen on validation (docs/recipes.md): batch norm's running statistics are made of few small
batches, and dropout of half the channels leaves a narrow network too few."""

SHORT_SCHEDULES = {"longest_average": 0.05, "unlabeled_ramp": 1.0, "highest_confidence": 0.8}
"""What published schedules reach in tens of thousands of iterations, for all methods alike: a teacher that follows its student,
terms on unlabeled samples that wait until there is something to learn from them, thresholds that a young network reaches."""

TILTS = {"flip": 0.0, "rotate90": 0.0, "rotate": [0.5, 20.0], "scale": [0.5, 0.8, 1.25]}
"""Views that every anatomy allows: no mirror images and no right-angle turns."""

QUICK = [
    RecipeCard(
        name="quick",
        dims=2,
        values={**ADAM, "iterations": 1200, "labeled_batch": 4, "unlabeled_batch": 4, "patch": [64, 64], "weak": TILTS,
                **SHORT_SCHEDULES, "evaluate_every": 400, "checkpoint_every": 200, "widths": QUICK_WIDTHS,
                "networks": SHORT_NETWORKS},
    ),
    RecipeCard(  # the first command: a generator is trained, too, and the references run beside
        name="quick",
        protocols=("synthetic",),
        values={"iterations": 400, "evaluate_every": 200, "checkpoint_every": 100},
        protocol={"count": 96},
    ),
    RecipeCard(
        name="quick",
        dims=3,
        backbone="unet",
        values={**ADAM, "optimiser": "adamw", "lr": 4e-3, "iterations": 900, "labeled_batch": 2, "unlabeled_batch": 2,
                "patch": [32, 32, 32], "size": [32, 32, 32], "channels_last": True,
                "weak": {**TILTS, "rotate": [0.5, 15.0], "scale": [0.5, 0.85, 1.2]},
                **SHORT_SCHEDULES, "evaluate_every": 300, "checkpoint_every": 100,
                "widths": {**QUICK_WIDTHS, "diff-vnet": 0.125}, "networks": SHORT_NETWORKS},
    ),
]  # fmt: skip

STANDARD = [
    RecipeCard(name="standard", extends="quick", dims=2, values={"iterations": 12000, "evaluate_every": 1000}),
    RecipeCard(name="standard", extends="quick", dims=3, values={"iterations": 9000, "evaluate_every": 1000}),
]
"""Ten times the iterations of `quick`, with everything else the same."""

SMOKE_WIDTHS = {"*": 0.25, "mgcc-net": 0.0625}
SMOKE = [
    RecipeCard(
        name="smoke",
        dims=2,
        values={**SGD_POLY, "iterations": 6, "labeled_batch": 2, "unlabeled_batch": 2, "patch": [64, 64], "weak": MGCC_WEAK,
                "evaluate_every": 3, "evaluate_cases": 4, "checkpoint_every": 3, "widths": SMOKE_WIDTHS},
    ),
    RecipeCard(name="smoke", protocols=("synthetic",), protocol={"count": 4}),
    RecipeCard(
        name="smoke",
        dims=3,
        values={**SGD_POLY, "iterations": 4, "labeled_batch": 2, "unlabeled_batch": 2, "patch": [32, 32, 32], "weak": ROTFLIP,
                "evaluate_every": 2, "evaluate_cases": 2, "checkpoint_every": 2, "widths": SMOKE_WIDTHS},
    ),
]  # fmt: skip


@hookimpl
def semibench_recipes() -> list[RecipeCard]:
    """Returns the recipes for any data set, and the values for each data set that comes with Semibench."""
    return [*PAPER, *QUICK, *STANDARD, *SMOKE, *RECIPES]
