"""Apply a network to a whole case (whole image, slices of a volume, sliding window) and return to the native grid.

How a case is cut and put together again stands in `pieces`, how pieces of several cases become batches in `stream`.

A predictor is a callable from images (B, C, *spatial) to logits (B, K, *spatial). Nothing here changes its mode, or records
gradients beyond what the caller allows: see `semibench.evaluation.scoring.evaluating`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from semibench.contracts.cases import Frame
from semibench.contracts.errors import UnsupportedError
from semibench.contracts.metric import Inference

Predictor = Callable[[Tensor], Tensor]

LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}
GAUSSIAN_WIDTH = 0.125
"""Standard deviation of the Gaussian window as a share of the patch, as in nnU-Net."""


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


def resolve(inference: Inference, *, dims: int, case_dims: int) -> Inference:
    """Replace "auto", and reset to the default what the mode does not use.

    Two conventions with equal resolved inferences share one prediction. Raise UnsupportedError if a network of `dims`
    dimensions cannot be applied to cases of `case_dims` in this way.
    """
    if dims > case_dims:
        raise UnsupportedError(
            f"a {dims}D network cannot be applied to {case_dims}D cases; choose a {case_dims}D backbone"
        )
    mode = inference.mode
    if mode == "auto":
        mode = "slices" if dims < case_dims else ("whole" if dims == 2 else "window")
    if (mode == "slices") != (dims < case_dims):
        needed = "a 2D network on volumes" if mode == "slices" else f"a {case_dims}D network"
        raise UnsupportedError(f"inference {mode!r} needs {needed}; got a {dims}D network on {case_dims}D cases")
    default = Inference()
    if mode != "window":
        return Inference(
            mode=mode, flips=inference.flips, resize=inference.resize if mode == "slices" else default.resize
        )
    overlap = default.overlap if inference.stride is not None else inference.overlap
    return Inference(mode=mode, overlap=overlap, stride=inference.stride, blend=inference.blend, flips=inference.flips)


def predict(predictor: Predictor, image: Tensor, inference: Inference, network: Network) -> Tensor:
    """Predict the class probabilities of one case on its working grid.

    Args:
        predictor: images to logits.
        image: (C, *spatial).
        inference: how the network is applied.
        network: what is known about it.

    Returns:
        float32 (K, *spatial), on the network's device.

    Raises:
        UnsupportedError: for an impossible combination.
        ValueError: if the predictor returns another shape.
    """
    return predict_many(predictor, image[None], inference, network)[0]


def predict_many(predictor: Predictor, images: Tensor, inference: Inference, network: Network) -> Tensor:
    """Run `predict` on several cases of the same shape: (B, C, *spatial) -> (B, K, *spatial).

    In mode "whole" they pass through the network together; volumes go one by one, in batches of slices or windows.
    """
    from semibench.evaluation.stream import Stream

    plan = resolve(inference, dims=network.dims, case_dims=images.ndim - 2)
    stream = Stream([predictor], [plan], network)
    found: list[Tensor] = []
    for image in images:
        stream.add(image)
        if images.ndim > 4:
            stream.flush()
        found += [result[0][0] for result in stream.finished()]
    stream.flush()
    return torch.stack([*found, *(result[0][0] for result in stream.finished())])


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


# --- grids ---


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


def native_labels(probabilities: Tensor, frame: Frame, how: str = "linear") -> NDArray[np.uint8]:
    """Turn probabilities (K, *working) into a label map (*native): resize to the frame's box, take the argmax, paste.

    Outside the box everything is background; parts of the box beyond the native grid are dropped. Of equal probabilities the
    lower class wins. Classes are resized one by one to save memory.
    """
    sides = tuple(stop - start for start, stop in frame.extent)
    if tuple(probabilities.shape[1:]) == sides:
        labels = working_labels(probabilities)
    else:
        maps = (probabilities[index : index + 1][None] for index in range(len(probabilities)))
        labels = _likeliest(resize(one, sides, how)[0, 0] for one in maps)
    native = np.zeros(frame.shape, dtype=np.uint8)
    target = tuple(slice(max(a, 0), min(b, n)) for (a, b), n in zip(frame.extent, frame.shape, strict=True))
    source = tuple(slice(t.start - a, t.stop - a) for t, (a, _) in zip(target, frame.extent, strict=True))
    native[target] = labels[source]
    return native


def working_labels(probabilities: Tensor) -> NDArray[np.uint8]:
    """Turn probabilities (K, *working) into a label map, uint8 (*working). Of equal probabilities the lower class wins."""
    return _likeliest(iter(probabilities))


def _likeliest(maps: Iterator[Tensor]) -> NDArray[np.uint8]:
    """Return the class with the highest value, uint8 (*spatial). maps: one (*spatial) for each class, in their order.

    It compares class by class, because torch's argmax along an outer axis takes seven times as long on a CPU.
    """
    first = next(maps)
    best, winner = first.clone(), torch.zeros(first.shape, dtype=torch.uint8, device=first.device)
    for index, candidate in enumerate(maps, start=1):
        winner.masked_fill_(candidate > best, index)
        torch.maximum(best, candidate, out=best)
    labels: NDArray[np.uint8] = winner.cpu().numpy()
    return labels
