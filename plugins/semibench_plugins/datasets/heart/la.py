"""LA 2018: left atrium, from UA-MT's processed HDF5 files or the official NRRD files. Axes (x, y, z)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from semibench import CaseError
from semibench.blocks import (
    Box,
    FilePattern,
    PatternDataset,
    PreparedVolume,
    Volume,
    VolumeEntry,
    VolumeOptions,
    crop_or_pad,
    foreground_box,
    read_nrrd,
    z_score,
)
from semibench_plugins.datasets.heart import cards, published_splits
from semibench_plugins.datasets.heart.phantom import HeartPhantom

SPACING = (0.625, 0.625, 0.625)
"""The spacing of all volumes, in mm; the HDF5 files don't store it."""
MARGIN = 15
LEAST = 112
"""UA-MT's patch length. In x and y, a label shorter than this is first widened to it."""

_SET = r"(?:2018LA_Seg_Training Set/|Training Set/)?"
PROCESSED = (
    FilePattern("volume", rf"(?:h5/|data/)?{_SET}(?P<case>[^/]+)(?:\.h5|/mri_norm2\.h5)", "{case}", "h5/{case}.h5"),
)
"""UA-MT's repository has the files in data/."""
RAW = (
    FilePattern("image", rf"(?P<set>(?:raw/)?{_SET})(?P<case>[^/]+)/lgemri\.nrrd", "{case}", "{set}{case}/lgemri.nrrd"),
    FilePattern("mask", rf"(?P<set>(?:raw/)?{_SET})(?P<case>[^/]+)/laendo\.nrrd", "{case}", "{set}{case}/laendo.nrrd"),
)


class LAOptions(VolumeOptions, frozen=True, extra="forbid"):
    """edition: "uamt" reads the processed files unchanged; "margin-15" computes them from NRRD (z-score of the whole volume,
    then x and y cropped to the label's box with a fixed margin); "label-free" does so but keeps the whole volume."""

    edition: str = "uamt"


class LA(PatternDataset):
    """Case id: the 20-character code. Group: the case id (the challenge hides which scans share a patient). One domain."""

    card = cards.LA
    phantom_class = HeartPhantom
    known = ("*lawall.nrrd", "*.list")
    Options = LAOptions
    h5_spacing = SPACING
    listed_splits = {f"la-{n}": partial(published_splits.la, n) for n in (8, 4, 16)}
    """UA-MT's 80/20 lists, of which the first 8, 4 or 16 lines are labeled."""

    def patterns(self, base: Path) -> Sequence[FilePattern]:
        return PROCESSED if self.options.edition == "uamt" else RAW

    def load(self, entry: VolumeEntry, path: Path, key: Literal["image", "label"]) -> Volume:
        return read_nrrd(path) if path.suffix.lower() == ".nrrd" else super().load(entry, path, key)

    def label_classes(self, path: Path) -> Mapping[int, int]:
        return {0: 0, 1: 1} if path.suffix.lower() == ".h5" else {0: 0, 255: 1}

    def prepare(self, entry: VolumeEntry, image: NDArray[Any], label: NDArray[np.uint8] | None) -> PreparedVolume:
        whole = tuple((0, n) for n in image.shape)
        values = np.asarray(image, dtype=np.float32)
        if self.options.edition == "uamt":
            return PreparedVolume(whole, values, self.size_of(whole))
        values = z_score(values)
        if self.options.edition == "label-free":
            return PreparedVolume(whole, values, self.size_of(whole))
        box = None if label is None else crop_box(label)
        if box is None:
            raise CaseError(
                f"{entry.label or entry.image}: the edition margin-15 crops to the label, and there is none"
            )
        return PreparedVolume(box, crop_or_pad(values, box), self.size_of(box))


def crop_box(label: NDArray[np.uint8]) -> Box | None:
    """Returns the box to crop to. In x and y it is the label's box, extended on each side by MARGIN voxels plus half of what
    the box lacks of LEAST; z isn't cropped."""
    tight = foreground_box(label)
    if tight is None:
        return None
    margins = [MARGIN + max(LEAST - (stop - start), 0) // 2 for start, stop in tight[:2]]
    return (*(foreground_box(label, (*margins, 0)) or ())[:2], (0, label.shape[2]))
