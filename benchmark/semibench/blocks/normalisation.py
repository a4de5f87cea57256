"""The normalisation layers of a network: batch, instance or group norm."""

from __future__ import annotations

import math
from typing import Literal, TypeVar

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

Part = TypeVar("Part", bound=nn.Module)

Norm = Literal["batch", "instance", "group"]
"""Kinds of normalisation. Only "batch" keeps running statistics, which inference then uses."""

GROUP_CHANNELS = 8
"""Channels that share their statistics under group norm, where the channel count allows it."""


class _InstanceNorm2d(nn.InstanceNorm2d):
    """Instance norm, computed as group norm of one channel a group where that kernel is the faster one."""

    def forward(self, input: Tensor) -> Tensor:
        return _instance_norm(self, input)


class _InstanceNorm3d(nn.InstanceNorm3d):
    """Instance norm, computed as group norm of one channel a group where that kernel is the faster one."""

    def forward(self, input: Tensor) -> Tensor:
        return _instance_norm(self, input)


def _instance_norm(layer: nn.InstanceNorm2d | nn.InstanceNorm3d, maps: Tensor) -> Tensor:
    """Maps (B, C, *spatial) -> the same, each channel of each image normalised by its own mean and variance."""
    if maps.is_contiguous():
        return functional.group_norm(maps, layer.num_features, layer.weight, layer.bias, layer.eps)
    # on a CPU, group norm is slower than instance norm for channels-last maps
    return functional.instance_norm(maps, weight=layer.weight, bias=layer.bias, eps=layer.eps)


_INSTANCE: dict[type[nn.Module], type[nn.InstanceNorm2d | nn.InstanceNorm3d]] = {
    nn.BatchNorm2d: _InstanceNorm2d,
    nn.BatchNorm3d: _InstanceNorm3d,
}


def exchange_batch_norm(module: Part, norm: Norm) -> Part:
    """Replaces the batch normalisation of a network by another kind, in place.

    Instance and group norm have no running statistics: training and inference compute the same function, whatever images
    the auxiliary passes of a method see. Scale and shift are those of the batch norm. No random number is drawn.

    Args:
        module: a network, or a part of one. Batch norms of one dimension stay: they see vectors, which have no instance
            statistics.
        norm: "batch" leaves everything as it is; "instance" normalises each channel of each image by itself
            (Ulyanov et al., 2016); "group" normalises groups of 8 channels, or of their greatest common divisor with the
            channel count (Wu & He, ECCV 2018).

    Returns:
        The same module.

    Examples:
        >>> exchange_batch_norm(torch.nn.Sequential(torch.nn.BatchNorm2d(4)), "instance")[0].track_running_stats
        False
    """
    if norm == "batch":
        return module
    for name, part in list(module.named_children()):
        if isinstance(part, _BatchNorm):
            setattr(module, name, _layer(part, norm))
        else:
            exchange_batch_norm(part, norm)
    return module


def _layer(norm_layer: _BatchNorm, norm: Norm) -> nn.Module:
    """Returns the layer that takes the place of a batch norm."""
    kind, channels = type(norm_layer), norm_layer.num_features
    if kind not in _INSTANCE:
        return norm_layer
    if norm == "instance":
        layer: nn.Module = _INSTANCE[kind](channels, eps=norm_layer.eps, affine=norm_layer.affine)
    else:
        groups = channels // math.gcd(GROUP_CHANNELS, channels)
        layer = nn.GroupNorm(groups, channels, eps=norm_layer.eps, affine=norm_layer.affine)
    # scale and shift as the network set them: some start residual branches at a scale of 0
    layer.load_state_dict(dict(norm_layer.named_parameters()))
    return layer
