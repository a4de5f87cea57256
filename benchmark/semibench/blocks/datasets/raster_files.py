"""Reading images and their masks from PNG, JPG, BMP and TIFF files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from semibench.contracts.errors import CaseError

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
BROKEN = (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError)
"""The exceptions that Pillow raises for a damaged file (a broken PNG is a SyntaxError)."""
LOSSY = frozenset({".jpg", ".jpeg"})
MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA"})


def is_image_file(path: Path) -> bool:
    """Tell from a file's name whether it is an image.

    Args:
        path: the file; it is not opened.

    Returns:
        True for the endings .png, .jpg, .jpeg, .bmp, .tif and .tiff in any case, unless the file is hidden.
    """
    return path.suffix.lower() in EXTENSIONS and not path.name.startswith(".")


def image_files(folder: Path) -> list[Path]:
    """List the image files that lie directly in a folder.

    Args:
        folder: an existing folder.

    Returns:
        The paths, sorted by name.
    """
    return sorted(path for path in folder.iterdir() if is_image_file(path))


def read_grey(path: Path) -> NDArray[np.uint8]:
    """Read an image in grey.

    Args:
        path: an image file of 8 bits per channel.

    Returns:
        (H, W) uint8: the luma of ITU-R 601 where the file is in colour.

    Raises:
        CaseError: the file can't be read, or isn't an 8-bit image.
    """
    return _converted(path, "L")


def read_colour(path: Path) -> NDArray[np.uint8]:
    """Read an image in colour.

    Args:
        path: an image file of 8 bits per channel.

    Returns:
        (H, W, 3) uint8: red, green and blue.

    Raises:
        CaseError: the file can't be read, or isn't an 8-bit image.
    """
    return _converted(path, "RGB")


def _converted(path: Path, mode: str) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            if image.mode not in MODES:
                raise CaseError(f"{path}: expected an 8-bit image, found mode {image.mode}; convert it to 8 bit")
            return np.asarray(image.convert(mode), dtype=np.uint8)
    except BROKEN as error:
        raise CaseError(f"{path}: can't be read as an image ({error}); unpack or download it again") from error


def read_mask(path: Path, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Read a binary mask.

    Args:
        path: an image file that holds 0 and 255, or 0 and 1. A JPEG file may hold any values, as JPEG doesn't keep them.
        shape: (H, W) of the image that the mask belongs to.

    Returns:
        (H, W) bool: above 127, or above 0 where no value is above 1.

    Raises:
        CaseError: the file can't be read, has another size than the image, or holds other values.
    """
    mask = read_grey(path)
    if path.suffix.lower() not in LOSSY:
        values = np.flatnonzero(np.bincount(mask.ravel(), minlength=256))
        unknown = [int(value) for value in values if value not in (0, 1, 255)]
        if unknown:
            raise CaseError(
                f"{path}: unknown label values {unknown[:8]}; expected 0 and 255 (or 0 and 1); restore the original file"
            )
    if mask.shape != shape:
        raise CaseError(
            f"{path}: the mask has {mask.shape[1]} x {mask.shape[0]} pixels, its image {shape[1]} x {shape[0]}; "
            "restore the original file or exclude the case"
        )
    return mask > (127 if mask.max(initial=0) > 1 else 0)


def merge_masks(paths: Sequence[Path], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Read all masks of one image and take their union.

    Args:
        paths: mask files, read by `read_mask`.
        shape: (H, W) of the image.

    Returns:
        (H, W) bool; all False without a file.

    Raises:
        CaseError: as `read_mask`.
    """
    merged = np.zeros(shape, dtype=bool)
    for path in paths:
        merged |= read_mask(path, shape)
    return merged
