"""Which normalisation a network uses, so that the parts beside it use the same."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from semibench.blocks.normalisation import Norm


def norm_of(net: nn.Module) -> Norm:
    """Finds the kind of normalisation of a network, for `exchange_batch_norm` on what a method builds behind it.

    Recipes choose it for the backbone (`networks`). Without this, a batch norm of the method's own would bring back the running
    statistics that a recipe avoids.

    Args:
        net: the network.

    Returns:
        "batch" if any layer is a batch norm, else "instance" or "group" by the first layer of these kinds; "batch" if it has none.

    Examples:
        >>> norm_of(torch.nn.GroupNorm(2, 4))
        'group'
    """
    parts = list(net.modules())
    if any(isinstance(part, _BatchNorm) for part in parts):
        return "batch"
    for part in parts:
        if isinstance(part, _InstanceNorm):
            return "instance"
        if isinstance(part, nn.GroupNorm):
            return "group"
    return "batch"
