"""Parts of critics that estimate a Wasserstein distance: what keeps their slope bounded."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> Tensor:
    """Gradient penalty of WGAN-GP (Gulrajani et al., NeurIPS 2017): mean over samples of (|grad_x D(x)| - 1)^2.

    x = e real + (1 - e) fake with e uniform in [0, 1], one for each sample. The norm is over all elements of a sample. The
    gradient stays in the graph, so that the penalty trains the critic; `real` and `fake` are constants.

    Args:
        critic: (B, ...) -> scores, (B,) or (B, 1, *patches). The score of a sample is the mean over its patches.
        real: (B, ...).
        fake: of the same shape; extra samples of the longer batch are left out.

    Returns:
        A scalar.

    Examples:
        >>> penalty = gradient_penalty(lambda x: 3.0 * x.flatten(1).sum(1), torch.zeros(2, 1), torch.ones(2, 1))
        >>> penalty.item()
        4.0
    """
    count = min(len(real), len(fake))
    real, fake = real[:count].detach().float(), fake[:count].detach().float()
    share = torch.rand((count, *[1] * (real.ndim - 1)), device=real.device)
    between = torch.lerp(fake, real, share).requires_grad_()
    with torch.enable_grad():
        scores = critic(between).float().reshape(count, -1).mean(1)
        (slope,) = torch.autograd.grad(scores.sum(), between, create_graph=True)
    return (slope.flatten(1).norm(dim=1) - 1.0).square().mean()


@torch.no_grad()
def clip_weights(module: nn.Module, bound: float) -> None:
    """Clips every parameter to [-bound, bound], as the critics of the first Wasserstein GAN need it after each step.

    Args:
        module: the critic, changed in place.
        bound: greatest absolute value.

    Returns:
        Nothing.

    Examples:
        >>> layer = torch.nn.Linear(1, 1)
        >>> _ = torch.nn.init.constant_(layer.weight, 0.05)
        >>> clip_weights(layer, 0.03)
        >>> round(layer.weight.item(), 4)
        0.03
    """
    for parameter in module.parameters():
        parameter.clamp_(-bound, bound)
