"""What inference knows about a network, and its probabilities for a batch. A predictor is a callable from images to logits."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from semibench.evaluation.geometry import both_sides

Predictor = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Network:
    """What inference needs to know about a network."""

    dims: int
    """2 or 3; 2 on volumes means slices."""
    patch: tuple[int, ...]
    """Spatial size of its training images."""
    divisor: int = 1
    """Every side of its input must be a multiple of this number."""
    slice_axis: int | None = None
    """The axis along which a 2D network slices volumes."""
    device: torch.device | str = "cpu"
    """The device that it is on."""
    batch: int = 8
    """Number of windows, slices or images in one forward pass."""
    slab: int = 1
    """Adjacent slices that a 2D network sees as channels (the first and last are repeated at the ends), as in training."""
    whole_cases: bool = False
    """Whether the predictors take whole cases (see `Method.whole_cases`), so that windows, slices and flips don't apply."""


def probabilities(predictor: Predictor, images: Tensor, divisor: int = 1, flips: bool = False) -> Tensor:
    """Apply a predictor to images, padded symmetrically to the divisor by repeating edges, and crop back.

    Args:
        predictor: images to logits.
        images: (B, C, *spatial).
        divisor: every side of the predictor's input becomes a multiple of it.
        flips: average over all flips of the spatial axes.

    Returns:
        float32 (B, K, *spatial).

    Raises:
        ValueError: if the predictor returns another shape.
    """
    size = images.shape[2:]
    padding = [both_sides(-n % divisor) for n in size]
    padded = images
    if any(low or high for low, high in padding):
        padded = F.pad(images, [n for pair in reversed(padding) for n in pair], mode="replicate")
    crop = (slice(None), slice(None), *(slice(low, low + n) for (low, _), n in zip(padding, size, strict=True)))
    axes = range(2, images.ndim)
    subsets = [c for n in range(len(axes) + 1) for c in itertools.combinations(axes, n)] if flips else [()]
    total: Tensor | None = None
    for flipped in subsets:
        found = checked(predictor, padded.flip(flipped) if flipped else padded).float().softmax(dim=1)
        found = found.flip(flipped) if flipped else found
        total = found if total is None else total + found
    assert total is not None
    return (total / len(subsets) if flips else total)[crop]


def checked(predictor: Predictor, images: Tensor) -> Tensor:
    """Return the logits of a predictor; raise ValueError unless they are (B, K >= 2, *spatial) for images (B, C, *spatial)."""
    logits = predictor(images)
    fits = isinstance(logits, Tensor) and logits.ndim == images.ndim
    if not fits or logits.shape[0] != images.shape[0] or logits.shape[2:] != images.shape[2:] or logits.shape[1] < 2:
        returned = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        expected = f"({images.shape[0]}, K >= 2, {', '.join(map(str, images.shape[2:]))})"
        raise ValueError(f"expected logits {expected} for images {tuple(images.shape)}; got {returned}")
    return logits
