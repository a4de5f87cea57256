"""Find identical images: a content hash, a 64-bit perceptual hash that handles flips, and a check by correlation.

For the perceptual hash the image is averaged to 32x32 and transformed by a two-dimensional DCT-II; each of the 8x8 lowest
coefficients is compared with their median (the "pHash" of Zauner, "Implementation and Benchmarking of Perceptual Image
Hash Functions", 2010). A flip along an axis changes the sign of the odd coefficients of that axis, so the hashes of all
four flipped images follow from one transform.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import dctn
from torch import Tensor
from torch.nn import functional as F

FLIPS: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (0, 1))
"""Axes of the four flips; the first is the identity."""

THUMBNAIL = 64

DETAILS_KEPT = 4096
"""Images whose details are kept while pairs are compared, 16 kB each."""


@dataclass(frozen=True)
class Print:
    """The fingerprint of an image."""

    content: str
    """sha256 of the decoded pixels."""
    hashes: NDArray[np.uint64]
    """uint64 (4,), one for each flip."""
    thumbnail: NDArray[np.float32] | None
    """float32 (THUMBNAIL, THUMBNAIL) with mean 0 and length 1; None for a flat image."""
    shape: tuple[int, ...]
    """Shape of a volume; empty for an image."""


def fingerprint(image: Tensor, slice_axis: int | None = None) -> Print:
    """Return the fingerprint of an image (C, *spatial).

    A volume is represented by its middle slice along `slice_axis` (the last axis by default), and two volumes are near only
    if their shapes agree. The channels of an image are averaged, and its size does not matter.
    """
    digest = hashlib.sha256(str((tuple(image.shape), str(image.dtype))).encode())
    digest.update(image.contiguous().numpy().tobytes())
    plane = image
    shape: tuple[int, ...] = ()
    if image.ndim == 4:
        axis = -1 if slice_axis is None else slice_axis % 3 + 1
        plane = image.select(axis, image.shape[axis] // 2)
        shape = tuple(image.shape)
    gray = plane.float().mean(0)[None, None]
    small = F.adaptive_avg_pool2d(gray, 32)[0, 0].double().numpy()
    thumb = F.adaptive_avg_pool2d(gray, THUMBNAIL)[0, 0].numpy()
    thumb = thumb - thumb.mean()
    length = float(np.linalg.norm(thumb))
    flat = length <= 1e-6 * max(1.0, float(gray.abs().max())) * THUMBNAIL
    return Print(digest.hexdigest(), perceptual_hashes(small), None if flat else thumb / length, shape)


def perceptual_hashes(small: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Return the hashes of a 32x32 image and its flips, uint64 (4,), in the order of FLIPS."""
    low = dctn(small, type=2, norm="ortho")[:8, :8]
    sign = np.where(np.arange(8) % 2, -1.0, 1.0)
    result = []
    for axes in FLIPS:
        turned = low * (sign[:, None] if 0 in axes else 1.0) * (sign[None, :] if 1 in axes else 1.0)
        bits = (turned > np.median(turned)).ravel()
        result.append(np.packbits(bits).view(">u8")[0])
    return np.array(result, dtype=np.uint64)


def near_pairs(prints: Sequence[Print], distance: int, likeness: float) -> Iterator[tuple[int, int, int, int, float]]:
    """Yield pairs (i < j) of similar images with different pixels: (i, j, flip, hamming distance, correlation).

    A pair is a candidate if the hash of i and that of a flip of j differ in at most `distance` bits. It counts if the details
    of the thumbnails correlate by at least `likeness`.
    """
    usable = np.array([n for n, image in enumerate(prints) if image.thumbnail is not None], dtype=np.int64)
    if len(usable) < 2:
        return
    hashes = np.stack([prints[n].hashes for n in usable])
    details = lru_cache(maxsize=DETAILS_KEPT)(lambda number: _details(prints[number].thumbnail))
    for position, first in enumerate(usable[:-1]):
        bits = np.bitwise_count(hashes[position + 1 :] ^ hashes[position, 0])
        for row in np.flatnonzero(bits.min(1) <= distance):
            second = int(usable[position + 1 + row])
            a, b = prints[first], prints[second]
            if a.shape != b.shape or a.content == b.content:
                continue
            close = [flip for flip in range(len(FLIPS)) if bits[row, flip] <= distance]
            like, flip = max((_correlation(details(first), details(second), FLIPS[flip]), -flip) for flip in close)
            if like >= likeness:
                yield int(first), second, -flip, int(bits[row, -flip]), like


def correlation(a: Print, b: Print, axes: tuple[int, ...] = ()) -> float:
    """Return the correlation of the thumbnails' details, with b flipped.

    Details are what remains after subtracting the mean over 9x9 neighbours: images from the same machine share their broad
    course of brightness.
    """
    return _correlation(_details(a.thumbnail), _details(b.thumbnail), axes)


def _correlation(first: NDArray[np.float32], second: NDArray[np.float32], axes: tuple[int, ...]) -> float:
    norm = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float((first * np.flip(second, axes)).sum()) / norm if norm > 1e-12 else 0.0


def _details(thumbnail: NDArray[np.float32] | None) -> NDArray[np.float32]:
    assert thumbnail is not None
    values = torch.from_numpy(thumbnail)[None, None]
    broad = F.avg_pool2d(values, 9, stride=1, padding=4, count_include_pad=False)
    return (values - broad)[0, 0].numpy()
