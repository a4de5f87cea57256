"""Agreement and certainty of softmax maps: squared error, entropy, divergences. Logits (B, K, *spatial), K >= 2.

Values are computed in at least float32; those of nothing that counts are 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from semibench.blocks.losses import masked_mean, widened


def softmax_mse(logits: Tensor, target: Tensor, *, valid: Tensor | None = None) -> Tensor:
    """Mean of (softmax(z) - q)^2 over samples, classes and positions.

    Args:
        logits: (B, K, *spatial).
        target: q, probabilities (B, K, *spatial), with or without gradient as the method needs it.
        valid: bool (B, *spatial), False where nothing counts; None: everything counts.

    Returns:
        A scalar.

    Examples:
        >>> softmax_mse(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4).softmax(1))
        tensor(0.)
    """
    square = (widened(logits).softmax(1) - widened(target)).square()
    return masked_mean(square, None if valid is None else valid.unsqueeze(1))


def entropy(logits: Tensor, *, valid: Tensor | None = None) -> Tensor:
    """Mean over positions of the entropy H(p) = -sum_c p_c ln p_c, p = softmax(z).

    Args:
        logits: (B, K, *spatial).
        valid: bool (B, *spatial), False where nothing counts; None: everything counts.

    Returns:
        A scalar, in nats.

    Examples:
        >>> entropy(torch.zeros(2, 3, 4, 4))
        tensor(1.0986)
    """
    return masked_mean(voxel_entropy(logits), valid)


def voxel_entropy(logits: Tensor) -> Tensor:
    """Entropy H(p) = -sum_c p_c ln p_c of each position, p = softmax(z).

    Args:
        logits: (B, K, *spatial).

    Returns:
        (B, *spatial), in nats.

    Examples:
        >>> voxel_entropy(torch.zeros(2, 3, 4, 4)).shape
        torch.Size([2, 4, 4])
    """
    log_p = widened(logits).log_softmax(1)
    return -(log_p.exp() * log_p).sum(1)


def voxel_kl(logits: Tensor, target: Tensor) -> Tensor:
    """KL divergence KL(q || p) = sum_c q_c ln(q_c / p_c) of each position, p = softmax(logits), q = softmax(target).

    Args:
        logits: of p, (B, K, *spatial); p is pulled towards q.
        target: logits of q, (B, K, *spatial). Detach them if they must not move.

    Returns:
        (B, *spatial), in nats.

    Examples:
        >>> voxel_kl(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)).shape
        torch.Size([2, 4, 4])
    """
    log_p, log_q = widened(logits).log_softmax(1), widened(target).log_softmax(1)
    return (log_q.exp() * (log_q - log_p)).sum(1)


def kl_divergence(logits: Tensor, target: Tensor, *, valid: Tensor | None = None) -> Tensor:
    """Mean over positions of KL(q || p) = sum_c q_c ln(q_c / p_c), p = softmax(logits), q = softmax(target).

    Args:
        logits: of p, (B, K, *spatial); p is pulled towards q.
        target: logits of q, (B, K, *spatial). Detach them if they must not move.
        valid: bool (B, *spatial), False where nothing counts; None: everything counts.

    Returns:
        A scalar, in nats.

    Examples:
        >>> kl_divergence(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4))
        tensor(0.)
    """
    return masked_mean(voxel_kl(logits, target), valid)


def js_divergence(first: Tensor, second: Tensor, *, valid: Tensor | None = None) -> Tensor:
    """Mean over positions of the Jensen-Shannon divergence of two softmaxes.

    Args:
        first: logits (B, K, *spatial).
        second: logits (B, K, *spatial).
        valid: bool (B, *spatial), False where nothing counts; None: everything counts.

    Returns:
        A scalar, in nats, at most ln 2.

    Examples:
        >>> js_divergence(torch.zeros(2, 3, 4, 4), torch.rand(2, 3, 4, 4)).shape
        torch.Size([])
    """
    mean = log_mean_softmax((first, second))
    halves = [
        (log_p.exp() * (log_p - mean)).sum(1)
        for log_p in (widened(first).log_softmax(1), widened(second).log_softmax(1))
    ]
    return masked_mean(0.5 * (halves[0] + halves[1]), valid)


def log_mean_softmax(logits: Sequence[Tensor]) -> Tensor:
    """The logarithm of the mean of several softmaxes: what a predictor returns that averages networks.

    Its softmax is the mean.

    Args:
        logits: tensors (B, K, *spatial), one for each network.

    Returns:
        (B, K, *spatial).

    Examples:
        >>> log_mean_softmax([torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)]).shape
        torch.Size([2, 3, 4, 4])
    """
    logs = torch.stack([widened(z).log_softmax(1) for z in logits])
    return logs.logsumexp(0) - torch.tensor(float(len(logits))).log().item()
