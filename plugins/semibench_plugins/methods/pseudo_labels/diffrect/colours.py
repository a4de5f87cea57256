"""Label maps as pictures, and how far two label maps are apart."""

from __future__ import annotations

import torch
from torch import Tensor

from semibench import IGNORE
from semibench.blocks import one_hot

CORNERS = (
    (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 1.0, 0.0), (1.0, 0.0, 1.0), (0.0, 1.0, 1.0), (1.0, 1.0, 1.0),
)  # fmt: skip
"""Red, green and blue (DiffRect), then the other corners of the colour cube for further classes."""


def palette(kinds: int) -> Tensor:
    """Returns the colours (K, 3) of the classes: black for the background, white for a single foreground class, else red, green,
    blue and so on, each half as bright after seven classes."""
    if kinds == 2:
        return torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    count = len(CORNERS)
    bright = torch.tensor(CORNERS)
    colours = [bright[n % count] * 0.5 ** (n // count) for n in range(kinds - 1)]
    return torch.stack([torch.zeros(3), *colours])


def coloured(label: Tensor, colours: Tensor) -> Tensor:
    """(B, H, W), colours (K, 3) -> (B, 3, H, W); black where the label is IGNORE."""
    return colours[label.masked_fill(label == IGNORE, 0)].movedim(-1, 1)


def label_distance(first: Tensor, second: Tensor, kinds: int, *, smooth: float = 1e-5) -> Tensor:
    """Dice loss of two label maps (B, H, W), in [0, 1): mean over classes of 1 - (2 |A and B| + s) / (|A| + |B| + s), counted
    over the batch where neither is IGNORE."""
    counted = (first != IGNORE) & (second != IGNORE)
    a, b = (one_hot(label.masked_fill(~counted, IGNORE), kinds) for label in (first, second))
    over = (0, 2, 3)
    return (1.0 - (2.0 * (a * b).sum(over) + smooth) / (a.sum(over) + b.sum(over) + smooth)).mean()
