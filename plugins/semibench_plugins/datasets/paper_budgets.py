"""Recipe values shared by several data sets because one paper trained on all of them.

MGCC = arXiv 2305.09447, IV-B; SemSim = arXiv 2410.13486, IV-A; SSL4MIS = HiLab-git/SSL4MIS; GenericSSL =
xmed-lab/GenericSSL (Wang & Li, NeurIPS 2023). Budgets are counted in iterations (batches drawn).

Weak views draw every change independently. With flips of both axes and right-angle turns at .5 each, .5^3 of the images are
not flipped or turned, and a turn and two flips can cancel; the published codes choose one change or none.
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
TURNS_WEAK = {"flip": 0.5, "rotate90": 0.5, "rotate": [0.25, 20.0], "scale": [0.0, 1.0, 1.0]}
"""Flips, right-angle turns, and rotations of up to 20 degrees in a quarter of the samples, as in the codes of SSL4MIS and
UniMatch."""
GENERIC_SSL_WEAK = {
    "flip": 0.0,
    "rotate90": 0.0,
    "rotate": [0.35, 15.0],
    "scale": [0.35, 0.7, 1.0],
    "blur": [0.35, 0.7, 1.3],
    "brightness": [0.35, 0.7, 1.3],
    "contrast": [0.35, 0.7, 1.3],
    "gamma": [0.35, 0.7, 1.3],
}
"""The views of GenericSSL, without flips or right-angle turns: a mirror image exchanges left and right organs. The code draws
3 of the 6 changes and applies each with probability .7; here each has probability .35. The code rotates about a random axis,
here the image plane is rotated."""

SSL4MIS_RECIPE: dict[str, Any] = {
    **SGD_POLY, "iterations": 30000, "labeled_batch": 12, "unlabeled_batch": 12, "patch": (256, 256), "weak": TURNS_WEAK,
}  # fmt: skip
"""The recipe of SSL4MIS's 2D scripts, the own recipe of every method of that family."""
MGCC_RECIPE: dict[str, Any] = {
    **SGD_POLY, "iterations": 20000, "labeled_batch": 4, "unlabeled_batch": 4, "patch": (256, 256), "weak": MGCC_WEAK,
}  # fmt: skip
"""The recipe of the MGCC paper. Its code trains for 40000 iterations times the labeled share, 20000 at 50 %, on every data
set. These are the paper's 300 epochs for half of BUSI only (263 labels: 304 passes). They are 118 passes over half of TUS,
152 over all labels of BUSI and 59 over all labels of TUS; 300 epochs would be 50700, 39300 and 101700 iterations."""


def mgcc_budget(*datasets: str) -> RecipeCard:
    """Returns the training budget of the MGCC paper for ultrasound images."""
    return RecipeCard(
        name="paper",
        dims=2,
        datasets=datasets,
        values={name: MGCC_RECIPE[name] for name in ("iterations", "labeled_batch", "unlabeled_batch", "weak")},
        source="MGCC's code at 50 % labeled: 20000 iterations of 4 + 4 on every data set; the paper's 300 epochs for half of "
        "BUSI (263 labels), 118 for half of TUS",
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
            "iterations": iterations, "labeled_batch": 8, "unlabeled_batch": 8, "patch": [224, 224], "weak": TURNS_WEAK,
        },
        source=f"SemSim, IV-A: 224 x 224, 16 = 8 + 8, 300 epochs over the unlabeled images; {source}",
    )  # fmt: skip


def generic_ssl_views(*datasets: str) -> list[RecipeCard]:
    """Returns the views of GenericSSL for the volumes it trained on, 3D and by slices. Short recipes have views of their own."""
    return [
        RecipeCard(
            name=name,
            datasets=datasets,
            values={"weak": GENERIC_SSL_WEAK},
            source="views of GenericSSL: no flips, no right-angle turns" if name == "paper" else "",
        )
        for name in ("paper", "smoke")
    ]


def sliced_volumes(dataset: str) -> list[RecipeCard]:
    """Returns patches for 3D networks on short-axis and prostate volumes, which the papers train slice by slice."""
    patches = {"paper": [16, 160, 160], "quick": [16, 48, 48], "smoke": [16, 32, 32]}
    return [
        RecipeCard(
            name=name,
            dims=3,
            datasets=(dataset,),
            values={"patch": patch, **({"size": patch} if name == "quick" else {})},
            source="ours: the papers train slice by slice" if name == "paper" else "",
        )
        for name, patch in patches.items()
    ]
