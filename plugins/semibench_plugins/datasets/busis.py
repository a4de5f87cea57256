"""BUSIS: any flat folder of images; masks are optional, as the set mostly serves as unlabeled data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from semibench_plugins.datasets import cards
from semibench_plugins.datasets.file_patterns import FilePattern, paired
from semibench_plugins.datasets.flat_folders import MASK_FOLDERS, pair_folders
from semibench_plugins.datasets.image_dataset import ImageDataset, ImageEntry, MgccOptions
from semibench_plugins.datasets.official_layout import find_base
from semibench_plugins.datasets.raster_files import image_files

IMAGE_FOLDERS = ("images", "image", "img", "original", "")


class BUSIS(ImageDataset):
    """Id: file name without ending. Group: the image (no patient ids). Domain: one, as no file names its device."""

    card = cards.BUSIS
    Options = MgccOptions

    def patterns(self, base: Path) -> Sequence[FilePattern]:
        return paired(base, IMAGE_FOLDERS, MASK_FOLDERS, required=False)

    def locate(self) -> Mapping[str, ImageEntry]:
        base = find_base(self.root, self.card, _has_images)
        pairs = pair_folders(base, self.card, IMAGE_FOLDERS, required=False)
        domain = self.card.domains[0]
        return {
            name: ImageEntry(image, () if mask is None else (mask,), group=name, domain=domain)
            for name, (image, mask) in pairs.items()
        }


def _has_images(base: Path) -> bool:
    return any((base / name).is_dir() and bool(image_files(base / name)) for name in IMAGE_FOLDERS)
