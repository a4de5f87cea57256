"""M&Ms: cardiac short-axis cine MR from four vendors. The labeled frames (ED, ES) are the cases. Axes (z, y, x)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semibench import CaseError
from semibench.blocks import (
    CaseFiles,
    FilePattern,
    Interpolation,
    PatternDataset,
    PreparedVolume,
    VolumeEntry,
    VolumeOptions,
    crop_or_pad,
    foreground_box,
    layout_error,
    scale_percentiles,
)
from semibench_plugins.datasets.heart import cards, published_splits
from semibench_plugins.datasets.heart.phantom import HeartPhantom

GRID = (32, 144, 144)

_STEM = r"(?P<part>Training/Labeled|Validation|Testing|Labeled(?:/vendor[A-D])?)/(?P<case>[^/]+)/(?P=case)_sa"
PATTERNS = (
    FilePattern("cine", _STEM + r"\.nii\.gz", "{case}", "{part}/{case}/{case}_sa.nii.gz"),
    FilePattern("mask", _STEM + r"_gt\.nii\.gz", "{case}", "{part}/{case}/{case}_sa_gt.nii.gz"),
)


class MNMsOptions(VolumeOptions, frozen=True, extra="forbid"):
    """edition: "genericssl" crops z to the labeled slices without the last one, and x and y to their middle two thirds;
    "label-free" does the same but keeps all slices. Both resize to `size` (32, 144, 144), clip to the 0.5th and 99.5th
    percentiles and scale to 0..1."""

    edition: str = "genericssl"


class MNMs(PatternDataset):
    """Case id: "<code>_sa_<frame>". Group: the patient (code), so that both frames stay together. Domain: the vendor.

    Frames and vendors come from the packaged table of the 345 published patients. The 25 unlabeled training patients
    are not cases.
    """

    card = cards.MNMS
    phantom_class = HeartPhantom
    known = ("training/unlabeled/*", "*.csv", "*.xls*")
    Options = MNMsOptions
    scalings = {"genericssl": scale_percentiles, "label-free": scale_percentiles}
    listed_splits = published_splits.mnms_rules()

    def patterns(self, base: Path) -> Sequence[FilePattern]:
        return PATTERNS

    def entries_of(self, cases: Mapping[str, CaseFiles]) -> Mapping[str, VolumeEntry]:
        table = published_splits.mnms_frames()
        unknown = [code for code in cases if code not in table]
        if unknown:
            raise layout_error(
                self.root,
                self.card,
                f"{len(unknown)} patients are not among the 345 published ones: {', '.join(unknown[:5])}",
            )
        entries: dict[str, VolumeEntry] = {}
        for code, files in cases.items():
            vendor, frames = table[code]
            image, label = self.image_and_label(files)
            for frame in frames:
                entries[published_splits.mnms_case(code, frame)] = VolumeEntry(image, label, code, vendor, frame)
        return entries

    def prepare(self, entry: VolumeEntry, image: NDArray[Any], label: NDArray[np.uint8] | None) -> PreparedVolume:
        slices = (0, image.shape[0])
        if self.options.edition == "genericssl":
            tight = None if label is None else foreground_box(label)
            if tight is None:
                raise CaseError(
                    f"{entry.label or entry.image}: frame {entry.frame} has no label, and the edition genericssl crops to it"
                )
            slices = (tight[0][0], max(tight[0][1] - 1, tight[0][0] + 1))
        box = (slices, *(middle(n) for n in image.shape[1:]))
        how: Interpolation = "nearest" if self.options.edition == "genericssl" else "linear"
        values = crop_or_pad(np.asarray(image, dtype=np.float32), box)
        return PreparedVolume(box, values, self.size_of(box, GRID), how, scale_percentiles)


def middle(length: int) -> tuple[int, int]:
    """Returns the middle two thirds of an axis: length//2 minus and plus length//3."""
    return length // 2 - length // 3, length // 2 + length // 3
