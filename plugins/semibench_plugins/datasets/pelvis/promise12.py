"""PROMISE12: prostate in T2 MR, MetaImage files (.mhd with .raw). Axes (z, y, x)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semibench import CaseRef
from semibench.blocks import (
    FilePattern,
    PatternDataset,
    PreparedVolume,
    VolumeEntry,
    VolumeOptions,
    metaimage_data_file,
    scale_percentiles,
    scale_to_unit,
)
from semibench_plugins.datasets.pelvis import cards, published_splits
from semibench_plugins.datasets.pelvis.phantom import PelvisPhantom

_PART = r"(?:(?P<part>training_?data(?:_part\d)?)/)?"
_STEM = _PART + r"(?P<case>Case\d{2})"
PATTERNS = (
    FilePattern("image", _STEM + r"\.mhd", "{case}", "{case}.mhd"),
    FilePattern("image data", _STEM + r"\.z?raw", "{case}", "{case}.raw", required=False),
    FilePattern("mask", _STEM + r"_segmentation\.mhd", "{case}", "{case}_segmentation.mhd"),
    FilePattern("mask data", _STEM + r"_segmentation\.z?raw", "{case}", "{case}_segmentation.raw", required=False),
)


class PROMISE12Options(VolumeOptions, frozen=True, extra="forbid"):
    """edition: "min-max" scales the volume's minimum and maximum to 0 and 1, as SSL4MIS does; "percentile" scales its 0.5th and
    99.5th percentiles. Both keep the native grid."""

    edition: str = "min-max"


class PROMISE12(PatternDataset):
    """Case id: "Case00" to "Case49". Group: the case id. One domain (the files don't name the centre)."""

    card = cards.PROMISE12
    phantom_class = PelvisPhantom
    Options = PROMISE12Options
    scalings = {"min-max": scale_to_unit, "percentile": scale_percentiles}
    listed_splits = {
        f"promise12-{n}": partial(published_splits.promise12, n) for n in published_splits.PROMISE12_LABELED
    }
    """CV-SSL-MIS's 35/5/10 list, of which the first 2, 1, 3, 4 or 7 cases are labeled."""

    def patterns(self, base: Path) -> Sequence[FilePattern]:
        return PATTERNS

    def files(self, ref: CaseRef) -> tuple[Path, ...]:
        headers = super().files(ref)
        return (*headers, *(data for header in headers if (data := metaimage_data_file(header)) is not None))

    def prepare(self, entry: VolumeEntry, image: NDArray[Any], label: NDArray[np.uint8] | None) -> PreparedVolume:
        box = tuple((0, n) for n in image.shape)
        scaled = self.scalings[self.options.edition](np.asarray(image, dtype=np.float32))
        return PreparedVolume(box, scaled, self.size_of(box))
