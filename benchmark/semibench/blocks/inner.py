"""Gradient steps on a copy of the weights, for meta-learning."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def inner_step(
    module: nn.Module, loss: Tensor, rate: float, *, clip: float | None = None, first_order: bool = True
) -> dict[str, Tensor]:
    """Compute theta - rate * grad loss without changing the module.

    The graph of `loss` is kept, so that the loss can still be optimised. Parameters that the loss does not depend on keep
    their value.

    Args:
        module: the network with the weights theta.
        loss: scalar with a graph to the weights.
        rate: step size.
        clip: largest norm of the gradient of each parameter (`tf.clip_by_norm`); None: no limit.
        first_order: treat the gradient as a constant, so that gradients through the moved weights reach theta unchanged
            (first-order MAML); otherwise the gradient is differentiated too.

    Returns:
        Moved weights by name, of the parameters that require gradients, for
        `torch.func.functional_call(module, moved, inputs)`.
    """
    named = {name: p for name, p in module.named_parameters() if p.requires_grad}
    gradients = torch.autograd.grad(
        loss, list(named.values()), create_graph=not first_order, retain_graph=True, allow_unused=True
    )
    moved: dict[str, Tensor] = {}
    for (name, parameter), computed in zip(named.items(), gradients, strict=True):
        if computed is None:
            moved[name] = parameter
            continue
        gradient = computed.detach() if first_order else computed
        if clip is not None:
            gradient = gradient * (clip / gradient.norm().clamp(min=clip))
        moved[name] = parameter - rate * gradient
    return moved
