"""AMOS22: 15 abdominal organs in CT and MR. Axes (z, y, x)."""

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
    scale_percentiles,
)
from semibench_plugins.datasets.abdomen import cards, published_splits
from semibench_plugins.datasets.abdomen.ct_values import GRID, ct_unit
from semibench_plugins.datasets.abdomen.phantom import AbdomenPhantom

FIRST_MR = 501
"""Ids from this number on are MR."""
_CASE = r"(?P<case>amos_\d{4})\.nii(?:\.gz)?"
PATTERNS = (
    FilePattern("image", rf"images(?P<part>Tr|Va)/{_CASE}", "{case}", "images{part}/{case}.nii.gz"),
    FilePattern("mask", rf"labels(?P<part>Tr|Va)/{_CASE}", "{case}", "labels{part}/{case}.nii.gz"),
)


class AMOS22Options(VolumeOptions, frozen=True, extra="forbid"):
    """edition: "dhc" clips to -75..275 and scales the volume to 0..1. Like the published code, it does so even for MR
    (bright MR saturates). "mr-percentile" scales MR by its 0.5th and 99.5th percentiles. Both resize the volume to `size`
    (80, 160, 160)."""

    edition: str = "dhc"


class AMOS22(PatternDataset):
    """Case id: e.g. "amos_0001". Group: the case id. Domain: ct, or mr for ids above 500."""

    card = cards.AMOS22
    phantom_class = AbdomenPhantom
    Options = AMOS22Options
    known = ("imagests/*", "labelsts/*", "*.csv", "*.xlsx")
    scalings = {
        "dhc": ct_unit,
        "mr-percentile": lambda image: (ct_unit if image.min() < 0 else scale_percentiles)(image),
    }
    """The phantom's MR is recognised by its lowest value: only CT has values below 0."""
    listed_splits = {f"amos22-{n}pct": partial(published_splits.amos22, n) for n in published_splits.AMOS22_PERCENT}
    """DHC's 216/24/120 volumes, of which 10, 4 or 21 are labeled."""

    def patterns(self, base: Path) -> Sequence[FilePattern]:
        return PATTERNS

    def domain_of(self, case: str) -> str:
        return self.card.domains[int(case.rpartition("_")[2]) >= FIRST_MR]

    def prepare(self, entry: VolumeEntry, image: NDArray[Any], label: NDArray[np.uint8] | None) -> PreparedVolume:
        box = tuple((0, n) for n in image.shape)
        by_percentile = self.options.edition == "mr-percentile" and entry.domain == "mr"
        finish = scale_percentiles if by_percentile else ct_unit
        return PreparedVolume(box, np.asarray(image, dtype=np.float32), self.size_of(box, GRID), finish=finish)
