"""Passes over whole images and over changed ones that leave running statistics to the whole images."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from semibench.blocks.running_statistics import frozen_statistics


def whole_and_changed(
    network: nn.Module,
    whole: Tensor,
    changed: Tensor,
    *,
    joint: bool = False,
    forward: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Passes whole images, then changed ones (mixed, masked, noised) under frozen running statistics.

    Inference normalises with the running statistics, so what isn't tested shouldn't move them.

    Args:
        network: whose statistics are meant.
        whole: (B, C, *spatial), which moves the statistics.
        changed: (B', C, *spatial), which doesn't.
        joint: one pass of both, as many published codes do it; then both move the statistics.
        forward: how `network` is applied; by default it is called.

    Returns:
        What `forward` returns for `whole` and for `changed`.

    Examples:
        >>> one, two = whole_and_changed(torch.nn.Identity(), torch.zeros(2, 1), torch.ones(3, 1))
        >>> len(one), len(two)
        (2, 3)
    """
    forward = network if forward is None else forward
    if joint:
        first, second = forward(torch.cat([whole, changed])).split([len(whole), len(changed)])
        return first, second
    first = forward(whole)
    with frozen_statistics(network):
        return first, forward(changed)
