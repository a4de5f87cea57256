"""The loss on the pixels whose pseudo-labels are reliable (U2PL, eq. 5)."""

from __future__ import annotations

from torch import Tensor

from semibench import IGNORE
from semibench.blocks import cross_entropy


def reweighted(logits: Tensor, label: Tensor, reliable: Tensor) -> Tensor:
    """P / P_c mean CE over the P_c reliable of P labeled pixels; label (B, H, W) with IGNORE, bool (B, H, W)."""
    share = (label != IGNORE).sum() / reliable.sum().clamp(min=1)
    return share * cross_entropy(logits, label.masked_fill(~reliable, IGNORE))
