"""MSD Hippocampus: small T1 volumes. Axes (x, y, z) as stored: left to right, back to front, bottom to top."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from semibench import DatasetOptions
from semibench.blocks import (
    FilePattern,
    PatternDataset,
    PreparedVolume,
    Volume,
    VolumeEntry,
    VolumeOptions,
    centred_box,
    crop_or_pad,
    read_nifti,
    z_score,
)
from semibench_plugins.datasets.brain import cards
from semibench_plugins.datasets.brain.phantom import BrainPhantom

GRID = (48, 64, 48)
"""Multiples of 16 that fit every volume (the largest is 43 x 59 x 47)."""

PATTERNS = (
    FilePattern("image", r"imagesTr/(?P<case>hippocampus_\d+)\.nii\.gz", "{case}", "imagesTr/{case}.nii.gz"),
    FilePattern("mask", r"labelsTr/(?P<case>hippocampus_\d+)\.nii\.gz", "{case}", "labelsTr/{case}.nii.gz"),
)


class MSDHippocampusOptions(VolumeOptions, frozen=True, extra="forbid"):
    """size: the grid to which a volume is padded or cropped around its centre, without resizing (None: 48, 64, 48)."""


class MSDHippocampus(PatternDataset):
    """Case id: e.g. "hippocampus_001". Group: the case id (one volume per patient is published). One domain.

    A volume has zero mean and unit variance; padding is 0, the mean.
    """

    card = cards.MSD_HIPPOCAMPUS
    phantom_class = BrainPhantom
    Options = MSDHippocampusOptions

    def patterns(self, base: Path) -> Sequence[FilePattern]:
        return PATTERNS

    def load(self, entry: VolumeEntry, path: Path, key: Literal["image", "label"]) -> Volume:
        return read_nifti(path)

    def prepare(self, entry: VolumeEntry, image: NDArray[Any], label: NDArray[np.uint8] | None) -> PreparedVolume:
        size = tuple(self.options.size or GRID)
        box = centred_box(image.shape, size)
        return PreparedVolume(box, crop_or_pad(z_score(np.asarray(image, dtype=np.float32)), box), size)

    @classmethod
    def normaliser(cls, options: DatasetOptions) -> Callable[[Tensor], Tensor] | None:
        return lambda image: (image - image.mean()) / image.std(correction=0).clamp_min(1e-6)
