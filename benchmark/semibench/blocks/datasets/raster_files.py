"""Reads images and their masks from PNG, JPG, BMP and TIFF files."""

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
    """Returns whether a file is an image, judging by its name.

    Args:
        path: the file; it is not opened.

    Returns:
        True for the endings .png, .jpg, .jpeg, .bmp, .tif and .tiff, in upper or lower case, unless the file is hidden.
    """
    return path.suffix.lower() in EXTENSIONS and not path.name.startswith(".")


def image_files(folder: Path) -> list[Path]:
    """Lists the image files directly inside a folder.

    Args:
        folder: an existing folder.

    Returns:
        The paths, sorted by name.

    Examples:
        >>> Image.new("L", (6, 4)).save(folder / "b.png")
        >>> [path.name for path in image_files(folder)]
        ['b.png']
    """
    return sorted(path for path in folder.iterdir() if is_image_file(path))


def read_grey(path: Path) -> NDArray[np.uint8]:
    """Reads an image as grey levels.

    Args:
        path: an image file with 8 bits per channel.

    Returns:
        (H, W) uint8: the luma of ITU-R 601 if the file is in colour.

    Raises:
        CaseError: if the file can't be read or isn't an 8-bit image.

    Examples:
        >>> Image.new("RGB", (6, 4), "white").save(folder / "a.png")
        >>> read_grey(folder / "a.png").shape
        (4, 6)
    """
    return _converted(path, "L")


def read_colour(path: Path) -> NDArray[np.uint8]:
    """Reads an image in colour.

    Args:
        path: an image file with 8 bits per channel.

    Returns:
        (H, W, 3) uint8: red, green and blue.

    Raises:
        CaseError: if the file can't be read or isn't an 8-bit image.

    Examples:
        >>> Image.new("RGB", (6, 4), "red").save(folder / "a.png")
        >>> read_colour(folder / "a.png")[0, 0].tolist()
        [255, 0, 0]
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
    """Reads a binary mask.

    Args:
        path: an image file that contains 0 and 255, or 0 and 1. A JPEG file may contain any values, as its compression is lossy.
        shape: (H, W) of the image that the mask belongs to.

    Returns:
        (H, W) bool: True above 127, or above 0 if no value exceeds 1.

    Raises:
        CaseError: if the file can't be read, differs in size from the image, or contains other values.

    Examples:
        >>> Image.new("L", (6, 4), 255).save(folder / "mask.png")
        >>> int(read_mask(folder / "mask.png", (4, 6)).sum())
        24
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
    """Reads all masks of one image and returns their union.

    Args:
        paths: the mask files, in the format that `read_mask` reads.
        shape: (H, W) of the image.

    Returns:
        (H, W) bool; all False if there are no files.

    Raises:
        CaseError: under the conditions of `read_mask`.

    Examples:
        >>> Image.new("L", (6, 4), 255).save(folder / "mask.png")
        >>> int(merge_masks([folder / "mask.png"], (4, 6)).sum())
        24
    """
    merged = np.zeros(shape, dtype=bool)
    for path in paths:
        merged |= read_mask(path, shape)
    return merged
