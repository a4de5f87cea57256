"""The published split of BraTS 2019."""

from __future__ import annotations

from semibench.blocks import IdSplit, read_id_list

LISTS = "semibench_plugins.datasets.brain"
BRATS19_LABELED = (25, 50)


def brats19(labeled: int) -> IdSplit:
    """Returns SSL4MIS's split of 250, 25 and 60 volumes, with the first `labeled` lines labeled."""
    train = read_id_list(LISTS, "lists/brats19/train.txt")
    return IdSplit(
        labeled=train[:labeled],
        unlabeled=train[labeled:],
        test=read_id_list(LISTS, "lists/brats19/test.txt"),
        validation=read_id_list(LISTS, "lists/brats19/val.txt"),
        validation_from="official",
    )
