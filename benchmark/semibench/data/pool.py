"""The training samples as arrays: whole cases, or slices of volumes for a 2D network; labeled samples come first."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import overload

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from semibench.blocks.views import Parts, cut_boxes


class Pool(ABC):
    """Samples 0 .. N - 1, of which the first M have labels."""

    sizes: Tensor
    """int64 (N, dims) on the CPU: the grid of each sample."""
    labeled: int
    """M."""

    @abstractmethod
    def cut(self, rows: Tensor, start: Tensor, size: Sequence[int], *, labels: bool) -> Parts:
        """Cut boxes of `size` at `start` (n, dims) out of the samples `rows` (n,), on the training device; see `cut_boxes`.

        With `labels`, all rows must be labeled.
        """

    @abstractmethod
    def label(self, row: int) -> Tensor:
        """Return the label of a labeled sample, uint8 (*spatial)."""


class StackPool(Pool):
    """Samples with the same grid, in one array on the training device.

    `neighbours`, int64 (N, slab), lists the rows (adjacent slices) that are the channels of a sample; None: the row alone.
    """

    def __init__(self, images: Tensor, labels: Tensor | None, neighbours: Tensor | None = None) -> None:
        self._images, self._labels = images, labels
        self._neighbours = None if neighbours is None else neighbours.to(images.device)
        self._grid = tuple(images.shape[2:])
        self.sizes = torch.tensor(self._grid).expand(len(images), -1)
        self.labeled = 0 if labels is None else len(labels)

    def cut(self, rows: Tensor, start: Tensor, size: Sequence[int], *, labels: bool) -> Parts:
        index = rows.to(self._images.device, non_blocking=True)
        if self._neighbours is None:
            images = self._images.index_select(0, index)
        else:
            images = self._images[self._neighbours.index_select(0, index)].flatten(1, 2)
        marks = self._labels.index_select(0, index) if labels and self._labels is not None else None
        if tuple(size) == self._grid and not start.any():
            return images, marks, None
        return cut_boxes(list(images), None if marks is None else list(marks), start, size)

    def label(self, row: int) -> Tensor:
        if self._labels is None:
            raise LookupError("this pool has no labels")
        return self._labels[row]


class RaggedPool(Pool):
    """Samples with different grids; each box is cut out of its (memory-mapped) array when needed."""

    def __init__(
        self, images: Sequence[Tensor], labels: Sequence[Tensor], sizes: Tensor, device: torch.device | str
    ) -> None:
        self._images, self._labels, self._device = images, labels, device
        self.sizes, self.labeled = sizes, len(labels)

    def cut(self, rows: Tensor, start: Tensor, size: Sequence[int], *, labels: bool) -> Parts:
        numbers = rows.tolist()
        marks = [self._labels[row] for row in numbers] if labels else None
        image, label, valid = cut_boxes([self._images[row] for row in numbers], marks, start, size)
        image = image.to(self._device)
        return (
            image,
            None if label is None else label.to(self._device),
            None if valid is None else valid.to(self._device),
        )

    def label(self, row: int) -> Tensor:
        return self._labels[row]


class _Slices(Sequence[Tensor], ABC):
    """Slices of volumes, read one by one, for pools that do not fit into memory."""

    def __init__(self, volumes: Sequence[Tensor], axis: int, patch: Sequence[int]) -> None:
        """axis: the slice axis as a dimension of the volumes' tensors."""
        self._volumes, self._axis, self._patch = volumes, axis, tuple(patch)
        self._slices = [(v, n) for v, volume in enumerate(volumes) for n in range(volume.shape[axis])]

    def __len__(self) -> int:
        return len(self._slices)

    @overload
    def __getitem__(self, row: int) -> Tensor: ...
    @overload
    def __getitem__(self, row: slice) -> Sequence[Tensor]: ...
    def __getitem__(self, row: int | slice) -> Tensor | Sequence[Tensor]:
        if isinstance(row, slice):
            return [self[n] for n in range(*row.indices(len(self)))]
        number, position = self._slices[row]
        return self._read(self._volumes[number], position)

    @abstractmethod
    def _read(self, volume: Tensor, position: int) -> Tensor: ...


class SliceImages(_Slices):
    """Slices (slab C, *patch) of volumes (C, *spatial)."""

    def __init__(self, volumes: Sequence[Tensor], axis: int, patch: Sequence[int], slab: int) -> None:
        super().__init__(volumes, axis + 1, patch)
        self._offsets = torch.arange(slab) - slab // 2

    def _read(self, volume: Tensor, position: int) -> Tensor:
        positions = (position + self._offsets).clamp(0, volume.shape[self._axis] - 1)
        slices = volume.index_select(self._axis, positions).movedim(self._axis, 0)
        return resize_images(slices, self._patch).flatten(0, 1)


class SliceLabels(_Slices):
    """Label slices (*patch) of label volumes (*spatial)."""

    def _read(self, volume: Tensor, position: int) -> Tensor:
        return resize_labels(volume.select(self._axis, position)[None], self._patch)[0]


def resize_images(images: Tensor, size: Sequence[int]) -> Tensor:
    """Resize (N, C, H, W) to (N, C, *size), linear with aligned pixel centres, as evaluation resizes slices."""
    if tuple(images.shape[2:]) == tuple(size):
        return images
    return F.interpolate(images, tuple(size), mode="bilinear", align_corners=False)


def resize_labels(labels: Tensor, size: Sequence[int]) -> Tensor:
    """Resize uint8 (N, H, W) to (N, *size) by the nearest pixel, with aligned centres."""
    if tuple(labels.shape[1:]) == tuple(size):
        return labels
    return F.interpolate(labels[:, None], tuple(size), mode="nearest-exact")[:, 0]


def slice_pool(
    images: Sequence[Tensor],
    labels: Sequence[Tensor],
    axis: int,
    patch: Sequence[int],
    slab: int,
    device: torch.device | str,
    budget: int,
) -> Pool:
    """Return a pool of the slices of volumes (C, *spatial) along a spatial axis, each resized in-plane to the patch.

    They are held in one array on the device if that takes at most `budget` bytes, else read one by one. The channels of a
    sample are those of `slab` adjacent slices; the first and last slice are repeated at the ends.
    """
    counts = [image.shape[axis + 1] for image in images]
    total = sum(counts)
    needed = int(np.prod(patch)) * total * (images[0].shape[0] * 4 + 1)
    if needed > budget:
        sizes = torch.tensor(tuple(patch)).expand(total, -1)
        stacks = SliceImages(images, axis, patch, slab)
        return RaggedPool(stacks, SliceLabels(labels, axis, patch), sizes, device)
    stack = torch.empty((total, images[0].shape[0], *patch), device=device)
    marks = torch.empty((sum(counts[: len(labels)]), *patch), dtype=torch.uint8, device=device)
    start = 0
    for number, (image, count) in enumerate(zip(images, counts, strict=True)):
        stack[start : start + count] = resize_images(image.movedim(axis + 1, 0), patch).to(device)
        if number < len(labels):
            marks[start : start + count] = resize_labels(labels[number].movedim(axis, 0), patch).to(device)
        start += count
    neighbours = None
    if slab > 1:
        offsets = torch.arange(slab) - slab // 2
        first = np.repeat(np.cumsum([0, *counts[:-1]]), counts)
        last = np.repeat(np.cumsum(counts) - 1, counts)
        rows = torch.arange(total)[:, None] + offsets
        neighbours = rows.maximum(torch.from_numpy(first)[:, None]).minimum(torch.from_numpy(last)[:, None])
    return StackPool(stack, marks if labels else None, neighbours)


def case_pool(images: Sequence[Tensor], labels: Sequence[Tensor], device: torch.device | str, budget: int) -> Pool:
    """Return a pool of whole cases.

    Cases with the same grid that fit into `budget` bytes are held in one array on the device. Otherwise each is an array of
    its own: on a device other than the CPU if they fit, else in the memory-mapped files.
    """
    needed = sum(image.numel() * 4 for image in images) + sum(label.numel() for label in labels)
    sizes = torch.tensor([tuple(image.shape[1:]) for image in images], dtype=torch.int64)
    if needed <= budget and len({tuple(image.shape) for image in images}) == 1:
        stack = torch.empty((len(images), *images[0].shape), device=device)
        for row, image in enumerate(images):
            stack[row] = image.to(device)
        marks = torch.stack([label.to(device) for label in labels]) if labels else None
        return StackPool(stack, marks)
    if needed <= budget and torch.device(device).type != "cpu":
        images, labels = [image.to(device) for image in images], [label.to(device) for label in labels]
    return RaggedPool(images, labels, sizes, device)
