"""Cross-entropy against pseudo-labels of which only the confident ones count."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from semibench.blocks.losses import widened
from semibench.contracts.method import IGNORE


def confident_cross_entropy(logits: Tensor, label: Tensor, confident: Tensor, *, valid: Tensor | None = None) -> Tensor:
    """Cross-entropy summed over confident positions, divided by the number of all valid ones (UniMatch, AugSeg, CorrMatch).

    A position that is not confident thus counts with loss 0, and the loss grows with the share of confident positions.

    Args:
        logits: (B, K, *spatial).
        label: pseudo-labels (B, *spatial), with IGNORE where nothing counts.
        confident: bool (B, *spatial).
        valid: bool (B, *spatial), False on padding; None: everything is valid.

    Returns:
        A scalar, at least float32; 0 if nothing is confident.

    Examples:
        >>> half = torch.tensor([[True, True, False, False]])
        >>> confident_cross_entropy(torch.zeros(1, 2, 4), torch.zeros(1, 4, dtype=torch.long), half)
        tensor(0.3466)
    """
    counted = confident if valid is None else confident & valid
    target = label.long().masked_fill(~counted, IGNORE)
    total = F.cross_entropy(widened(logits), target, ignore_index=IGNORE, reduction="sum")
    number = label.numel() if valid is None else valid.sum().clamp(min=1)
    return total / number
