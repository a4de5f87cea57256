"""Switch a network to eval mode for a prediction within a training step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Run the block with the module in eval mode and without a graph; then restore the mode of every part.

    Running statistics are used, but not changed.

    Args:
        module: the network.
    """
    before = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in before.items():
            part.training = training
