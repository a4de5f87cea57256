"""ISIC 2018, task 1: skin lesions in dermoscopy, in colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semibench.blocks import FilePattern, ImageDataset, ImageEntry, first_folder, read_colour
from semibench_plugins.datasets.skin import cards, published_splits
from semibench_plugins.datasets.skin.phantom import SkinPhantom

_ID = r"(?P<case>ISIC_\d{7})"
OFFICIAL = (
    FilePattern("image", rf"ISIC2018_Task1-2_Training_Input/{_ID}\.(?:jpe?g|png)", "{case}",
                "ISIC2018_Task1-2_Training_Input/{case}.jpg"),
    FilePattern("mask", rf"ISIC2018_Task1_Training_GroundTruth/{_ID}_segmentation\.png", "{case}",
                "ISIC2018_Task1_Training_GroundTruth/{case}_segmentation.png"),
)  # fmt: skip
REPACKED = (
    FilePattern("image", rf"Image/{_ID}\.(?:jpe?g|png)", "{case}", "Image/{case}.jpg"),
    FilePattern("mask", rf"Label/{_ID}\.(?:jpe?g|png)", "{case}", "Label/{case}.jpg"),
)
"""MedicalMatch's layout, in which mask and image share a name. Its masks are JPEG files, so they are thresholded at 127."""


class ISIC2018(ImageDataset):
    """Case id: e.g. "ISIC_0000000". Group: the image (patients are not published). One domain. Channels: red, green, blue."""

    card = cards.ISIC2018
    phantom_class = SkinPhantom
    listed_splits = {f"isic2018-{n}": partial(published_splits.isic2018, n) for n in published_splits.ISIC2018_LABELED}
    """MedicalMatch's 1838/756 lists, of which the first 181 or 55 ids are labeled."""

    def patterns(self, base: Path) -> Sequence[FilePattern]:
        return REPACKED if first_folder(base, ["Image"]) is not None else OFFICIAL

    def locate(self) -> Mapping[str, ImageEntry]:
        return self.image_entries()

    def pixels(self, path: Path) -> NDArray[np.uint8]:
        return read_colour(path)
