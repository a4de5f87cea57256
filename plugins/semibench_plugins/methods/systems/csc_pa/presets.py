"""Constants of CSC-PA's paper and code for each data set and share of labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

EPOCHS = 200
BATCH = 4
LABELED = {"busi": (258, 129, 64), "udiat": (66, 33, 16)}
TRAINING = {"busi": 517, "udiat": 132}
"""Training images of a fold as the paper counts them. An epoch is a pass over the unlabeled images without the incomplete
batch."""

SHARES = ("1-2", "1-4", "1-8")

CODE_OPTIONS: dict[str, Any] = {
    "fpa_form": "block",
    "fpa_scale": "none",
    "edges_of": "late",
    "container_start": "random",
    "container_learns": False,
    "epa_softmax": "row",
    "confidence": "percentile",
    "pal_mode": "code",
    "stage2_affinity": "mean",
    "unsup_filter": "percentile",
    "unlabeled_padding": "counted",
    "masked_statistics": "move",
    "inference": "plain",
}
"""What the released code does wherever there is an option for it."""

VARIANTS: dict[str, dict[str, Any]] = {
    "ours": {"pal_mode": "soft", "container_start": "mean"},
    "printed": {"pal_mode": "literal", "fpa_form": "plain"},
}
"""Options of the variants without a recipe. ours: a PAL that teaches the prediction, and a container that starts as the mean
of old and new edges. printed: equations 5 and 12 to the letter."""


def recipe(dataset: str, labeled: int) -> dict[str, Any]:
    """Section 4.1: SGD .003, momentum .9, weight decay 5e-4, poly .9, 200 epochs, 4 + 4, crops of 513. As in the released loader,
    flips are of left and right alone."""
    return {
        "iterations": EPOCHS * ((TRAINING[dataset] - labeled) // BATCH),
        "labeled_batch": BATCH,
        "unlabeled_batch": BATCH,
        "patch": (513, 513),
        "optimiser": "sgd",
        "lr": 0.003,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "schedule": "poly",
        "power": 0.9,
        "weak": {"flip": (0.0, 0.5), "rotate90": 0.0, "rotate": (0.0, 0.0), "scale": (1.0, 0.5, 2.0), "crop": True},
    }


def all_presets() -> dict[str, Mapping[str, Any]]:
    """Returns the presets `busi-1-2` ... `udiat-1-8`, each also as `-code` (the released code); `busi` and `udiat` are the
    halves; and the variants `ours` and `printed`."""
    by_name: dict[str, Mapping[str, Any]] = {name: {"options": options} for name, options in VARIANTS.items()}
    for dataset, counts in LABELED.items():
        for share, labeled in zip(SHARES, counts, strict=True):
            paper = {"options": {"slots": 256}, "recipe": recipe(dataset, labeled)}
            by_name[f"{dataset}-{share}"] = paper
            by_name[f"{dataset}-{share}-code"] = {**paper, "options": {"slots": 256, **CODE_OPTIONS}}
        by_name[dataset] = by_name[f"{dataset}-{SHARES[0]}"]
    return by_name
