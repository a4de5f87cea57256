"""Reads the values that a picture stores: label maps with one value for each class, and grey images of 16 bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from semibench.blocks.datasets.file_guard import reading
from semibench.contracts.errors import CaseError

AGAIN = "unpack or download it again"
DEEP = frozenset({"I", "I;16", "I;16B", "I;16L", "F"})
"""Modes of grey pictures with more than 8 bit."""


def picture_kind(path: Path) -> Literal["grey", "colour", "deep"]:
    """Returns what a picture stores, judging by its header.

    Args:
        path: an image file.

    Returns:
        "deep" for grey values of more than 8 bit, "grey" for 8 bit or less, "colour" for everything else, which may be grey all
        the same.

    Raises:
        CaseError: if the file can't be read.

    Examples:
        >>> Image.new("RGB", (6, 4)).save(folder / "a.png")
        >>> picture_kind(folder / "a.png")
        'colour'
    """
    with reading(path, "an image", AGAIN), Image.open(path) as image:
        if image.mode in DEEP:
            return "deep"
        return "grey" if image.mode in ("1", "L", "LA") else "colour"


def read_stored_picture(path: Path) -> NDArray[Any]:
    """Reads the values of a picture as they are stored.

    Args:
        path: an image file: grey, of 1, 8 or 16 bit, or with a palette, or in colours that are all grey.

    Returns:
        (H, W): the grey values; the numbers of the palette's colours, if these aren't all grey; 0 and 1 for 1 bit.

    Raises:
        CaseError: if the file can't be read, is in colour, has several pages, or transparent pixels.

    Examples:
        >>> picture = Image.new("P", (6, 4), 2)
        >>> picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
        >>> picture.save(folder / "a.png")
        >>> int(read_stored_picture(folder / "a.png").max())
        2
    """
    with reading(path, "an image", AGAIN), Image.open(path) as image:
        pages = getattr(image, "n_frames", 1)
        if pages > 1:
            raise CaseError(f"{path}: expected one picture, found {pages} pages; save each page as a file of its own")
        upright = ImageOps.exif_transpose(image)
        if upright.mode in DEEP or upright.mode in ("1", "L"):
            return np.asarray(upright)
        if upright.has_transparency_data and int(np.asarray(upright.convert("RGBA"))[..., 3].min()) < 255:
            raise CaseError(f"{path}: expected an opaque picture, found transparent pixels; flatten it onto black")
        colours = np.asarray(upright.convert("RGB"))
        if (colours == colours[..., :1]).all():
            return colours[..., 0]
        if upright.mode == "P":
            return np.asarray(upright)
        first = tuple(int(part) for part in colours[(colours != colours[..., :1]).any(axis=-1)][0])
        raise CaseError(
            f"{path}: expected one value for each class, found colours, e.g. {first}; save the label in grey or with a palette"
        )
