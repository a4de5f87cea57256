"""Weak views: geometry that image and label share, and changes of the image's intensities; whole batches, 2D and 3D.

Images (B, C, *spatial) float, labels (B, *spatial) uint8 or int64. Parameters are drawn on the CPU from a given
generator, in one call of fixed size; pixels are processed on the device of the images. Crops, flips and right-angle
turns move pixels and never interpolate them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from semibench.blocks.weak_intensity import weak_intensity
from semibench.contracts.method import IGNORE
from semibench.contracts.recipe import WeakPolicy

Parts = tuple[Tensor, Tensor | None, Tensor | None]
"""Image, label (or None), valid (None: every position)."""

Cut = Callable[[Tensor, Tensor, tuple[int, ...]], Parts]
"""cut(rows (n,), start (n, dims), size): boxes of samples as new tensors, which the caller may change; what lies outside
is image 0, label IGNORE, valid False."""

INSET = 0.15
"""A crop that must contain a voxel keeps it this share of the patch away from its faces, if the image allows."""


@dataclass(frozen=True)
class Geometry:
    """The geometry of a batch of weak views, all tensors on the CPU.

    Each sample is cropped, resampled by its matrix if `moved`, turned by right angles and flipped, in this order.

    Args:
        start: int64 (B, dims), where the crop starts; negative where it is padded.
        matrix: float64 (B, dims, dims), offset from the crop's centre in the output to that in the source, in voxels.
        moved: bool (B,), whether the sample is resampled by its matrix.
        turns: int64 (B,), right angles in `plane`.
        flip: bool (B, dims), axes that are flipped.
        plane: the two spatial axes of turns and rotations.

    Examples:
        >>> draw_geometry(WeakPolicy(), torch.tensor([[8, 8]]), (8, 8), seeded_generator(0)).start
        tensor([[0, 0]])
    """

    start: Tensor
    matrix: Tensor
    moved: Tensor
    turns: Tensor
    flip: Tensor
    plane: tuple[int, int]


def default_plane(dims: int) -> tuple[int, int]:
    """The image plane among the spatial axes: both in 2D, the first two in 3D (RandomRotFlip of SSL4MIS)."""
    return (0, 1) if dims in (2, 3) else _refuse(dims)


def draw_geometry(
    policy: WeakPolicy,
    sizes: Tensor,
    patch: Sequence[int],
    generator: torch.Generator,
    *,
    plane: tuple[int, int] | None = None,
    hold: Tensor | None = None,
) -> Geometry:
    """Draws the weak geometry of a batch.

    Along an axis where the grid is not larger than the patch, or without `policy.crop`, the crop is centred (start =
    floor((n - p) / 2), negative where it is padded). Right-angle turns happen only if the sides of the patch in the plane are
    equal. A scale factor above 1 enlarges.

    Args:
        policy: what is changed, how often and how much.
        sizes: int64 (B, dims), the grid of each sample.
        patch: sides of the view.
        generator: a CPU generator, from which one tensor of fixed size is drawn.
        plane: axes of right-angle turns and small rotations; by default both in 2D and the first two in 3D.
        hold: int64 (B, dims), a voxel that the crop must contain, or -1; None: none.

    Returns:
        The geometry of the batch.

    Raises:
        ValueError: if there are other than 2 or 3 spatial axes and no plane is given.

    Examples:
        >>> draw_geometry(WeakPolicy(), torch.tensor([[64, 64]]), (32, 32), seeded_generator(0)).matrix.shape
        torch.Size([1, 2, 2])
    """
    count, dims = sizes.shape
    plane = default_plane(dims) if plane is None else plane
    r = torch.rand((count, 2 * dims + 6), generator=generator, dtype=torch.float64)
    position, mirror, rest = r[:, :dims], r[:, dims : 2 * dims], r[:, 2 * dims :]
    sides = torch.tensor(tuple(patch), dtype=torch.int64)
    room = sizes - sides
    centred = torch.div(room, 2, rounding_mode="floor")
    low, high = torch.zeros_like(room), room.clamp_min(0)
    if hold is not None:
        inset = (sides * INSET).long()
        first = (hold - sides + 1 + inset).clamp_min(0).minimum(high)
        last = (hold - inset).clamp_min(0).minimum(high)
        held = hold >= 0
        low, high = torch.where(held, first, low), torch.where(held, last, high)
    drawn = (low + (position * (high - low + 1)).long()).minimum(high)
    free = (room > 0) & (torch.tensor(policy.crop) if hold is None else torch.tensor(policy.crop) | (hold >= 0))
    start = torch.where(free, drawn, centred)

    square = patch[plane[0]] == patch[plane[1]]
    turned = rest[:, 0] < (policy.rotate90 if square else 0.0)
    turns = torch.where(turned, 1 + (rest[:, 1] * 3).long().clamp_max(2), 0)
    chance, degrees = policy.rotate
    tilted = (rest[:, 2] < chance) & (degrees != 0)
    angle = torch.where(tilted, (2 * rest[:, 3] - 1) * math.radians(degrees), 0.0)
    chance, least, greatest = policy.scale
    scaled = (rest[:, 4] < chance) & ((least, greatest) != (1.0, 1.0))
    factor = torch.where(scaled, least + (greatest - least) * rest[:, 5], 1.0)
    matrix = torch.eye(dims, dtype=torch.float64).repeat(count, 1, 1)
    a, b = plane
    matrix[:, a, a] = matrix[:, b, b] = angle.cos()
    matrix[:, a, b], matrix[:, b, a] = -angle.sin(), angle.sin()
    matrix = matrix / factor[:, None, None]
    flips = mirror < torch.tensor(policy.flip, dtype=torch.float64)
    return Geometry(start, matrix, tilted | scaled, turns, flips, plane)


def apply_geometry(
    cut: Cut, geometry: Geometry, sizes: Tensor, patch: Sequence[int]
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Cuts and transforms the weak views of a batch.

    Crops that are resampled are cut with a margin where their grid reaches beyond the patch, so that their corners show the
    image and not padding.

    Args:
        cut: cut(rows, start, size) returns image (n, C, *size), label (n, *size) or None, and valid (n, *size) or None for
            boxes of the samples `rows` (n,) that start at `start` (n, dims), as new tensors. Outside a sample the image is 0,
            the label IGNORE and valid False.
        geometry: from `draw_geometry`.
        sizes: int64 (B, dims), the grid of each sample.
        patch: sides of the view.

    Returns:
        Image (B, C, *patch), label (B, *patch) or None, and valid, bool (B, *patch).

    Examples:
        >>> sizes = torch.tensor([[8, 8], [8, 8]])
        >>> geometry = draw_geometry(WeakPolicy(), sizes, (4, 4), seeded_generator(0))
        >>> cut = lambda rows, start, size: (torch.zeros(len(rows), 1, *size), None, None)
        >>> apply_geometry(cut, geometry, sizes, (4, 4))[0].shape
        torch.Size([2, 1, 4, 4])
    """
    size = tuple(patch)
    image, label, valid = cut(torch.arange(len(sizes)), geometry.start, size)
    moved = geometry.moved.nonzero()[:, 0]
    if len(moved):
        matrix = geometry.matrix[moved]
        sides = torch.tensor(size, dtype=torch.float64)
        reach = (matrix.abs() @ sides).amax(0)
        beyond = (sizes[moved] - torch.tensor(size)).amax(0).clamp_min(0)
        margin = ((reach - sides) / 2).ceil().long().clamp_min(0).add(1).minimum(beyond)
        larger = tuple(n + 2 * int(m) for n, m in zip(size, margin, strict=True))
        parts = cut(moved, geometry.start[moved] - margin, larger)
        resampled, resampled_label, resampled_valid = resample(*parts, matrix, size)
        rows = moved.to(image.device, non_blocking=True)
        valid = image.new_ones((len(sizes), *size), dtype=torch.bool) if valid is None else valid
        image.index_copy_(0, rows, resampled)
        valid.index_copy_(0, rows, resampled_valid)
        if label is not None and resampled_label is not None:
            label.index_copy_(0, rows, resampled_label)
    image = _turned(image, geometry, lead=2)
    label = None if label is None else _turned(label, geometry, lead=1)
    if valid is None:
        return image, label, image.new_ones((len(sizes), *size), dtype=torch.bool)
    return image, label, _turned(valid, geometry, lead=1)


def resample(
    image: Tensor, label: Tensor | None, valid: Tensor | None, matrix: Tensor, size: Sequence[int]
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Resamples a batch linearly about its centre; labels and validity by the nearest voxel.

    Source voxels that are not valid take no part in the mean (normalised interpolation).

    Args:
        image: float (B, C, *spatial).
        label: integers (B, *spatial), or None.
        valid: bool (B, *spatial); None: all are valid.
        matrix: float64 (B, dims, dims), offset from the centre in the output to that in the source, in voxels.
        size: sides of the output.

    Returns:
        Image (B, C, *size), label (B, *size) or None, and valid, bool (B, *size). Outside the source the image is 0, the label
        IGNORE and valid False.

    Examples:
        >>> resample(torch.rand(1, 3, 8, 8), None, None, torch.eye(2, dtype=torch.float64)[None], (4, 4))[0].shape
        torch.Size([1, 3, 4, 4])
    """
    source, dims = image.shape[2:], image.ndim - 2
    scale = matrix.new_tensor([[p / s for p in size] for s in source])
    theta = torch.cat([(matrix * scale).flip(1, 2), matrix.new_zeros(len(matrix), dims, 1)], dim=2)
    theta = theta.to(image.dtype).to(image.device, non_blocking=True)
    grid = F.affine_grid(theta, [len(image), 1, *size], align_corners=False)
    inside = (grid.abs() <= 1).all(-1)
    if valid is None:
        result = F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)
    else:
        mask = valid[:, None].to(image.dtype)
        share = F.grid_sample(mask, grid, mode="bilinear", padding_mode="border", align_corners=False)
        result = F.grid_sample(image * mask, grid, mode="bilinear", padding_mode="border", align_corners=False)
        result = result / share.clamp_min(torch.finfo(image.dtype).tiny)
        inside &= F.grid_sample(mask, grid, mode="nearest", padding_mode="border", align_corners=False)[:, 0] > 0.5
    result = torch.where(inside[:, None], result, 0.0)
    if label is not None:
        kind = label.dtype
        label = F.grid_sample(
            label[:, None].to(image.dtype), grid, mode="nearest", padding_mode="border", align_corners=False
        )
        label = torch.where(inside, label[:, 0].to(kind), IGNORE)
    return result, label, inside


def cut_boxes(
    images: Sequence[Tensor], labels: Sequence[Tensor | None] | None, start: Tensor, size: Sequence[int]
) -> Parts:
    """One box of `size` out of each image (C, *spatial), beginning at `start` (n, dims), which may lie outside.

    Returns image (n, C, *size), label (n, *size) or None, and valid, None where every box lies inside.
    """
    size = tuple(size)
    out = images[0].new_zeros((len(images), images[0].shape[0], *size))
    marks = None if labels is None else out.new_full((len(images), *size), IGNORE, dtype=torch.uint8)
    valid = out.new_zeros((len(images), *size), dtype=torch.bool)
    whole = True
    for row, (image, corner) in enumerate(zip(images, start.tolist(), strict=True)):
        source: list[slice] = []
        target: list[slice] = []
        for begin, length, side in zip(corner, size, image.shape[1:], strict=True):
            first, last = max(begin, 0), max(min(begin + length, side), 0)
            source.append(slice(first, last))
            target.append(slice(first - begin, max(last, first) - begin))
        out[row][:, *target] = image[:, *source]
        if marks is not None and labels is not None and (label := labels[row]) is not None:
            marks[row][tuple(target)] = label[tuple(source)]
        valid[row][tuple(target)] = True
        whole &= all(part.stop - part.start == length for part, length in zip(target, size, strict=True))
    return out, marks, None if whole else valid


def weak_view(
    image: Tensor,
    label: Tensor | None = None,
    *,
    policy: WeakPolicy,
    generator: torch.Generator,
    patch: Sequence[int] | None = None,
    plane: tuple[int, int] | None = None,
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Draws a weak view of a batch: crops, flips, turns and small rotations that image and label share; then, where the policy
    has any, changes of the image's intensities (`weak_intensity`).

    Every sample has changes of its own. The input is not changed, and the same state of the generator gives the same digits
    on the CPU.

    Args:
        image: float (B, C, *spatial).
        label: integers (B, *spatial), or None.
        policy: what is changed, how often and how much.
        generator: a CPU generator.
        patch: sides of the view; by default those of the image.
        plane: axes of turns and rotations; by default both in 2D and the first two in 3D.

    Returns:
        Image (B, C, *patch), label (B, *patch) or None, and valid, bool (B, *patch), False where padded.

    Examples:
        >>> weak_view(torch.rand(2, 1, 8, 8), policy=WeakPolicy(), generator=seeded_generator(0), patch=(4, 4))[0].shape
        torch.Size([2, 1, 4, 4])
    """
    size = tuple(image.shape[2:] if patch is None else patch)
    sizes = torch.tensor(image.shape[2:]).expand(len(image), -1)
    geometry = draw_geometry(policy, sizes, size, generator, plane=plane)

    def cut(rows: Tensor, start: Tensor, box: tuple[int, ...]) -> Parts:
        index = rows.to(image.device, non_blocking=True)
        images = image.index_select(0, index)
        labels = None if label is None else label.index_select(0, index)
        if box == tuple(image.shape[2:]) and not start.any():
            return images, labels, None
        boxes, marks, valid = cut_boxes(list(images), None if labels is None else list(labels), start, box)
        return boxes, None if marks is None or labels is None else marks.to(labels.dtype), valid

    view, marks, inside = apply_geometry(cut, geometry, sizes, size)
    return weak_intensity(view, policy=policy, generator=generator, valid=inside), marks, inside


def _turned(values: Tensor, geometry: Geometry, lead: int) -> Tensor:
    """Right-angle turns, then flips, of (B, ..., *spatial) with `lead` axes before the spatial ones; exact, in place."""
    a, b = (axis + lead for axis in geometry.plane)
    for quarter in (1, 2, 3):
        rows = (geometry.turns == quarter).nonzero()[:, 0]
        if len(rows):
            rows = rows.to(values.device, non_blocking=True)
            values.index_copy_(0, rows, torch.rot90(values.index_select(0, rows), quarter, (a, b)))
    for axis in range(geometry.flip.shape[1]):
        rows = geometry.flip[:, axis].nonzero()[:, 0]
        if len(rows):
            rows = rows.to(values.device, non_blocking=True)
            values.index_copy_(0, rows, values.index_select(0, rows).flip(axis + lead))
    return values


def _refuse(dims: int) -> tuple[int, int]:
    raise ValueError(f"views are 2D or 3D; got {dims} spatial axes")
