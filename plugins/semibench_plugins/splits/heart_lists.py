"""The published lists of the heart data sets, by their path: "la/train.list", "mmwhs/test_ct.txt"."""

from __future__ import annotations

from semibench.blocks import read_id_list
from semibench_plugins.datasets.heart.published_splits import LISTS


def read_ids(path: str) -> list[str]:
    """Returns the ids of a published list, in its order. path: below the lists of the heart data sets."""
    return list(read_id_list(LISTS, f"lists/{path}"))
