"""Options of the data sets that the MGCC paper uses."""

from __future__ import annotations

from semibench.blocks import ImageOptions


class MgccOptions(ImageOptions, frozen=True, extra="forbid"):
    """edition: "mgcc" resizes the whole image as the MGCC paper does and scales it to 0..1 (its code divides by 255 twice,
    this one once); "imagenet" then normalises it by ImageNet's mean and standard deviation."""

    edition: str = "mgcc"
