"""BUSIS: any flat folder of images. Masks are optional, as the data set mostly serves as unlabeled data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from semibench.blocks import (
    MASK_FOLDERS,
    FilePattern,
    ImageDataset,
    ImageEntry,
    find_data_folder,
    image_and_mask_patterns,
    image_files,
    pair_image_folders,
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
        base = find_data_folder(self.root, self.card, _has_images)
        pairs = pair_image_folders(base, self.card, IMAGE_FOLDERS, required=False)
        domain = self.card.domains[0]
        return {
            name: ImageEntry(image, () if mask is None else (mask,), group=name, domain=domain)
            for name, (image, mask) in pairs.items()
        }


def _has_images(base: Path) -> bool:
    return any((base / name).is_dir() and bool(image_files(base / name)) for name in IMAGE_FOLDERS)
