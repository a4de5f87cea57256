"""Splits of BUSI and UDIAT that are published as rules or lists: MGCC, its later benchmark, and CSC-PA.

Ids look like "benign (1)", "malignant (1)" and "normal (1)" for BUSI and like "000001" for UDIAT. All orders are natural
(class, then number), because the papers' code read unsorted folders, whose order is lost.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from semibench.blocks import IdSplit, read_split_roles

LISTS = "semibench_plugins.datasets.breast"
BUSI_COUNTS = {"benign": 437, "malignant": 210, "normal": 133}
LESIONS = ("benign", "malignant")
MGCC_SEEDS = (41, 64, 1337)
MGCC_TRAIN = 526
CSC_PA_LABELED = {"busi": (258, 129, 64), "udiat": (66, 33, 16)}
CSC_PA_FOLDS = 5


def busi_ids(kinds: Sequence[str]) -> list[str]:
    """Returns all ids of some classes of BUSI, in natural order."""
    return [f"{kind} ({number})" for kind in sorted(kinds) for number in range(1, BUSI_COUNTS[kind] + 1)]


def natural(name: str) -> tuple[str, int]:
    """Returns a sort key: the letters of a name, then the number in it."""
    digits = re.search(r"\d+", name)
    return re.sub(r"\d+", "", name), int(digits.group()) if digits else -1


def mgcc(ids: Sequence[str], seed: int) -> IdSplit:
    """Returns the split in the MGCC paper's text: 526 of 780 images for training, the first 263 labeled, the rest for testing.

    The shuffle is numpy's `RandomState(seed).permutation` of the ids in natural order (ours: the paper gives none).
    """
    names = sorted(ids, key=natural)
    order = [names[k] for k in np.random.RandomState(seed).permutation(len(names))]
    train, half = order[:MGCC_TRAIN], MGCC_TRAIN // 2
    return IdSplit(labeled=train[:half], unlabeled=train[half:], test=order[MGCC_TRAIN:])


def mgcc_code(ids: Sequence[str], seed: int) -> IdSplit:
    """Returns the split in the released MGCC code: scikit-learn's `train_test_split(test_size=0.3, random_state=seed)`, with the
    first half labeled.

    780 images become 546 and 234, with 273 labeled. scikit-learn takes the test set from the front of the permutation.
    """
    names = sorted(ids, key=natural)
    order = [names[k] for k in np.random.RandomState(seed).permutation(len(names))]
    tests = -(-len(names) * 3 // 10)
    train = order[tests:]
    half = len(train) // 2
    return IdSplit(labeled=train[:half], unlabeled=train[half:], test=order[:tests])


def benchmark_647(number: int) -> IdSplit:
    """Returns list 1, 2 or 3 of the MGCC authors' later benchmark: 452 training and 195 test images, lesions only.

    That benchmark is fully supervised; here the first half of the training list, in file order, is labeled."""
    lists = read_split_roles(LISTS, "lists/busi/busi647_benchmark.txt")
    train, test = (_long_names(lists[f"{role}{number}"]) for role in ("train", "val"))
    half = len(train) // 2
    return IdSplit(labeled=train[:half], unlabeled=train[half:], test=test)


def csc_pa(classes: Mapping[str, str], fold: int, labeled: int) -> IdSplit:
    """Returns one of CSC-PA's 5 folds by a rule of our own, as the paper's lists are not published.

    `RandomState(0)` permutes each class, and the r-th element goes to fold r mod 5. The labeled cases are the first of
    `RandomState(100 + fold).permutation(training ids)`, so smaller labeled sets are subsets of larger ones.

    Args:
        classes: id -> class.
        fold: 0 to 4.
        labeled: the number of labeled cases.
    """
    folds: dict[str, int] = {}
    for kind in sorted(set(classes.values())):
        members = sorted((name for name in classes if classes[name] == kind), key=natural)
        for rank, k in enumerate(np.random.RandomState(0).permutation(len(members))):
            folds[members[k]] = rank % CSC_PA_FOLDS
    train = sorted((name for name in folds if folds[name] != fold), key=natural)
    test = sorted((name for name in folds if folds[name] == fold), key=natural)
    order = [train[k] for k in np.random.RandomState(100 + fold).permutation(len(train))]
    return IdSplit(labeled=order[:labeled], unlabeled=order[labeled:], test=test)


def _long_names(tokens: Sequence[str]) -> list[str]:
    kinds = {"b": "benign", "m": "malignant"}
    return [f"{kinds[token[0]]} ({token[1:]})" for token in tokens]
