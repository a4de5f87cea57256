"""Cut a case into the pieces that a network sees (whole image, slices, windows), and put their probabilities together again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from semibench.contracts.errors import UnsupportedError
from semibench.contracts.metric import Inference
from semibench.evaluation.geometry import both_sides, gaussian, resize, window_corners
from semibench.evaluation.network import Network


class Pieces(ABC):
    """The pieces of one case under one inference.

    Two inferences of a case give equal keys to equal pieces, so that these pass through the network once.
    """

    keys: Sequence[Any]
    """Sortable; their order is that in which `Blend.add` takes the pieces."""

    @abstractmethod
    def cut(self, key: Hashable) -> Tensor:
        """Return a piece, (C, *size); it may share memory with the case."""

    @abstractmethod
    def blend(self) -> Blend:
        """Return a place to put one predictor's probabilities together."""


class Blend(ABC):
    """The probabilities of one predictor for one case, as far as they are known."""

    @abstractmethod
    def add(self, key: Any, probabilities: Tensor) -> None:
        """Take the probabilities of a piece, (K, *size)."""

    @abstractmethod
    def result(self) -> Tensor:
        """Return the probabilities of the case, (K, *spatial), after all pieces came."""


def pieces_of(image: Tensor, plan: Inference, network: Network) -> Pieces:
    """Cut a case (C, *spatial) as a resolved inference says. Raise UnsupportedError if its slices have no axis."""
    if network.whole_cases or plan.mode == "whole":
        return WholeImage(image)
    return (Slices if plan.mode == "slices" else Windows)(image, plan, network)


class WholeImage(Pieces):
    """The case itself."""

    keys = ((),)

    def __init__(self, image: Tensor) -> None:
        self.image = image

    def cut(self, key: Hashable) -> Tensor:
        return self.image

    def blend(self) -> Blend:
        return _Stack(None, None, "")


class Slices(Pieces):
    """The slices of a volume along the network's axis, each resized to the patch and back."""

    def __init__(self, image: Tensor, plan: Inference, network: Network) -> None:
        if network.slice_axis is None:
            raise UnsupportedError("a 2D network on volumes needs a slice axis; the data set's card names none")
        self.axis = network.slice_axis % (image.ndim - 1)
        stack = image.movedim(self.axis + 1, 0)
        self.size, self.how = tuple(stack.shape[2:]), plan.resize
        if network.slab > 1:
            offsets = torch.arange(network.slab) - network.slab // 2
            rows = (torch.arange(len(stack))[:, None] + offsets).clamp(0, len(stack) - 1)
            stack = stack[rows].flatten(1, 2)
        self.stack, self.patch = stack, network.patch
        # where nothing is resized, all ways to resize have the same pieces
        resized = plan.resize if self.size != tuple(network.patch) else ""
        self.keys = [(index, resized) for index in range(len(stack))]

    @cached_property
    def resized(self) -> Tensor:
        return resize(self.stack, self.patch, self.how)

    def cut(self, key: Any) -> Tensor:
        return self.resized[key[0]]

    def blend(self) -> Blend:
        return _Stack(self.axis, self.size, self.how)


class _Stack(Blend):
    """Slices that are stacked along an axis; without an axis a single image."""

    def __init__(self, axis: int | None, size: Sequence[int] | None, how: str) -> None:
        self.axis, self.size, self.how = axis, size, how
        self.parts: list[Tensor] = []

    def add(self, key: Any, probabilities: Tensor) -> None:
        self.parts.append(probabilities if self.size is None else resize(probabilities[None], self.size, self.how)[0])

    def result(self) -> Tensor:
        return self.parts[0] if self.axis is None else torch.stack(self.parts, dim=self.axis + 1)


class Windows(Pieces):
    """Overlapping patches of a case; the result is their weighted mean.

    A case smaller than the patch is padded with 0, symmetrically (the odd voxel is at the end).
    """

    def __init__(self, image: Tensor, plan: Inference, network: Network) -> None:
        size, self.patch = tuple(image.shape[1:]), network.patch
        if len(self.patch) != len(size):
            raise ValueError(f"expected a patch of {len(size)} sides for an image of size {size}; got {self.patch}")
        padding = [both_sides(max(p - n, 0)) for p, n in zip(self.patch, size, strict=True)]
        if any(low or high for low, high in padding):
            image = F.pad(image, [n for pair in reversed(padding) for n in pair])
        self.image = image
        self.crop = (slice(None), *(slice(low, low + n) for (low, _), n in zip(padding, size, strict=True)))
        self.blended = plan.blend
        self.keys = window_corners(tuple(image.shape[1:]), self.patch, plan)

    def box(self, corner: Sequence[int]) -> tuple[slice, ...]:
        """Return where a window lies in the padded case."""
        return tuple(slice(c, c + p) for c, p in zip(corner, self.patch, strict=True))

    @cached_property
    def weight(self) -> Tensor:
        device = self.image.device
        return (
            gaussian(self.patch, device=device) if self.blended == "gaussian" else torch.ones(self.patch, device=device)
        )

    @cached_property
    def norm(self) -> Tensor:
        """The sum of the weights at each voxel of the padded case: the same for all predictors."""
        norm = torch.zeros(self.image.shape[1:], device=self.image.device)
        for corner in self.keys:
            norm[self.box(corner)] += self.weight
        return norm

    def cut(self, key: Any) -> Tensor:
        return self.image[(slice(None), *self.box(key))]

    def blend(self) -> Blend:
        return _Mean(self)


class _Mean(Blend):
    """The weighted mean of windows."""

    def __init__(self, windows: Windows) -> None:
        self.windows = windows
        self.total: Tensor | None = None

    def add(self, key: Any, probabilities: Tensor) -> None:
        if self.total is None:
            sides = self.windows.image.shape[1:]
            self.total = torch.zeros((probabilities.shape[0], *sides), device=probabilities.device)
        self.total[(slice(None), *self.windows.box(key))] += probabilities * self.windows.weight

    def result(self) -> Tensor:
        assert self.total is not None
        return self.total.div_(self.windows.norm)[self.windows.crop]
