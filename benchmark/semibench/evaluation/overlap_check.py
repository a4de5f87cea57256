"""The law that the Dice and the IoU of two masks obey."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SMOOTHING = 2e-5
"""How far conventions that add 1e-5 to numerator and denominator may be from Dice = 2 IoU / (1 + IoU)."""


def violates_dice_of_iou(dice: NDArray[np.float64], iou: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where Dice = 2 IoU / (1 + IoU), which holds for any two masks, is violated; never where one of them is NaN.

    Args:
        dice, iou: of the same masks, (N,).
    """
    return np.abs(dice - 2 * iou / (1 + iou)) > SMOOTHING
