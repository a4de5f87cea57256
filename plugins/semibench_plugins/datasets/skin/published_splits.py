"""The published split of ISIC 2018."""

from __future__ import annotations

from semibench.blocks import IdSplit, read_split_roles

LISTS = "semibench_plugins.datasets.skin"
ISIC2018_LABELED = (181, 55)


def isic2018(labeled: int) -> IdSplit:
    """Returns MedicalMatch's split of 1838 and 756 images in the order of their ids, with the first `labeled` labeled. The paper
    selects and reports on the 756 images; here they are the test set, and there is no validation set."""
    lists = read_split_roles(LISTS, "lists/isic2018/medicalmatch.txt")
    train, test = ([f"ISIC_{int(number):07d}" for number in lists[role]] for role in ("train", "val"))
    return IdSplit(labeled=train[:labeled], unlabeled=train[labeled:], test=test)
