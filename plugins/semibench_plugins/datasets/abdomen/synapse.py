"""Synapse (BTCV): 13 abdominal organs in CT. Axes (z, y, x)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semibench.blocks import (
    FilePattern,
    PatternDataset,
    PreparedVolume,
    VolumeEntry,
    VolumeOptions,
)
from semibench_plugins.datasets.abdomen import cards, published_splits
from semibench_plugins.datasets.abdomen.ct_values import GRID, ct_unit
from semibench_plugins.datasets.abdomen.phantom import AbdomenPhantom

PATTERNS = (
    FilePattern("image", r"(?:imagesTr|img)/img(?P<case>\d{4})\.nii(?:\.gz)?", "{case}", "imagesTr/img{case}.nii.gz"),
    FilePattern(
        "mask", r"(?:labelsTr|label)/label(?P<case>\d{4})\.nii(?:\.gz)?", "{case}", "labelsTr/label{case}.nii.gz"
    ),
)


class SynapseOptions(VolumeOptions, frozen=True, extra="forbid"):
    """edition: "genericssl" resizes the whole volume to `size` (80, 160, 160); "dhc" keeps all slices and halves the number
    of rows and columns. Both clip to -75..275 HU and scale the volume to 0..1."""

    edition: str = "genericssl"


class Synapse(PatternDataset):
    """Case id: the four digits, e.g. "0001". Group: the case id. One domain."""

    card = cards.SYNAPSE
    phantom_class = AbdomenPhantom
    Options = SynapseOptions
    scalings = {"genericssl": ct_unit, "dhc": ct_unit}
    listed_splits = {name: partial(published_splits.synapse, name) for name in published_splits.SYNAPSE_LISTS}
    """Splits of 20/4/6 volumes that share the test set."""

    def patterns(self, base: Path) -> Sequence[FilePattern]:
        return PATTERNS

    def prepare(self, entry: VolumeEntry, image: NDArray[Any], label: NDArray[np.uint8] | None) -> PreparedVolume:
        z, y, x = image.shape
        grid = GRID if self.options.edition == "genericssl" else (z, max(y // 2, 1), max(x // 2, 1))
        box = ((0, z), (0, y), (0, x))
        return PreparedVolume(box, np.asarray(image, dtype=np.float32), self.size_of(box, grid), finish=ct_unit)
