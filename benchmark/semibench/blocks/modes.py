"""Switch a network to eval mode for a prediction within a training step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Puts a module into eval mode and disables gradients for the length of a `with` block.

    Running statistics are used but not changed. Afterwards every part of the module is in the mode it had before.

    Args:
        module: the network to predict with.

    Yields:
        Nothing.

    Examples:
        >>> net = torch.nn.Dropout(0.5)
        >>> with evaluating(net): net(torch.ones(3))
        tensor([1., 1., 1.])
    """
    before = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in before.items():
            part.training = training
