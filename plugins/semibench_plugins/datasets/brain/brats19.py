"""BraTS 2019: whole tumour in FLAIR. Axes (z, y, x)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semibench import CaseError
from semibench.blocks import (
    Box,
    FilePattern,
    PatternDataset,
    PreparedVolume,
    VolumeEntry,
    VolumeOptions,
    crop_or_pad,
)
from semibench_plugins.datasets.brain import cards, published_splits
from semibench_plugins.datasets.brain.phantom import BrainPhantom

WHOLE_TUMOUR = {0: 0, 1: 1, 2: 1, 4: 1}
CLIP = 99.9
_NAME = r"BraTS19_\w+?"
_STEM = rf"(?:MICCAI_BraTS_2019_Data_Training/)?(?P<grade>HGG|LGG)/(?P<case>{_NAME})/(?P=case)"
OFFICIAL = (
    FilePattern("FLAIR image", _STEM + r"_flair\.nii(?:\.gz)?", "{case}", "{grade}/{case}/{case}_flair.nii.gz"),
    FilePattern("mask", _STEM + r"_seg\.nii(?:\.gz)?", "{case}", "{grade}/{case}/{case}_seg.nii.gz"),
)
SSL4MIS = (FilePattern("volume", rf"(?:h5|data)/(?P<case>{_NAME})\.h5", "{case}", "h5/{case}.h5"),)


def brain_box(image: NDArray[np.float32]) -> Box | None:
    """Returns the box from the first to the last non-zero plane; like SSL4MIS's code, it excludes the last one."""
    box = []
    for axis in range(image.ndim):
        used = np.flatnonzero((image != 0).any(axis=tuple(a for a in range(image.ndim) if a != axis)))
        if not len(used):
            return None
        box.append((int(used[0]), max(int(used[-1]), int(used[0]) + 1)))
    return tuple(box)


def brain_score(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Clips from above at the 99.9th percentile, then standardises all voxels by the mean and standard deviation of those above
    0."""
    clipped = np.minimum(image, np.percentile(image, CLIP))
    inside = clipped[clipped > 0]
    if not len(inside) or float(inside.std(dtype=np.float64)) == 0:
        return np.zeros_like(image, dtype=np.float32)
    return ((clipped - inside.mean(dtype=np.float64)) / inside.std(dtype=np.float64)).astype(np.float32)


class BraTS19Options(VolumeOptions, frozen=True, extra="forbid"):
    """edition: "official" reads FLAIR and seg and processes them as SSL4MIS does (box of the brain, clip at the 99.9th
    percentile, z-score by the voxels above 0); "ssl4mis" reads the processed HDF5 files of SSL4MIS unchanged."""

    edition: str = "official"


class BraTS19(PatternDataset):
    """Case id: e.g. "BraTS19_TCIA02_370_1". Group: the case id (one scan per patient). One domain."""

    card = cards.BRATS19
    phantom_class = BrainPhantom
    Options = BraTS19Options
    known = ("*_t1.nii.gz", "*_t1ce.nii.gz", "*_t2.nii.gz", "*_t1.nii", "*_t1ce.nii", "*_t2.nii", "*name_mapping.csv",
             "*survival_data.csv", "*.txt", "*.list")  # fmt: skip
    h5_spacing = (1.0, 1.0, 1.0)
    scalings = {"official": brain_score, "ssl4mis": brain_score}
    listed_splits = {f"brats19-{n}": partial(published_splits.brats19, n) for n in published_splits.BRATS19_LABELED}
    """SSL4MIS's 250/25/60 lists, of which the first 25 or 50 lines are labeled."""

    def patterns(self, base: Path) -> Sequence[FilePattern]:
        return OFFICIAL if self.options.edition == "official" else SSL4MIS

    def label_classes(self, path: Path) -> Mapping[int, int]:
        return WHOLE_TUMOUR

    def prepare(self, entry: VolumeEntry, image: NDArray[Any], label: NDArray[np.uint8] | None) -> PreparedVolume:
        values = np.asarray(image, dtype=np.float32)
        if self.options.edition == "ssl4mis":
            whole: Box = tuple((0, n) for n in image.shape)
            return PreparedVolume(whole, values, self.size_of(whole))
        box = brain_box(values)
        if box is None:
            raise CaseError(f"{entry.image}: expected a brain, found zeros only; restore the original file")
        return PreparedVolume(box, brain_score(crop_or_pad(values, box)), self.size_of(box))
