"""TN-SCUI 2020: image/ and mask/ with equal names, upper-case endings, some frames with black borders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semibench_plugins.datasets import cards
from semibench_plugins.datasets.file_patterns import FilePattern, paired
from semibench_plugins.datasets.flat_folders import pair_folders
from semibench_plugins.datasets.image_dataset import ImageDataset, ImageEntry, MgccOptions
from semibench_plugins.datasets.official_layout import find_base
from semibench_plugins.datasets.working_grid import Box

DARK = 5.0
"""Rows and columns whose mean grey value is below this are border."""


class TNSCUI2020Options(MgccOptions, frozen=True, extra="forbid"):
    """drop_borders: cuts black rows and columns off the outside of the image (predictions are put back)."""

    drop_borders: bool = False


class TNSCUI2020(ImageDataset):
    """Id: file name without ending. Group: the image (the challenge gives no patient ids). Domain: one."""

    card = cards.TNSCUI2020
    known = ("*.csv", "*.xlsx")
    Options = TNSCUI2020Options
    options: TNSCUI2020Options

    def patterns(self, base: Path) -> Sequence[FilePattern]:
        return paired(base, ("image", "images"), ("mask", "masks"), required=True)

    def locate(self) -> Mapping[str, ImageEntry]:
        base = find_base(self.root, self.card, _has_images)
        pairs = pair_folders(base, self.card, ("image", "images"), ("mask", "masks"), required=False)
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
