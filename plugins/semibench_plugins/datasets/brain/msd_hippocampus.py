"""MSD Hippocampus: small T1 volumes. Axes (x, y, z) as stored: left to right, back to front, bottom to top."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from semibench import DatasetOptions
from semibench.blocks import (
    FilePattern,
    PreparedVolume,
    Volume,
    VolumeDataset,
    VolumeEntry,
    VolumeOptions,
    centred_box,
    crop_or_pad,
    find_data_folder,
    layout_error,
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


class MSDHippocampus(VolumeDataset):
    """Case id: e.g. "hippocampus_001". Group: the case id (one volume per patient is published). One domain.

    A volume has zero mean and unit variance; padding is 0, the mean.
    """

    card = cards.MSD_HIPPOCAMPUS
    phantom_class = BrainPhantom
    Options = MSDHippocampusOptions

    def patterns(self, base: Path) -> Sequence[FilePattern]:
        return PATTERNS

    def locate(self) -> Mapping[str, VolumeEntry]:
        base = find_data_folder(self.root, self.card, lambda folder: (folder / "imagesTr").is_dir())
        entries = {}
        for path in sorted((base / "imagesTr").glob("hippocampus_*.nii.gz")):
            name, label = path.name.removesuffix(".nii.gz"), base / "labelsTr" / path.name
            entries[name] = VolumeEntry(path, label if label.is_file() else None, name, self.card.domains[0])
        if not entries:
            raise layout_error(base, self.card, f"no hippocampus_NNN.nii.gz in {base / 'imagesTr'}")
        return entries

    def load(self, entry: VolumeEntry, path: Path, key: Literal["image", "label"]) -> Volume:
        return read_nifti(path)

    def prepare(self, entry: VolumeEntry, image: NDArray[Any], label: NDArray[np.uint8] | None) -> PreparedVolume:
        size = tuple(self.options.size or GRID)
        box = centred_box(image.shape, size)
        return PreparedVolume(box, crop_or_pad(z_score(np.asarray(image, dtype=np.float32)), box), size)

    @classmethod
    def normaliser(cls, options: DatasetOptions) -> Callable[[Tensor], Tensor] | None:
        return lambda image: (image - image.mean()) / image.std(correction=0).clamp_min(1e-6)
