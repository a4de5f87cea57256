"""Normalises the values of images and volumes."""

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
    """Maps the values of an array to 0..1.

    Args:
        image: values of any shape.
        low: the percentile that becomes 0; smaller values are clipped. None: the minimum.
        high: the percentile that becomes 1; larger values are clipped. None: the maximum.

    Returns:
        float32 of the same shape; 0 everywhere for a constant array.

    Examples:
        >>> scale_to_unit(np.array([2, 3, 6], np.float32))
        array([0.  , 0.25, 1.  ], dtype=float32)
    """
    bottom = float(image.min() if low is None else np.percentile(image, low))
    top = float(image.max() if high is None else np.percentile(image, high))
    if top <= bottom:
        return np.zeros_like(image, dtype=np.float32)
    return ((np.clip(image, bottom, top) - bottom) / (top - bottom)).astype(np.float32)


def scale_percentiles(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Maps the 0.5th and 99.5th percentiles to 0 and 1.

    Args:
        image: values of any shape.

    Returns:
        float32 of the same shape, clipped to 0..1.

    Examples:
        >>> scale_percentiles(np.array([0, 50, 100], np.float32))
        array([0. , 0.5, 1. ], dtype=float32)
    """
    return scale_to_unit(image, 0.5, 99.5)


def z_score(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Subtracts the mean of an array and divides by its standard deviation.

    Args:
        image: values of any shape.

    Returns:
        float32 of the same shape; 0 everywhere for a constant array.

    Examples:
        >>> z_score(np.array([1, 3], np.float32))
        array([-1.,  1.], dtype=float32)
    """
    deviation = float(image.std(dtype=np.float64))
    centred = image - image.mean(dtype=np.float64)
    return (centred / deviation if deviation > 0 else centred * 0).astype(np.float32)


def intensity_window(image: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    """Maps a window of values to 0..1, as CT is displayed.

    Args:
        image: Hounsfield units, of any shape.
        low: the value that becomes 0; smaller values are clipped.
        high: the value that becomes 1; larger values are clipped.

    Returns:
        float32 of the same shape.

    Examples:
        >>> intensity_window(np.array([-1000, 75, 3000], np.float32), low=-75, high=225)
        array([0. , 0.5, 1. ], dtype=float32)
    """
    return ((np.clip(image, low, high) - low) / (high - low)).astype(np.float32)


def imagenet_normalised(image: Tensor) -> Tensor:
    """Normalises a colour image by the mean and standard deviation of ImageNet.

    Args:
        image: (3, H, W) in 0..1.

    Returns:
        (3, H, W), with about zero mean and unit variance.

    Examples:
        >>> imagenet_normalised(torch.full((3, 2, 2), 0.45)).shape
        torch.Size([3, 2, 2])
    """
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    return (image - mean[:, None, None]) / std[:, None, None]
