"""Splits that come with a folder: folds of nnU-Net or of a data list, and the roles that a list states."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from semibench.blocks.datasets.published_lists import IdSplit, SplitRules
from semibench.blocks.group_order import hash_order
from semibench.data.declared.found import Found

SHARES = {"10p": 0.1, "20p": 0.2, "50p": 0.5, "all": 1.0}
"""Suffix of the name of a split -> share of the training groups with label whose labels are used."""


def rules_of(found: Found) -> SplitRules:
    """Returns the splits of a folder by name.

    A fold, or a list that says "train", tells who is trained and who is tested, not whose labels are used. So each comes in four
    splits: of the training groups with label the first 10, 20, 50 or 100 percent in the harness's order are labeled, and all other
    training cases unlabeled. The default (the first one) is 10 percent, or all where there are cases without label.
    """
    rules: dict[str, Callable[[], IdSplit]] = {}
    bare = any(case.label is None for case in found.cases if case.role != "test")
    suffixes = ["all", "10p", "20p", "50p"] if bare else list(SHARES)
    roles = {case.role for case in found.cases if case.role is not None}
    if {"labeled", "test"} <= roles:
        rules["list"] = partial(_as_listed, found)
    elif "test" in roles:
        test = [case.id for case in found.cases if case.role == "test" and case.label is not None]
        validation = [case.id for case in found.cases if case.role == "validation"]
        training = [case.id for case in found.cases if case.role in (None, "train", "unlabeled")]
        name = "list" if found.kind == "list" else "official"
        if test:
            for suffix in suffixes:
                rules[f"{name}-{suffix}"] = partial(_share, found, training, test, validation, SHARES[suffix])
    listed = {case.id for case in found.cases if case.label is None and case.role in (None, "train", "unlabeled")}
    for number, (train, test_ids) in enumerate(found.folds, 1):
        training = [*train, *sorted(listed - set(train) - set(test_ids))]
        for suffix in suffixes:
            rules[f"fold{number}-{suffix}"] = partial(_share, found, training, list(test_ids), [], SHARES[suffix])
    return rules


def default_source(found: Found) -> str | None:
    """Returns the split that a protocol uses where the folder comes with splits: all folds are one row. None: it draws."""
    names = list(rules_of(found))
    if not names:
        return None
    return names[0].replace("fold1-", "fold{fold}-", 1)


def _as_listed(found: Found) -> IdSplit:
    by_role: dict[str, list[str]] = {}
    for case in found.cases:
        role = case.role or ("labeled" if case.label is not None else "unlabeled")
        by_role.setdefault("labeled" if role == "train" else role, []).append(case.id)
    return IdSplit(
        by_role.get("labeled", ()), by_role.get("unlabeled", ()), by_role.get("test", ()), by_role.get("validation", ()),
        "official" if by_role.get("validation") else "none",
    )  # fmt: skip


def _share(
    found: Found, training: Sequence[str], test: Sequence[str], validation: Sequence[str], share: float
) -> IdSplit:
    """Labels a share of the training groups; the group of a test or validation case is never trained."""
    group = {case.id: case.group or case.id for case in found.cases}
    has_label = {case.id for case in found.cases if case.label is not None}
    held = {group[case] for case in (*test, *validation)}
    usable = [case for case in training if group[case] not in held]
    order = hash_order({group[case] for case in usable if case in has_label}, "0")
    chosen = set(order[: max(1, int(len(order) * share + 0.5))])
    labeled = [case for case in usable if case in has_label and group[case] in chosen]
    return IdSplit(
        labeled, [case for case in usable if case not in set(labeled)],
        [case for case in test if case in has_label], [case for case in validation if case in has_label],
        "official" if validation else "none",
    )  # fmt: skip
