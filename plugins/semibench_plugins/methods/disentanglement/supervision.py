"""The supervised loss of the family, and the settings of M&Ms that its papers share."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from semibench.blocks import cross_entropy, soft_dice


def dice_sum_ce(logits: Tensor, target: Tensor) -> Tensor:
    """Sum over the K classes of 1 - (2 sum p y + .1) / (sum p + sum y + .1), plus the cross-entropy.

    Sums run over batch and positions together. The published codes call their cross-entropy a focal loss, of gamma 0.
    """
    dice = soft_dice(logits, target, squared=False, smooth=0.1)
    return logits.shape[1] * dice + cross_entropy(logits, target)


STILL: dict[str, Any] = {
    "flip": 0.0, "rotate90": 0.0, "rotate": (0.0, 0.0),
    **dict.fromkeys(("scale", "blur", "brightness", "contrast", "gamma"), (0.0, 1.0, 1.0)),
}  # fmt: skip
"""No change of the weak view: SDNet+Aug zooms its labeled images itself, and its code changes nothing else."""
TURNED: dict[str, Any] = {**STILL, "flip": 0.5, "rotate90": 0.5, "rotate": (1.0, 45.0), "blur": (1.0, 0.25, 1.25)}
"""Views of DGNet and vMFNet: flips, turns by any angle, and a blur of each image, as in the loaders of vMFNet's code."""


def mnms_recipe(lr: float, side: int, weak: dict[str, Any]) -> dict[str, Any]:
    """Returns the recipe of the published codes on slices of M&Ms: Adam, gradients clipped at .1 by value, batches of 4 + 4.

    Their learning rate falls when the Dice stops growing; here it falls as a polynomial. Their lengths are counted in epochs
    of lists that were not released; 33000 iterations are those of the table in which the methods are compared.

    Args:
        lr: the learning rate.
        side: of the square patch.
        weak: views.
    """
    return {
        "optimiser": "adam",
        "lr": lr,
        "weight_decay": 0.0,
        "clip_value": 0.1,
        "schedule": "poly",
        "iterations": 33000,
        "labeled_batch": 4,
        "unlabeled_batch": 4,
        "patch": (side, side),
        "weak": weak,
    }
