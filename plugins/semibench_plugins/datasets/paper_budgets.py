"""Recipe values shared by several data sets because one paper trained on all of them.

MGCC = arXiv 2305.09447, IV-B; SemSim = arXiv 2410.13486, IV-A. Budgets are counted in iterations (batches drawn).
"""

from __future__ import annotations

from typing import Any

from semibench import RecipeCard

SGD_POLY: dict[str, Any] = {
    "optimiser": "sgd",
    "lr": 0.01,
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "schedule": "poly",
    "power": 0.9,
}
"""The optimiser and schedule of SSL4MIS, which most papers of the field took over."""
MGCC_WEAK = {"flip": 0.5, "rotate90": 0.5, "rotate": [0.0, 0.0], "scale": [0.0, 1.0, 1.0]}
SEMSIM_WEAK = {"flip": 0.5, "rotate90": 0.5, "rotate": [0.5, 20.0], "scale": [0.0, 1.0, 1.0]}
"""Flips follow the paper; right-angle turns and rotations of up to 20 degrees follow the UniMatch code it builds on."""


def mgcc_budget(*datasets: str) -> RecipeCard:
    """Returns the training budget of the MGCC paper for ultrasound images."""
    return RecipeCard(
        name="paper",
        dims=2,
        datasets=datasets,
        values={"iterations": 20000, "labeled_batch": 4, "unlabeled_batch": 4, "weak": MGCC_WEAK},
        source="MGCC: 300 epochs of 263 labeled images at 4 + 4 = 20000 iterations, also where synthetic images are added",
    )


def semsim_budget(dataset: str, iterations: int, source: str) -> RecipeCard:
    """Returns the training budget of the SemSim paper for images and slices.

    Args:
        dataset: the name of the data set.
        iterations: the number of iterations.
        source: how the paper's epochs become `iterations`.
    """
    return RecipeCard(
        name="paper",
        dims=2,
        datasets=(dataset,),
        values={
            "iterations": iterations, "labeled_batch": 8, "unlabeled_batch": 8, "patch": [224, 224], "weak": SEMSIM_WEAK,
        },
        source=f"SemSim, IV-A: 224 x 224, 16 = 8 + 8, 300 epochs over the unlabeled images; {source}",
    )  # fmt: skip


def sliced_volumes(dataset: str) -> list[RecipeCard]:
    """Returns patches for 3D networks on short-axis and prostate volumes, which the papers train slice by slice."""
    patches = {"paper": [16, 160, 160], "quick": [16, 48, 48], "smoke": [16, 32, 32]}
    return [
        RecipeCard(
            name=name,
            dims=3,
            datasets=(dataset,),
            values={"patch": patch},
            source="ours: the papers train slice by slice" if name == "paper" else "",
        )
        for name, patch in patches.items()
    ]
