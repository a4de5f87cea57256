"""Recipes: `paper` (the published budget of the setting), `quick` (minutes on two CPU cores), `smoke` (seconds).

Sources: "SSL4MIS" = HiLab-git/SSL4MIS; "UA-MT family" = the 3D V-Net repositories; MGCC = arXiv 2305.09447, IV-B; DTLP =
the GenericSSL recipe that DTLP-Net follows; SemSim = arXiv 2410.13486. Budgets are counted in
iterations (batches drawn).
"""

from __future__ import annotations

from typing import Any

from semibench import RecipeCard, hookimpl

ULTRASOUND = ("busi", "busis", "udiat", "tus", "tnscui2020", "bus-bra", "hc18")
MGCC_WEAK = {"flip": 0.5, "rotate90": 0.5, "rotate": [0.0, 0.0], "scale": [0.0, 1.0, 1.0]}
SEMSIM_WEAK = {"flip": 0.5, "rotate90": 0.5, "rotate": [0.5, 20.0], "scale": [0.0, 1.0, 1.0]}
"""Flips as the paper says; right angles and up to 20 degrees as the UniMatch code that it builds on."""
ROTFLIP = {"flip": 0.5, "rotate90": 0.75, "rotate": [0.0, 0.0], "scale": [0.0, 1.0, 1.0]}
SGD: dict[str, Any] = {
    "optimiser": "sgd",
    "lr": 0.01,
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "schedule": "poly",
    "power": 0.9,
}
QUICK_WIDTHS = {"*": 0.5, "mgcc-net": 0.125, "deeplabv3plus": 0.25, "diff-vnet": 0.25}
"""Shares of the published number of channels: the larger the network, the smaller, so that a run takes minutes."""

PAPER = [
    RecipeCard(
        name="paper",
        dims=2,
        values={**SGD, "iterations": 30000, "labeled_batch": 12, "unlabeled_batch": 12, "patch": [256, 256], "evaluate_every": 500,
                "checkpoint_every": 1000},
        source="SSL4MIS: 30000 iterations, 24 = 12 + 12, 256 x 256",
    ),
    RecipeCard(
        name="paper",
        dims=2,
        datasets=ULTRASOUND,
        values={"iterations": 20000, "labeled_batch": 4, "unlabeled_batch": 4, "weak": MGCC_WEAK},
        source="MGCC: 300 epochs of 263 labeled images at 4 + 4 = 20000 iterations, also where synthetic images are added",
    ),
    RecipeCard(name="paper", protocols=("synthetic",), datasets=("busi",), protocol={"count": 725}, source="MGCC, IV-C"),
    RecipeCard(name="paper", protocols=("synthetic",), datasets=("tus",), protocol={"count": 3644}, source="MGCC, IV-C"),
    RecipeCard(
        name="paper",
        dims=2,
        datasets=("acdc", "isic2018", "promise12"),
        values={"labeled_batch": 8, "unlabeled_batch": 8, "patch": [224, 224], "weak": SEMSIM_WEAK},
        source="SemSim, IV-A: 224 x 224, 16 = 8 + 8, 300 epochs over the unlabeled images",
    ),
    RecipeCard(
        name="paper", dims=2, datasets=("acdc",), values={"iterations": 44100},
        source="300 epochs of 147 iterations (7 labeled patients: 1176 unlabeled slices); 3 patients would be 46500, 1 48000",
    ),
    RecipeCard(
        name="paper", dims=2, datasets=("isic2018",), values={"iterations": 62100},
        source="300 epochs of 207 iterations (181 labeled: 1657 unlabeled images); 55 labeled would be 66600",
    ),
    RecipeCard(
        name="paper", dims=2, datasets=("promise12",), values={"iterations": 33300},
        source="300 epochs of 111 iterations (2 labeled cases: 893 unlabeled slices); 1 case would be 34200",
    ),
    RecipeCard(
        name="paper",
        dims=3,
        values={**SGD, "iterations": 15000, "labeled_batch": 2, "unlabeled_batch": 2, "patch": [96, 96, 96], "weak": ROTFLIP,
                "evaluate_every": 500, "checkpoint_every": 500},
        source="UA-MT family, length of MC-Net (R2), poly decay: one recipe for all methods",
    ),
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
    RecipeCard(name="paper", dims=3, datasets=("msd-hippocampus",), values={"patch": [32, 48, 32]}),
    RecipeCard(
        name="paper", dims=3, datasets=("pancreas",), values={"patch": [96, 96, 96]},
        source="MC-Net family: 96^3, 2 + 2, 15000 iterations; Diff-CL's 300 epochs would be 7500 (12 labeled) or 8400 (6)",
    ),
    RecipeCard(
        name="paper", dims=3, datasets=("brats19",), values={"patch": [96, 96, 96], "iterations": 30000},
        source="SSL4MIS BraTS: 96^3, 2 + 2, 30000 iterations (its scripts' rate is .1, the default .01)",
    ),
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
    RecipeCard(
        name="paper", dims=3, datasets=("acdc", "promise12"), values={"patch": [16, 160, 160]},
        source="ours: the papers train these by slices",
    ),
]  # fmt: skip

ADAM: dict[str, Any] = {**SGD, "optimiser": "adam", "lr": 2e-3}
"""SGD at its published rate learns nothing in some hundred iterations; quick runs take Adam, for all methods alike."""

QUICK = [
    RecipeCard(
        name="quick",
        dims=2,
        values={**ADAM, "iterations": 400, "labeled_batch": 4, "unlabeled_batch": 4, "patch": [64, 64], "weak": MGCC_WEAK,
                "evaluate_every": 100, "checkpoint_every": 100, "widths": QUICK_WIDTHS},
    ),
    RecipeCard(name="quick", protocols=("synthetic",), protocol={"count": 96}),
    RecipeCard(
        name="quick",
        dims=3,
        values={**ADAM, "iterations": 600, "labeled_batch": 2, "unlabeled_batch": 2, "patch": [48, 48, 32], "weak": ROTFLIP,
                "evaluate_every": 200, "checkpoint_every": 100, "widths": {**QUICK_WIDTHS, "diff-vnet": 0.125}},
    ),
    RecipeCard(name="quick", dims=3, datasets=("mmwhs",), values={"patch": [48, 48, 48]}),
    RecipeCard(name="quick", dims=3, datasets=("mnms",), values={"patch": [16, 48, 48]}),
    RecipeCard(name="quick", dims=3, datasets=("msd-hippocampus",), values={"patch": [32, 48, 32]}),
    RecipeCard(name="quick", dims=3, datasets=("acdc", "promise12"), values={"patch": [16, 48, 48]}),
    RecipeCard(name="quick", dims=3, datasets=("brats19", "synapse", "amos22"), values={"patch": [32, 48, 48]}),
]  # fmt: skip

SMOKE_WIDTHS = {"*": 0.25, "mgcc-net": 0.0625}
SMOKE = [
    RecipeCard(
        name="smoke",
        dims=2,
        values={**SGD, "iterations": 6, "labeled_batch": 2, "unlabeled_batch": 2, "patch": [64, 64], "weak": MGCC_WEAK,
                "evaluate_every": 3, "evaluate_cases": 4, "checkpoint_every": 3, "widths": SMOKE_WIDTHS},
    ),
    RecipeCard(name="smoke", protocols=("synthetic",), protocol={"count": 4}),
    RecipeCard(
        name="smoke",
        dims=3,
        values={**SGD, "iterations": 4, "labeled_batch": 2, "unlabeled_batch": 2, "patch": [32, 32, 32], "weak": ROTFLIP,
                "evaluate_every": 2, "evaluate_cases": 2, "checkpoint_every": 2, "widths": SMOKE_WIDTHS},
    ),
    RecipeCard(name="smoke", dims=3, datasets=("mnms", "acdc", "promise12"), values={"patch": [16, 32, 32]}),
]  # fmt: skip


@hookimpl
def semibench_recipes() -> list[RecipeCard]:
    return [*PAPER, *QUICK, *SMOKE]
