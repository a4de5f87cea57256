"""Normalising the values of images and volumes."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def scale_to_unit(
    image: NDArray[np.float32], low: float | None = None, high: float | None = None
) -> NDArray[np.float32]:
    """Map the values of an array to 0..1.

    Args:
        image: any shape.
        low: percentile that becomes 0, smaller values are clipped; None for the minimum.
        high: percentile that becomes 1, greater values are clipped; None for the maximum.

    Returns:
        float32 of the same shape; 0 everywhere for a constant array.
    """
    bottom = float(image.min() if low is None else np.percentile(image, low))
    top = float(image.max() if high is None else np.percentile(image, high))
    if top <= bottom:
        return np.zeros_like(image, dtype=np.float32)
    return ((np.clip(image, bottom, top) - bottom) / (top - bottom)).astype(np.float32)


def scale_percentiles(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Map the 0.5th and 99.5th percentile to 0 and 1.

    Args:
        image: any shape.

    Returns:
        float32 of the same shape, clipped to 0..1.
    """
    return scale_to_unit(image, 0.5, 99.5)


def z_score(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Subtract the mean and divide by the standard deviation of the whole array.

    Args:
        image: any shape.

    Returns:
        float32 of the same shape; 0 everywhere for a constant array.
    """
    deviation = float(image.std(dtype=np.float64))
    centred = image - image.mean(dtype=np.float64)
    return (centred / deviation if deviation > 0 else centred * 0).astype(np.float32)


def intensity_window(image: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    """Map a window of values to 0..1, as CT is shown.

    Args:
        image: any shape, in Hounsfield units.
        low: becomes 0; smaller values are clipped.
        high: becomes 1; greater values are clipped.

    Returns:
        float32 of the same shape.
    """
    return ((np.clip(image, low, high) - low) / (high - low)).astype(np.float32)


def imagenet_normalised(image: Tensor) -> Tensor:
    """Normalise a colour image by the mean and standard deviation of ImageNet.

    Args:
        image: (3, H, W) in 0..1.

    Returns:
        (3, H, W), about zero mean and unit deviation.
    """
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    return (image - mean[:, None, None]) / std[:, None, None]
