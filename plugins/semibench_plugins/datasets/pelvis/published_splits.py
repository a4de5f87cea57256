"""The published split of PROMISE12."""

from __future__ import annotations

from semibench.blocks import IdSplit, read_split_roles

LISTS = "semibench_plugins.datasets.pelvis"
PROMISE12_LABELED = (2, 1, 3, 4, 7)


def promise12(labeled: int) -> IdSplit:
    """Returns CV-SSL-MIS's split of 35, 5 and 10 cases, with the first `labeled` training cases labeled."""
    lists = read_split_roles(LISTS, "lists/promise12/cvsslmis.txt")
    train = [f"Case{token.split(':')[0]}" for token in lists["train"]]
    return IdSplit(
        labeled=train[:labeled],
        unlabeled=train[labeled:],
        test=[f"Case{number}" for number in lists["test"]],
        validation=[f"Case{number}" for number in lists["val"]],
        validation_from="official",
    )
