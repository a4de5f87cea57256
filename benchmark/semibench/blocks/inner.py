"""Gradient steps on a copy of the weights, for methods that learn to learn."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def inner_step(
    module: nn.Module, loss: Tensor, rate: float, *, clip: float | None = None, first_order: bool = True
) -> dict[str, Tensor]:
    """theta - rate * grad loss, by parameter name, for `torch.func.functional_call(module, moved, inputs)`.

    The module itself is not changed and the graph of `loss` is kept, so that it can still be optimised. first_order: the
    gradient is a constant, so that gradients through the moved weights reach theta as the identity; else they are
    differentiated too. clip: greatest norm of each parameter's gradient, per tensor (`tf.clip_by_norm`). Parameters that
    are frozen or don't take part keep their value.
    """
    named = {name: p for name, p in module.named_parameters() if p.requires_grad}
    gradients = torch.autograd.grad(
        loss, list(named.values()), create_graph=not first_order, retain_graph=True, allow_unused=True
    )
    moved: dict[str, Tensor] = {}
    for (name, parameter), found in zip(named.items(), gradients, strict=True):
        if found is None:
            moved[name] = parameter
            continue
        gradient = found.detach() if first_order else found
        if clip is not None:
            gradient = gradient * (clip / gradient.norm().clamp(min=clip))
        moved[name] = parameter - rate * gradient
    return moved
