"""BUSIS: any flat folder of images. Masks are optional, as the data set mostly serves as unlabeled data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from semibench.blocks import (
    MASK_FOLDERS,
    FilePattern,
    ImageDataset,
    ImageEntry,
    image_and_mask_patterns,
)
from semibench_plugins.datasets.breast import cards
from semibench_plugins.datasets.breast.phantom import BreastPhantom
from semibench_plugins.datasets.mgcc_options import MgccOptions

IMAGE_FOLDERS = ("images", "image", "img", "original", "")


class BUSIS(ImageDataset):
    """Case id: the file name without its ending. Group: the image (no patient ids). One domain, as no file names its device."""

    card = cards.BUSIS
    phantom_class = BreastPhantom
    Options = MgccOptions

    def patterns(self, base: Path) -> Sequence[FilePattern]:
        return image_and_mask_patterns(base, IMAGE_FOLDERS, MASK_FOLDERS, required=False)

    def locate(self) -> Mapping[str, ImageEntry]:
        return self.image_entries()
