"""Where windows lie and what they weigh, and sizes of grids."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from semibench.contracts.errors import UnsupportedError
from semibench.contracts.metric import Inference

LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}
GAUSSIAN_WIDTH = 0.125
"""Standard deviation of the Gaussian window as a share of the patch, as in nnU-Net."""


def window_starts(size: int, patch: int, stride: int) -> list[int]:
    """Return where windows start along an axis: min(i * stride, size - patch) for i < ceil((size - patch) / stride) + 1.

    For example, 150, 112, 18 gives 0, 18, 36, 38, and 88, 80, 4 gives 0, 4, 8. A size below the patch gives one window at 0.
    """
    if stride < 1:
        raise ValueError(f"expected a stride of at least one voxel; got {stride}")
    last = max(size - patch, 0)
    return [min(i * stride, last) for i in range(math.ceil(last / stride) + 1)]


def window_corners(size: Sequence[int], patch: Sequence[int], inference: Inference) -> list[tuple[int, ...]]:
    """Return the first voxels of all windows in C order. The stride is the inference's, or follows from its overlap."""
    if inference.stride is not None:
        if len(inference.stride) != len(patch):
            expected = f"expected a stride of {len(patch)} steps for the patch {tuple(patch)}"
            raise UnsupportedError(f"{expected}; got {inference.stride}")
        # a step larger than the patch would skip voxels
        stride = tuple(map(min, inference.stride, patch))
    else:
        stride = tuple(max(1, int(p * (1 - inference.overlap))) for p in patch)
    return list(itertools.product(*map(window_starts, size, patch, stride)))


def gaussian(patch: Sequence[int], *, device: torch.device | str = "cpu") -> Tensor:
    """Return the weights of a window, (*patch): a Gaussian around its centre, clamped to at least 1e-3."""
    weight = torch.ones(tuple(patch), device=device)
    for axis, side in enumerate(patch):
        offset = torch.arange(side, device=device) - (side - 1) / 2
        profile = torch.exp(-0.5 * (offset / (GAUSSIAN_WIDTH * side)) ** 2)
        weight *= profile.reshape([-1 if a == axis else 1 for a in range(len(patch))])
    return weight.clamp_min(1e-3)


def both_sides(total: int) -> tuple[int, int]:
    """Split a padding into that before and that after; the odd voxel is at the end."""
    return total // 2, total - total // 2


def resize(values: Tensor, size: Sequence[int], how: str) -> Tensor:
    """Resize (B, C, *spatial) to `size`: "linear" with voxel centres kept, "nearest" as scipy's `zoom(order=0)` does."""
    if tuple(values.shape[2:]) == tuple(size):
        return values
    if how == "linear":
        return F.interpolate(values, size=tuple(size), mode=LINEAR[len(size)], align_corners=False)
    for axis, (old, new) in enumerate(zip(values.shape[2:], size, strict=True)):
        if old != new:
            index = torch.as_tensor(zoom_index(old, new), device=values.device)
            values = values.index_select(axis + 2, index.clamp_min(0))
            values.index_fill_(axis + 2, torch.nonzero(index < 0)[:, 0], 0)
    return values


def zoom_index(old: int, new: int) -> NDArray[np.int64]:
    """Return the samples that `scipy.ndimage.zoom(order=0)` picks along an axis, (new,); -1 where it writes 0.

    The grids are aligned at their first and last sample. SSL4MIS resizes slices and label maps in this way; other
    nearest-neighbour rules pick other samples. The -1 is a quirk of scipy: for some sizes (256 -> 216) the last coordinate is
    rounded to just beyond the edge, and the last sample becomes 0, which is background in label maps.
    """
    from scipy.ndimage import zoom

    picked: NDArray[np.int64] = zoom(np.arange(1, old + 1, dtype=np.int64), new / old, order=0) - 1
    return picked
