"""Options of the data sets that the MGCC paper prepared."""

from __future__ import annotations

from semibench.blocks import ImageOptions


class MgccOptions(ImageOptions, frozen=True, extra="forbid"):
    """edition "mgcc": the MGCC paper's resize of the whole image, to 0..1 (its code divides by 255 twice; here once)."""

    edition: str = "mgcc"
