"""Switch a network, or its dropout, to eval mode for a prediction within a training step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd


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


@contextmanager
def without_dropout(module: nn.Module) -> Iterator[None]:
    """Turns dropout off for the length of a `with` block; everything else stays in the mode it has.

    Use it where a network in training mode predicts labels: batch normalisation then still uses the statistics of the batch
    (and moves the running ones), but no channel is missing. Dropout of .5 in front of a head of four channels drops all
    four in one of sixteen predictions.

    Args:
        module: the network to predict with.

    Yields:
        Nothing.

    Examples:
        >>> net = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.BatchNorm1d(2))
        >>> with without_dropout(net): (net[0].training, net[1].training)
        (False, True)
        >>> net[0].training
        True
    """
    before = {part: part.training for part in module.modules() if isinstance(part, _DropoutNd)}
    for part in before:
        part.eval()
    try:
        yield
    finally:
        for part, training in before.items():
            part.training = training
