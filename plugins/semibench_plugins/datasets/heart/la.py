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
    PreparedVolume,
    Volume,
    VolumeDataset,
    VolumeEntry,
    VolumeOptions,
    candidate_folders,
    crop_or_pad,
    foreground_box,
    layout_error,
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
OFFICIAL = "2018LA_Seg_Training Set"
H5_FOLDERS = ("h5", f"h5/{OFFICIAL}", OFFICIAL, "")
RAW_FOLDERS = (f"raw/{OFFICIAL}", OFFICIAL, "Training Set", "raw", "")

_SET = r"(?:2018LA_Seg_Training Set/|Training Set/)?"
PROCESSED = (FilePattern("volume", rf"(?:h5/)?{_SET}(?P<case>[^/]+)(?:\.h5|/mri_norm2\.h5)", "{case}", "h5/{case}.h5"),)
RAW = (
    FilePattern("image", rf"(?P<set>(?:raw/)?{_SET})(?P<case>[^/]+)/lgemri\.nrrd", "{case}", "{set}{case}/lgemri.nrrd"),
    FilePattern("mask", rf"(?P<set>(?:raw/)?{_SET})(?P<case>[^/]+)/laendo\.nrrd", "{case}", "{set}{case}/laendo.nrrd"),
)


class LAOptions(VolumeOptions, frozen=True, extra="forbid"):
    """edition: "uamt" reads the processed files unchanged; "margin-15" computes them from NRRD (z-score of the whole volume,
    then x and y cropped to the label's box with a fixed margin); "label-free" does so but keeps the whole volume."""

    edition: str = "uamt"


class LA(VolumeDataset):
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

    def locate(self) -> Mapping[str, VolumeEntry]:
        processed = self.options.edition == "uamt"
        for base in candidate_folders(self.root, self.card) if self.root is not None else ():
            entries = _h5_files(base) if processed else _nrrd_files(base)
            if entries:
                return entries
        expected = "processed HDF5 files" if processed else "lgemri.nrrd with laendo.nrrd"
        other = "margin-15 (reads NRRD)" if processed else "uamt (reads HDF5)"
        raise layout_error(
            self.root, self.card, f"found no {expected} for the edition {self.options.edition!r}; "
            f"another edition is {other}: --set dataset.edition={other.split(' ')[0]}."
        )  # fmt: skip

    def load(self, entry: VolumeEntry, path: Path, key: Literal["image", "label"]) -> Volume:
        return read_nrrd(path) if path.suffix == ".nrrd" else super().load(entry, path, key)

    def label_classes(self, path: Path) -> Mapping[int, int]:
        return {0: 0, 1: 1} if path.suffix == ".h5" else {0: 0, 255: 1}

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


def _h5_files(base: Path) -> dict[str, VolumeEntry]:
    for name in H5_FOLDERS:
        folder = base / name
        if not folder.is_dir():
            continue
        files = {path.stem: path for path in sorted(folder.glob("*.h5"))}
        files |= {path.parent.name: path for path in sorted(folder.glob("*/mri_norm2.h5"))}
        if files:
            return {case: VolumeEntry(path, path, case, cards.LA.domains[0]) for case, path in files.items()}
    return {}


def _nrrd_files(base: Path) -> dict[str, VolumeEntry]:
    for folder in RAW_FOLDERS:
        entries = {}
        for image in sorted((base / folder).glob("*/lgemri.nrrd")):
            name, label = image.parent.name, image.with_name("laendo.nrrd")
            entries[name] = VolumeEntry(image, label if label.is_file() else None, name, cards.LA.domains[0])
        if entries:
            return entries
    return {}
