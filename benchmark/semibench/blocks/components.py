"""Connected components and distance maps of label maps: computed sample by sample on the CPU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from semibench.contracts.method import IGNORE


def largest_component(
    labels: Tensor, *, classes: Sequence[int] | None = None, connectivity: int | None = None
) -> Tensor:
    """Keeps the largest connected component of each class of each sample; the rest becomes background.

    Args:
        labels: integers (B, *spatial).
        classes: the classes to filter; by default every class that occurs, except background (0) and IGNORE.
        connectivity: how many axes a step may change: 1 (4 or 6 neighbours) up to the number of axes (8 or 26 neighbours),
            which is the default, as in skimage.

    Returns:
        Integers (B, *spatial) on the device of `labels`. Of equally large components the first in memory order stays.

    Examples:
        >>> largest_component(torch.tensor([[[1, 0, 1, 1]]]))
        tensor([[[0, 0, 1, 1]]])
    """
    array = labels.detach().cpu().numpy()
    dims = array.ndim - 1
    structure = ndimage.generate_binary_structure(dims, dims if connectivity is None else connectivity)
    filtered = array.copy()
    for sample, out in zip(array, filtered, strict=True):
        present = [int(c) for c in np.unique(sample) if c not in (0, IGNORE)]
        for label in present if classes is None else [c for c in present if c in classes]:
            _keep_largest(sample == label, out, structure)
    return torch.from_numpy(filtered).to(labels.device)


def _keep_largest(mask: np.ndarray, out: np.ndarray, structure: np.ndarray) -> None:
    """Writes 0 into `out` where mask holds, its largest component excepted."""
    (box,) = ndimage.find_objects(mask.astype(np.uint8), max_label=1)
    components, count = ndimage.label(mask[box], structure)
    if count > 1:
        largest = 1 + int(np.argmax(np.bincount(components.ravel())[1:]))
        out[box][(components > 0) & (components != largest)] = 0


def signed_distance(mask: Tensor, *, spacing: Sequence[float] | None = None, normalise: bool = True) -> Tensor:
    """Signed Euclidean distance to the boundary of an object: negative inside, positive outside (DTC, SASSNet).

    It is 0 on the boundary voxels: those of the object that touch the outside through a face.

    Args:
        mask: bool or {0, 1} (B, *spatial).
        spacing: size of a voxel along each axis, for example in mm; by default 1.
        normalise: divide the distances inside and outside by the largest of each in the sample, so that they lie in [-1, 1].

    Returns:
        float32 (B, *spatial), in the unit of `spacing` unless normalised; all 0 for a sample without object or background.

    Examples:
        >>> signed_distance(torch.tensor([[[0, 1, 1, 1, 0]]]), normalise=False)
        tensor([[[ 1.,  0., -2.,  0.,  1.]]])
    """
    array = mask.detach().cpu().numpy().astype(bool)
    out = np.zeros(array.shape, np.float32)
    cross = ndimage.generate_binary_structure(array.ndim - 1, 1)
    for inside, values in zip(array, out, strict=True):
        if not inside.any() or inside.all():
            continue
        within = ndimage.distance_transform_edt(inside, sampling=spacing)
        beyond = ndimage.distance_transform_edt(~inside, sampling=spacing)
        if normalise:
            within, beyond = within / within.max(), beyond / beyond.max()
        boundary = inside & ~ndimage.binary_erosion(inside, cross, border_value=1)
        values[...] = np.where(boundary, 0.0, beyond - within)
    return torch.from_numpy(out).to(mask.device)
