"""MM-WHS 2017: MR and CT of the heart, with four of its seven structures. Axes (z, y, x), ITK's identity direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from semibench import CaseError
from semibench.blocks import (
    FilePattern,
    PatternDataset,
    PreparedVolume,
    Volume,
    VolumeEntry,
    VolumeOptions,
    crop_or_pad,
    foreground_box,
    read_nifti_lps,
    scale_percentiles,
    scale_to_unit,
)
from semibench_plugins.datasets.heart import cards, published_splits
from semibench_plugins.datasets.heart.phantom import HeartPhantom

GRID = (144, 144, 144)
MARGIN = 4
CLASSES = {0: 0, 205: 1, 420: 2, 421: 2, 500: 3, 820: 4, 550: 0, 600: 0, 850: 0}
"""421 is a stray value of the left atrium in one case. 550, 600 and 850 are right atrium, right ventricle and pulmonary artery."""
STRAY = "mr_train_1002"
"""The case whose label has stray marks near the borders, which GenericSSL erases before the crop."""

_CASE = r"(?P<case>(?:mr|ct)_train_\d+)"
_IMAGE, _LABEL = rf"{_CASE}_image\.nii(?:\.gz)?", rf"{_CASE}_label\.nii(?:\.gz)?"
FLAT = tuple(
    FilePattern(role, rf"(?P<folder>mr_train|ct_train|MR|CT)/{regex}", "{case}", f"{{folder}}/{{case}}_{role}.nii.gz")
    for role, regex in (("image", _IMAGE), ("label", _LABEL))
)
NESTED = tuple(
    FilePattern(role, rf"(?P<folder>MR|CT)/{role}sTr/{regex}", "{case}", f"{{folder}}/{role}sTr/{{case}}_{role}.nii.gz")
    for role, regex in (("image", _IMAGE), ("label", _LABEL))
)


class MMWHSOptions(VolumeOptions, frozen=True, extra="forbid"):
    """edition: "genericssl" crops to the label's box, as all published numbers of its family do, and clips to 0 and the 98th
    percentile of the crop; "label-free" keeps the whole volume and clips to its 0.5th and 99.5th percentiles. Both resize to
    `size` (144 cubed) and scale to 0..1."""

    edition: str = "genericssl"


class MMWHS(PatternDataset):
    """Case id: e.g. "mr_train_1001". Group: the case id (MR and CT come from different patients). Domain: mr or ct."""

    card = cards.MMWHS
    phantom_class = HeartPhantom
    known = ("*_test_*",)
    Options = MMWHSOptions
    scalings = {"genericssl": lambda image: scale_to_unit(positive(image)), "label-free": scale_percentiles}
    listed_splits = {f"{a}2{b}": partial(published_splits.mmwhs, a, b) for a, b in (("mr", "ct"), ("ct", "mr"))}
    """GenericSSL's lists. Their validation cases are labeled target volumes."""

    def patterns(self, base: Path) -> Sequence[FilePattern]:
        nested = any((base / modality / "imagesTr").is_dir() for modality in ("MR", "CT"))
        return NESTED + FLAT if nested else FLAT + NESTED

    def domain_of(self, case: str) -> str:
        return case[:2].lower()

    def load(self, entry: VolumeEntry, path: Path, key: Literal["image", "label"]) -> Volume:
        return read_nifti_lps(path)

    def label_classes(self, path: Path) -> Mapping[int, int]:
        return CLASSES

    def load_label(self, entry: VolumeEntry, path: Path) -> Volume:
        volume = super().load_label(entry, path)
        if entry.group == STRAY and self.options.edition == "genericssl":
            volume.array[:4], volume.array[:, -10:-1], volume.array[:, :, :4] = 0, 0, 0
        return volume

    def prepare(self, entry: VolumeEntry, image: NDArray[Any], label: NDArray[np.uint8] | None) -> PreparedVolume:
        values = np.asarray(image, dtype=np.float32)
        if self.options.edition == "label-free":
            whole = tuple((0, n) for n in image.shape)
            return PreparedVolume(whole, values, self.size_of(whole, GRID), finish=scale_percentiles)
        if label is None or not label.any():
            raise CaseError(
                f"{entry.label or entry.image}: the edition genericssl crops to the label, and there is none"
            )
        start_stop = foreground_box(label, MARGIN) or ()
        # The published code excludes its end index, the last voxel plus the margin: the crop is one plane short of the margin.
        last = [int(np.flatnonzero(label.any(axis=tuple(a for a in range(3) if a != axis)))[-1]) for axis in range(3)]
        box = tuple((a, min(b, end + MARGIN)) for (a, b), end in zip(start_stop, last, strict=True))
        part = crop_or_pad(values, box)
        return PreparedVolume(box, positive(part), self.size_of(box, GRID), how="nearest", finish=scale_to_unit)


def positive(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Clips to 0 and the 98th percentile, as GenericSSL does before its z-score (which its later min-max scaling undoes)."""
    return np.clip(image, 0, max(float(np.percentile(image, 98)), 0))
