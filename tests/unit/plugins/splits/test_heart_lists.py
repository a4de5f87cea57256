"""The published lists that scripts read are those of the splits."""

from __future__ import annotations

from semibench_plugins.datasets.heart import published_splits
from semibench_plugins.splits import heart_lists


def test_the_lists_are_those_of_the_published_split() -> None:
    split = published_splits.la(8)
    assert heart_lists.read_ids("la/train.list") == [*split.labeled, *split.unlabeled]
    assert heart_lists.read_ids("la/test.list") == list(split.test) and len(split.test) == 20
