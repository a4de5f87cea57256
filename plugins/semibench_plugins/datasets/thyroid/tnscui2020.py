"""TN-SCUI 2020: image/ and mask/ with equal names, upper-case endings, some frames with black borders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semibench.blocks import (
    Box,
    FilePattern,
    ImageDataset,
    ImageEntry,
    find_data_folder,
    image_and_mask_patterns,
    pair_image_folders,
)
from semibench_plugins.datasets.mgcc_options import MgccOptions
from semibench_plugins.datasets.thyroid import cards
from semibench_plugins.datasets.thyroid.phantom import ThyroidPhantom

DARK = 5.0
"""Rows and columns whose mean grey value is below this are border."""


class TNSCUI2020Options(MgccOptions, frozen=True, extra="forbid"):
    """drop_borders: cuts black rows and columns off the outside of the image (predictions are put back)."""

    drop_borders: bool = False


class TNSCUI2020(ImageDataset):
    """Id: file name without ending. Group: the image (the challenge gives no patient ids). Domain: one."""

    card = cards.TNSCUI2020
    phantom_class = ThyroidPhantom
    known = ("*.csv", "*.xlsx")
    Options = TNSCUI2020Options
    options: TNSCUI2020Options

    def patterns(self, base: Path) -> Sequence[FilePattern]:
        return image_and_mask_patterns(base, ("image", "images"), ("mask", "masks"), required=True)

    def locate(self) -> Mapping[str, ImageEntry]:
        base = find_data_folder(self.root, self.card, _has_images)
        pairs = pair_image_folders(base, self.card, ("image", "images"), ("mask", "masks"), required=False)
        domain = self.card.domains[0]
        return {
            name: ImageEntry(image, () if mask is None else (mask,), group=name, domain=domain)
            for name, (image, mask) in pairs.items()
        }

    def box(self, image: NDArray[np.uint8]) -> Box | None:
        return bright_box(image) if self.options.drop_borders else None


def bright_box(image: NDArray[np.uint8]) -> Box | None:
    """The rows and columns from the first to the last bright one; None for an image that is all dark."""
    box = []
    for axis in (1, 0):
        bright = np.flatnonzero(image.mean(axis=axis) >= DARK)
        if not len(bright):
            return None
        box.append((int(bright[0]), int(bright[-1]) + 1))
    return tuple(box)


def _has_images(base: Path) -> bool:
    return any((base / name).is_dir() for name in ("image", "images"))
