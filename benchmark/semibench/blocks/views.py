"""Views: one geometric weak view, and intensity-only strong views that share its geometry; whole batches, 2D and 3D.

Images are float (B, C, *spatial), labels uint8 or int64 (B, *spatial). Parameters are drawn on the CPU from a given
generator, in one call of fixed size; pixels are processed on the device of the images. Crops, flips and right-angle turns
move pixels and never interpolate them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from semibench.contracts.method import IGNORE
from semibench.contracts.recipe import StrongPolicy, WeakPolicy

Parts = tuple[Tensor, Tensor | None, Tensor | None]
"""Image, label (or None), valid (None: every position)."""

Cut = Callable[[Tensor, Tensor, tuple[int, ...]], Parts]
"""cut(rows (n,), start (n, dims), size) -> boxes of samples as new tensors, which the caller may change. Outside the sample
the image is 0, the label IGNORE, and valid False."""

INSET = 0.15
"""A crop that must contain a voxel keeps it this share of the patch away from its faces, if the image allows."""


@dataclass(frozen=True)
class Geometry:
    """The geometric change of each sample of a batch; all tensors are on the CPU.

    The steps are, in this order: crop, resample, turn, flip.
    """

    start: Tensor
    """int64 (B, dims): where the crop starts, in voxels."""
    matrix: Tensor
    """float64 (B, dims, dims): output offset from the crop's centre -> source offset, in voxels."""
    moved: Tensor
    """bool (B,): whether the sample is resampled by its matrix."""
    turns: Tensor
    """int64 (B,): number of right-angle turns in `plane`."""
    flip: Tensor
    """bool (B, dims): the axes that are flipped."""
    plane: tuple[int, int]
    """The spatial axes of the image plane."""


def default_plane(dims: int) -> tuple[int, int]:
    """Return the spatial axes of the image plane: both in 2D, the first two in 3D (RandomRotFlip of SSL4MIS).

    Args:
        dims: 2 or 3.

    Raises:
        ValueError: for other numbers.
    """
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
    """Draw the weak geometry of a batch.

    Along an axis where the grid is not larger than the patch, or without `policy.crop`, the crop is centred:
    start = floor((n - p) / 2), negative where padded. Right-angle turns happen only if the patch is square in the plane. A
    scale factor above 1 enlarges.

    Args:
        policy: probabilities and ranges.
        sizes: int64 (B, dims), the grid of each sample.
        patch: spatial size of the view.
        generator: source of random numbers, on the CPU.
        plane: axes of right-angle turns and small rotations; `default_plane` by default.
        hold: int64 (B, dims), a voxel that the crop must contain, or -1.
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
    return Geometry(start, matrix, tilted | scaled, turns, mirror < policy.flip, plane)


def apply_geometry(
    cut: Cut, geometry: Geometry, sizes: Tensor, patch: Sequence[int]
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Make the weak view.

    Crops that are resampled are cut with a margin if their grid extends beyond the patch, so that their corners show the
    image and not padding.

    Args:
        cut: returns boxes of the samples.
        geometry: the change of each sample.
        sizes: int64 (B, dims), the grid of each sample.
        patch: spatial size of the view.

    Returns:
        Image (B, C, *patch), label (B, *patch) or None, and valid, bool (B, *patch).
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
    """Resample a batch once about its centre: images linearly, label and valid by the nearest voxel.

    Invalid source voxels do not contribute (normalised interpolation). Outside the source the image is 0, the label IGNORE,
    and valid False.

    Args:
        image: (B, C, *spatial).
        label: (B, *spatial) or None.
        valid: bool (B, *spatial); None: every voxel.
        matrix: (B, dims, dims), output offset -> source offset, in voxels.
        size: spatial size of the result.

    Returns:
        Image (B, C, *size), label (B, *size) or None, and valid, bool (B, *size).
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
    """Cut one box out of each image.

    Args:
        images: n images (C, *spatial), whose sizes may differ.
        labels: n labels (*spatial) or None; None: no labels.
        start: (n, dims), where each box starts; a box may lie outside the image.
        size: spatial size of the boxes.

    Returns:
        Image (n, C, *size), label (n, *size) or None, and valid, bool (n, *size), or None if every box lies inside.
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
    """Make a weak view of a batch, with a different geometry for each sample. The input does not change.

    The same state of the generator gives the same digits on the CPU.

    Args:
        image: (B, C, *spatial).
        label: (B, *spatial) or None.
        policy: probabilities and ranges.
        generator: source of random numbers, on the CPU.
        patch: spatial size of the view; the image's by default.
        plane: axes of right-angle turns and small rotations; `default_plane` by default.

    Returns:
        Image (B, C, *patch), label (B, *patch) or None, and valid, bool (B, *patch).
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

    return apply_geometry(cut, geometry, sizes, size)


def strong_view(
    image: Tensor, *, policy: StrongPolicy, generator: torch.Generator, valid: Tensor | None = None
) -> Tensor:
    """Make an intensity-only view of a batch, with different strengths for each sample.

    The changes are, in this order and each with its own probability, for the policy's strength s, the sample's smallest and
    largest value lo and hi, and range = hi - lo:

    - jitter: mean + c (x - mean) + b range, c in [1 - s, 1 + s], b in [-s/2, s/2], clipped to [lo, hi];
    - gamma: lo + range ((x - lo) / range)^g, g in [1 - s, 1 + s];
    - blur: Gaussian along every spatial axis, sigma in [0.1, s] pixels;
    - noise: Gaussian, standard deviation in [0, s] times the range.

    Args:
        image: (B, C, *spatial).
        policy: probabilities and strengths.
        generator: source of random numbers, on the CPU.
        valid: bool (B, *spatial); the view is 0 where it is False. None: every position is valid.

    Returns:
        (B, C, *spatial).
    """
    count = len(image)
    r = torch.rand((count, 9), generator=generator, dtype=torch.float64)
    seed = int(torch.randint(2**62, (), generator=generator))
    flat = image.flatten(1)
    shape = (count, *[1] * (image.ndim - 1))
    low, high = (v.reshape(shape) for v in torch.aminmax(flat, dim=1))
    span = high - low

    chance, s = policy.jitter
    on = r[:, 0] < chance
    contrast = _like(torch.where(on, 1 + s * (2 * r[:, 1] - 1), 1.0), image)
    shift = _like(torch.where(on, s * (r[:, 2] - 0.5), 0.0), image)
    offset = flat.mean(1).reshape(shape) * (1 - contrast) + shift * span
    result = torch.addcmul(offset, image, contrast)
    result = torch.minimum(torch.maximum(result, low), high)

    chance, s = policy.gamma
    rows = (r[:, 3] < chance).nonzero()[:, 0]
    if len(rows):
        exponent = _like(1 + s * (2 * r[rows, 4] - 1), image)
        rows = rows.to(image.device, non_blocking=True)
        base, reach = low[rows], span[rows].clamp_min(torch.finfo(image.dtype).tiny)
        part = ((result[rows] - base) / reach).clamp(0, 1).pow_(exponent).mul_(reach).add_(base)
        result[rows] = part

    chance, s = policy.blur
    rows = (r[:, 5] < chance).nonzero()[:, 0]
    if len(rows) and s > 0:
        sigma = 0.1 + max(s - 0.1, 0.0) * r[rows, 6]
        rows = rows.to(image.device, non_blocking=True)
        result[rows] = gaussian_blur(result[rows], sigma, radius=math.ceil(3 * s))

    chance, s = policy.noise
    rows = (r[:, 7] < chance).nonzero()[:, 0]
    if len(rows) and s > 0:
        deviation = _like(s * r[rows, 8], image)
        rows = rows.to(image.device, non_blocking=True)
        own = torch.Generator(device=image.device)
        own.manual_seed(seed)
        noise = torch.randn((len(rows), *image.shape[1:]), generator=own, device=image.device, dtype=image.dtype)
        result[rows] += noise.mul_(deviation * span[rows])
    return result if valid is None else result * valid[:, None]


def gaussian_blur(image: Tensor, sigma: Tensor, radius: int) -> Tensor:
    """Blur with a separable Gaussian; edges are repeated.

    Args:
        image: (B, C, *spatial).
        sigma: standard deviation of each sample, (B,), in pixels.
        radius: half width of the kernel, in pixels.

    Returns:
        (B, C, *spatial).
    """
    count, channels = image.shape[:2]
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (offsets / sigma.double().cpu()[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).to(image.dtype).to(image.device, non_blocking=True)
    weight = kernel.repeat_interleave(channels, 0)[:, None, None, :]
    for axis in range(2, image.ndim):
        moved = image.movedim(axis, -1)
        lines = moved.reshape(1, count * channels, -1, moved.shape[-1])
        lines = F.pad(lines, (radius, radius, 0, 0), mode="replicate")
        lines = F.conv2d(lines, weight, groups=count * channels)
        image = lines.reshape(moved.shape).movedim(-1, axis)
    return image.contiguous()


def _turned(values: Tensor, geometry: Geometry, lead: int) -> Tensor:
    """Turn and flip (B, ..., *spatial), which has `lead` axes before the spatial ones; exact, in place."""
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


def _like(values: Tensor, image: Tensor) -> Tensor:
    """Convert numbers drawn on the CPU, (B,), to (B, 1, ..., 1) in the image's type and on its device.

    Copies from plain memory do not wait for the device.
    """
    return values.to(image.dtype).to(image.device, non_blocking=True).reshape(-1, *[1] * (image.ndim - 1))


def _refuse(dims: int) -> tuple[int, int]:
    raise ValueError(f"views are 2D or 3D; got {dims} spatial axes")
