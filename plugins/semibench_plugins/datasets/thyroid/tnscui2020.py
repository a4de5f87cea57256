"""TN-SCUI 2020: image/ and mask/ contain files of the same names, with upper-case endings; some frames have black borders."""

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
    image_and_mask_patterns,
)
from semibench_plugins.datasets.mgcc_options import MgccOptions
from semibench_plugins.datasets.thyroid import cards
from semibench_plugins.datasets.thyroid.phantom import ThyroidPhantom

DARK = 5.0
"""Rows and columns with a mean grey level below this belong to the border."""


class TNSCUI2020Options(MgccOptions, frozen=True, extra="forbid"):
    """drop_borders: cut black rows and columns off the outside of the image (predictions are mapped back)."""

    drop_borders: bool = False


class TNSCUI2020(ImageDataset):
    """Case id: the file name without its ending. Group: the image (the challenge gives no patient ids). One domain."""

    card = cards.TNSCUI2020
    phantom_class = ThyroidPhantom
    known = ("*.csv", "*.xlsx")
    Options = TNSCUI2020Options
    options: TNSCUI2020Options

    def patterns(self, base: Path) -> Sequence[FilePattern]:
        return image_and_mask_patterns(base, ("image", "images"), ("mask", "masks"), required=True)

    def locate(self) -> Mapping[str, ImageEntry]:
        return self.image_entries()

    def box(self, image: NDArray[np.uint8]) -> Box | None:
        return bright_box(image) if self.options.drop_borders else None


def bright_box(image: NDArray[np.uint8]) -> Box | None:
    """Returns the box from the first to the last bright row and column; None for an entirely dark image."""
    box = []
    for axis in (1, 0):
        bright = np.flatnonzero(image.mean(axis=axis) >= DARK)
        if not len(bright):
            return None
        box.append((int(bright[0]), int(bright[-1]) + 1))
    return tuple(box)
