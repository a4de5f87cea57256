"""How much darker the labeled part of an image is than the rest: what a reader of grey levels alone would score."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from semibench.blocks import FloatArray


def darkness(image: FloatArray, mask: NDArray[np.bool_]) -> float:
    """Returns the probability that a labeled pixel is darker than one of the rest.

    This is the area under the curve of "darker" as a score for labeled pixels: 1 if every labeled pixel is darker than all
    others, .5 if grey levels tell nothing. Ties count half. The image of more than one channel is averaged over channels.

    Args:
        image: grey levels, with or without an axis of channels in front.
        mask: the labeled pixels; at least one, and not all.
    """
    grey = image.mean(axis=0) if image.ndim > mask.ndim else image
    labeled = int(mask.sum())
    rest = mask.size - labeled
    if not labeled or not rest:
        raise ValueError(f"Darkness needs labeled pixels and others, but {labeled} of {mask.size} pixels are labeled.")
    ranks = rankdata(-grey.ravel())[mask.ravel()]
    return float((ranks.sum() - labeled * (labeled + 1) / 2) / (labeled * rest))
