"""Gradient steps on a copy of the weights, for meta-learning."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from semibench.contracts.errors import UsageError


def inner_step(
    module: nn.Module, loss: Tensor, rate: float, *, clip: float | None = None, first_order: bool = True
) -> dict[str, Tensor]:
    """Takes a gradient step on a copy of the weights, for methods that learn to learn.

    The module is not changed, and the graph of `loss` is kept so that it can still be optimised.

    Args:
        module: the network with weights theta.
        loss: scalar that depends on theta.
        rate: step size.
        clip: largest norm of each parameter's gradient, tensor by tensor (`tf.clip_by_norm`); None: no clipping.
        first_order: treat the gradient as a constant, so that gradients reach theta through the moved weights as the
            identity; otherwise the gradient is differentiated too.

    Returns:
        theta - rate * gradient by parameter name, for `torch.func.functional_call(module, moved, inputs)`. Parameters that
        are frozen or do not take part keep their value.

    Examples:
        >>> net = torch.nn.Linear(2, 1)
        >>> sorted(inner_step(net, net(torch.ones(1, 2)).sum(), rate=0.1))
        ['bias', 'weight']
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


def three_domains(present: Tensor) -> Tensor:
    """Takes the first three domains of a batch: two for meta-training, one for meta-testing.

    Args:
        present: numbers of the domains that have samples in the batch, int64 (N,).

    Returns:
        The first three of them, int64 (3,).

    Raises:
        UsageError: if there are fewer than three.

    Examples:
        >>> three_domains(torch.tensor([2, 0, 1, 3])).tolist()
        [2, 0, 1]
    """
    if len(present) < 3:
        raise UsageError(
            f"meta-learning needs samples of three training domains in each batch, and found {len(present)}: every pool of the "
            "split must hold cases of at least three domains"
        )
    return present[:3]
