"""Reading images and their masks from PNG, JPG, BMP and TIFF files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from semibench import CaseError

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
BROKEN = (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError)
"""What reading a damaged file raises (a broken PNG is a SyntaxError)."""
LOSSY = frozenset({".jpg", ".jpeg"})
MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA"})


def is_image(path: Path) -> bool:
    """Whether the file's name says that it is an image (any case; hidden files are none)."""
    return path.suffix.lower() in EXTENSIONS and not path.name.startswith(".")


def image_files(folder: Path) -> list[Path]:
    """Image files directly in a folder, sorted by name."""
    return sorted(path for path in folder.iterdir() if is_image(path))


def read_grey(path: Path) -> NDArray[np.uint8]:
    """The image as (H, W) uint8 luma (ITU-R 601). Raises CaseError for a file that is no 8-bit image."""
    return _converted(path, "L")


def read_colour(path: Path) -> NDArray[np.uint8]:
    """The image as (H, W, 3) uint8, red, green and blue. Raises CaseError for a file that is no 8-bit image."""
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
    """A binary mask (H, W): above 127, or above 0 where the file holds 0 and 1 only. Raises CaseError for another size, and
    for grey values between, unless the file is a JPEG (which doesn't keep values)."""
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
    """The union of all masks of one image."""
    merged = np.zeros(shape, dtype=bool)
    for path in paths:
        merged |= read_mask(path, shape)
    return merged
