"""Reads images and their masks from PNG, JPG, BMP and TIFF files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from semibench.blocks.datasets.file_guard import reading
from semibench.blocks.datasets.folder_walk import passed_over
from semibench.contracts.errors import CaseError

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
AGAIN = "unpack or download it again"
ORIENTATION = 0x0112
"""The EXIF tag that says how a stored picture must be turned to be seen upright; 1: not at all."""
LOSSY = frozenset({".jpg", ".jpeg"})
MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA"})


def is_image_file(path: Path) -> bool:
    """Returns whether a file is an image, judging by its name.

    Args:
        path: the file; it is not opened.

    Returns:
        True for the endings .png, .jpg, .jpeg, .bmp, .tif and .tiff, in upper or lower case, unless the file is hidden.
    """
    return path.suffix.lower() in EXTENSIONS and not passed_over(path.name)


def without_image_ending(name: str) -> str:
    """Returns the name of an image without its ending; other dots are part of the name.

    Args:
        name: a file name, or an id in a table, which may lack the ending.

    Returns:
        The name without .png, .jpg, .jpeg, .bmp, .tif or .tiff at its end.

    Examples:
        >>> without_image_ending("pt1.2.png"), without_image_ending("pt1.2")
        ('pt1.2', 'pt1.2')
    """
    stem, dot, ending = name.rpartition(".")
    return stem if f"{dot}{ending}".lower() in EXTENSIONS else name


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
    with reading(path, "an image", AGAIN), Image.open(path) as image:
        return np.asarray(_upright(image, path).convert(mode), dtype=np.uint8)


def _upright(image: Image.Image, path: Path) -> Image.Image:
    """Returns an open picture as it is seen: turned as its EXIF tag says."""
    if image.mode not in MODES:
        raise CaseError(f"{path}: expected an 8-bit image, found mode {image.mode}; convert it to 8 bit")
    return ImageOps.exif_transpose(image) if _turned(image) else image


def _turned(image: Image.Image) -> bool:
    return image.getexif().get(ORIENTATION, 1) in range(2, 9)


def picture_remarks(path: Path) -> list[str]:
    """Returns what is doubtful about an image file that can be read: a turn, transparency, further pages.

    Args:
        path: the file.

    Returns:
        One line for each doubt, with the name of the file; none for a file that can't be read.
    """
    remarks = []
    try:
        with Image.open(path) as image:
            if _turned(image):
                turn = image.getexif()[ORIENTATION]
                remarks.append(
                    f"{path}: stored turned (EXIF orientation {turn}) and read upright; check that the mask is, too"
                )
            if getattr(image, "n_frames", 1) > 1:
                remarks.append(
                    f"{path}: expected one picture, found {getattr(image, 'n_frames', 1)} pages; only the first one is read"
                )
            if image.has_transparency_data and int(np.asarray(image.convert("RGBA"))[..., 3].min()) < 255:
                remarks.append(
                    f"{path}: expected an opaque picture, found transparent pixels; their transparency is ignored: flatten it"
                )
    except Exception:  # reading it for use says what is wrong
        return []
    return remarks


def read_mask(path: Path, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Reads a binary mask.

    Args:
        path: an image file that contains 0 and 255, or 0 and 1. A JPEG file may contain any values, as its compression is lossy.
        shape: (H, W) of the image that the mask belongs to.

    Returns:
        (H, W) bool: True above 127, or above 0 if no value exceeds 1.

    Raises:
        CaseError: if the file can't be read, has several pages, hides its mask in transparency or in colours that look alike,
            differs in size from the image, or contains other values.

    Examples:
        >>> Image.new("L", (6, 4), 255).save(folder / "mask.png")
        >>> int(read_mask(folder / "mask.png", (4, 6)).sum())
        24
    """
    lossy = path.suffix.lower() in LOSSY
    with reading(path, "an image", AGAIN), Image.open(path) as image:
        pages = getattr(image, "n_frames", 1)
        if pages > 1 and not lossy:  # a camera's JPEG may hold a preview
            raise CaseError(
                f"{path}: expected one mask, found {pages} pages; save the page with the mask as a file of its own"
            )
        upright = _upright(image, path)
        mask = np.asarray(upright.convert("L"), dtype=np.uint8)
        drawn = mask > (127 if mask.max(initial=0) > 1 else 0)
        if not lossy:
            _check_colours(upright, mask, path)
        _check_opaque(upright, drawn, path)
    if not lossy:
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
    return drawn


def _check_colours(image: Image.Image, mask: NDArray[np.uint8], path: Path) -> None:
    """Raises CaseError if parts of a mask differ in their stored value, but not in brightness: they would be lost."""
    if image.mode == "P" and len(np.unique(np.asarray(image))) > len(np.unique(mask)):
        raise CaseError(
            f"{path}: expected colours that differ in brightness, found a palette that shows several values alike; save the "
            "mask in grey, with 0 and 255"
        )
    if image.mode in ("P", "RGB", "RGBA"):
        colour = np.asarray(image.convert("RGB"))
        dark = (mask == 0) & colour.any(axis=-1)
        if dark.any():
            shown = tuple(int(part) for part in colour[dark][0])
            raise CaseError(
                f"{path}: expected black and white, found a colour as dark as black {shown}; save the mask in grey, with 0 "
                "and 255"
            )


def _check_opaque(image: Image.Image, drawn: NDArray[np.bool_], path: Path) -> None:
    """Raises CaseError if the transparency of a mask says something else than its colours."""
    if not image.has_transparency_data:
        return
    alpha = np.asarray(image.convert("RGBA"))[..., 3]
    if (alpha < 255).any() and not np.array_equal(alpha > 0, drawn):
        raise CaseError(
            f"{path}: expected an opaque mask, found {int((alpha < 255).sum())} transparent pixels that its colours don't show; "
            "flatten it onto black, so that the mask is white on black"
        )


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
