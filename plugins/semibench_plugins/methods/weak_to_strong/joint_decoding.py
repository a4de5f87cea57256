"""One pass of the decoder over clean and perturbed features, as in the released code of UniMatch and CorrMatch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from semibench import Backbone


def decoded_together(
    net: Backbone, clean: Sequence[Tensor], perturbed: Sequence[Tensor], size: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Decodes clean and perturbed maps in one pass, in which batch norm normalises both by the statistics of both.

    Args:
        net: the network whose decoder is meant.
        clean: encoder maps (B, C, h, w), finest first.
        perturbed: the perturbed maps of the same images, with the same shapes.
        size: (H, W).

    Returns:
        Logits of the clean and of the perturbed maps, both (B, K, H, W).
    """
    logits = net.decode([torch.cat(pair) for pair in zip(clean, perturbed, strict=True)], size)
    first, second = logits.chunk(2)
    return first, second
