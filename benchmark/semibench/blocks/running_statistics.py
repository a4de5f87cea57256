"""Running statistics of batch normalisation: which passes move them, and how to estimate them again."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def _layers(module: nn.Module) -> list[_BatchNorm]:
    """Returns the normalisation layers of a module that keep running statistics."""
    return [part for part in module.modules() if isinstance(part, _BatchNorm) and part.running_mean is not None]


@contextmanager
def frozen_statistics(*modules: nn.Module) -> Iterator[None]:
    """Keeps the running statistics of batch normalisation as they are for the length of a `with` block.

    Use it for passes over images that the tested network never sees: noised, masked or mixed images, label maps with
    noise, adversarial steps. Passes in training mode still normalise with the statistics of their own batch, and
    gradients flow as always. Inference normalises with the running statistics, so only passes over whole images may
    move them.

    Args:
        modules: networks whose statistics stay. Layers that keep no running statistics are left alone.

    Yields:
        Nothing.

    Examples:
        >>> norm = torch.nn.BatchNorm1d(2)
        >>> with frozen_statistics(norm): _ = norm(torch.ones(3, 2))
        >>> norm.running_mean
        tensor([0., 0.])
    """
    before = [(layer, layer.track_running_stats) for module in modules for layer in _layers(module)]
    for layer, _ in before:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer, tracked in before:
            layer.track_running_stats = tracked


@torch.no_grad()
def estimate_statistics(module: nn.Module, batches: Iterable[Tensor]) -> int:
    """Replaces the running statistics of batch normalisation by their mean over the given batches.

    Each batch passes through the module once; only batch normalisation is in training mode meanwhile, so dropout is off.
    The statistics become the plain mean of those of the batches (a momentum of 1 / n). Layers that the passes don't
    reach keep their statistics, and without batches nothing changes.

    Args:
        module: the network; it is called with one batch at a time. Its modes and momenta are restored afterwards.
        batches: images (B, C, *spatial), for example whole training images without random views.

    Returns:
        The number of batches used.

    Examples:
        >>> norm = torch.nn.BatchNorm1d(1)
        >>> estimate_statistics(norm, [torch.full((2, 1), 2.0), torch.full((2, 1), 4.0)])
        2
        >>> norm.running_mean
        tensor([3.])
    """
    layers = _layers(module)
    if not layers:
        return 0
    modes = {part: part.training for part in module.modules()}
    saved = [(layer, layer.momentum, copy.deepcopy(dict(layer.named_buffers()))) for layer in layers]
    module.eval()
    used = 0
    try:
        for batch in batches:
            if not used:
                for layer in layers:
                    layer.train()
                    layer.reset_running_stats()
                    layer.momentum = None  # torch's word for the plain mean of all batches
            module(batch)
            used += 1
    finally:
        for layer, momentum, buffers in saved:
            layer.momentum = momentum
            if not layer.num_batches_tracked:
                layer.load_state_dict(buffers, strict=False)
        for part, training in modes.items():
            part.training = training
    return used
