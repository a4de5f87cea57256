"""How often classes occur, and weights that balance them."""

from __future__ import annotations

import torch
from torch import Tensor

from semibench.contracts.method import IGNORE


@torch.no_grad()
def class_counts(labels: Tensor, classes: int) -> Tensor:
    """Counts the positions of each class, without ignored ones.

    Args:
        labels: true or predicted labels of any shape, with IGNORE where nothing counts.
        classes: K.

    Returns:
        float32 (K,).

    Examples:
        >>> class_counts(torch.tensor([[0, 0, 2, 255]]), classes=3)
        tensor([2., 0., 1.])
    """
    return torch.bincount(labels[labels != IGNORE].long(), minlength=classes)[:classes].float()


@torch.no_grad()
def inverse_frequency(counts: Tensor, exponent: float = 1.0) -> Tensor:
    """Weights of classes by how rare they are: w_k = (max_j n_j / n_k)^exponent.

    A class that doesn't occur has the weight of the rarest one that does. CLD weights its losses so, with exponent 1/3.

    Args:
        counts: n, positions of each class (K,).
        exponent: 0 gives every class the weight 1.

    Returns:
        float32 (K,), 1 for the most frequent class.

    Raises:
        ValueError: if no class occurs.

    Examples:
        >>> inverse_frequency(torch.tensor([900.0, 90.0, 0.0]))
        tensor([ 1., 10., 10.])
    """
    there = counts > 0
    if not bool(there.any()):
        raise ValueError("inverse_frequency: expected positions of at least one class, got none; look at the labels")
    rarest = counts[there].min()
    return (counts.max() / torch.where(there, counts, rarest)).float() ** exponent
