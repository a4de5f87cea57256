"""MSD Hippocampus: small T1 volumes. Axes (x, y, z) as stored: left to right, back to front, bottom to top."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from semibench import DatasetOptions
from semibench_plugins.datasets import cards
from semibench_plugins.datasets.file_patterns import FilePattern
from semibench_plugins.datasets.official_layout import find_base, layout_error
from semibench_plugins.datasets.volume_dataset import Prepared, VolumeDataset, VolumeEntry, VolumeOptions, map_labels
from semibench_plugins.datasets.volume_files import read_nifti
from semibench_plugins.datasets.working_grid import Box, cut, z_score

GRID = (48, 64, 48)
"""A multiple of 16 that holds every volume (the largest is 43 x 59 x 47)."""

PATTERNS = (
    FilePattern("image", r"imagesTr/(?P<case>hippocampus_\d+)\.nii\.gz", "{case}", "imagesTr/{case}.nii.gz"),
    FilePattern("mask", r"labelsTr/(?P<case>hippocampus_\d+)\.nii\.gz", "{case}", "labelsTr/{case}.nii.gz"),
)


class MSDHippocampusOptions(VolumeOptions, frozen=True, extra="forbid"):
    """size: the grid that a volume is padded or cropped to around its centre, not resized (None: 48, 64, 48)."""


class MSDHippocampus(VolumeDataset):
    """Id: e.g. "hippocampus_001". Group: the same (one volume per patient is published). Domain: one.

    Values: zero mean and unit deviation of the volume; padding is 0, which is the mean.
    """

    card = cards.MSD_HIPPOCAMPUS
    Options = MSDHippocampusOptions

    def patterns(self, base: Path) -> Sequence[FilePattern]:
        return PATTERNS

    def locate(self) -> Mapping[str, VolumeEntry]:
        base = find_base(self.root, self.card, lambda place: (place / "imagesTr").is_dir())
        found = {}
        for path in sorted((base / "imagesTr").glob("hippocampus_*.nii.gz")):
            name, label = path.name.removesuffix(".nii.gz"), base / "labelsTr" / path.name
            found[name] = VolumeEntry(path, label if label.is_file() else None, name, self.card.domains[0])
        if not found:
            raise layout_error(base, self.card, f"no hippocampus_NNN.nii.gz in {base / 'imagesTr'}")
        return found

    def load_image(self, entry: VolumeEntry) -> tuple[NDArray[Any], tuple[float, ...]]:
        stored = read_nifti(entry.image)
        return stored.array, stored.spacing

    def load_label(self, entry: VolumeEntry, path: Path) -> tuple[NDArray[np.uint8], tuple[float, ...]]:
        stored = read_nifti(path)
        return map_labels(stored.array, {0: 0, 1: 1, 2: 2}, path), stored.spacing

    def prepare(self, entry: VolumeEntry, image: NDArray[Any], label: NDArray[np.uint8] | None) -> Prepared:
        size = tuple(self.options.size or GRID)
        box = centred(image.shape, size)
        return Prepared(box, cut(z_score(np.asarray(image, dtype=np.float32)), box), size)

    @classmethod
    def normaliser(cls, options: DatasetOptions) -> Callable[[Tensor], Tensor] | None:
        return lambda image: (image - image.mean()) / image.std(correction=0).clamp_min(1e-6)


def centred(shape: tuple[int, ...], size: tuple[int, ...]) -> Box:
    """The box of `size` around the centre of a grid; it reaches beyond the grid where that is smaller."""
    starts = [(n - wanted) // 2 for n, wanted in zip(shape, size, strict=True)]
    return tuple((start, start + wanted) for start, wanted in zip(starts, size, strict=True))
