"""The supervised loss of MC-Net and of the methods that were built on its code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from semibench.blocks import Supervision, soft_dice, supervised_loss

LabelLoss = Literal["dice", Supervision]
"""Names of `label_loss`."""
SMOOTH = 1e-8


def label_loss(outputs: Sequence[Tensor], target: Tensor, kind: LabelLoss) -> Tensor:
    """Sum of the supervised losses of several predictions, logits (B, K, *spatial).

    "dice" is 1 - (2 sum p y + s) / (sum p + sum y + s), s = 1e-8, with sums over the batch and without squares, averaged over
    the foreground classes. The other names are those of `supervised_loss`.
    """
    if kind == "dice":
        each = [soft_dice(z, target, squared=False, background=False, smooth=SMOOTH) for z in outputs]
    else:
        each = [supervised_loss(z, target, kind) for z in outputs]
    return torch.stack(each).sum()
