"""Order and count groups in the same way on every machine, whatever the order of files.

Groups are sorted by sha256("draw/group") within each domain, and the first n are taken. Drawn subsets are therefore nested,
and adding a case to one group never moves another group.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from semibench.blocks.group_order import group_rank
from semibench.contracts.cases import CaseRef
from semibench.contracts.errors import UsageError

Group = tuple[str, str]
"""(data set, group)"""


def group_of(ref: CaseRef) -> Group:
    """Return the group with its data set: groups of two data sets never coincide."""
    return (ref.dataset, ref.group)


def count_of(ratio: float, total: int) -> int:
    """Return how many groups a ratio of `total` is: max(1, floor(total * ratio + 0.5)), but never more than there are."""
    return min(total, max(1, math.floor(total * ratio + 0.5)))


def ordered(refs: Iterable[CaseRef], draw: int) -> dict[str, list[Group]]:
    """Return domain -> its groups in the order of the draw. A group with cases of several domains belongs to the first by name."""
    home: dict[Group, str] = {}
    for ref in refs:
        group = group_of(ref)
        home[group] = min(home.get(group, ref.domain), ref.domain)
    domains: dict[str, list[Group]] = defaultdict(list)
    for group, domain in home.items():
        domains[domain].append(group)
    return {
        domain: sorted(groups, key=lambda group: (group_rank(draw, group[1]), group))
        for domain, groups in sorted(domains.items())
    }


def merged(domains: dict[str, list[Group]]) -> list[Group]:
    """Interleave all groups so that every prefix holds the domains in proportion to their sizes."""
    ranked = [
        ((position + 0.5) / len(groups), domain, group)
        for domain, groups in domains.items()
        for position, group in enumerate(groups)
    ]
    return [group for _, _, group in sorted(ranked)]


def take(
    domains: dict[str, list[Group]], amount: int | float, what: str, *, of: dict[str, int] | None = None
) -> list[Group]:
    """Take the first groups of each domain; raise UsageError if there are too few.

    A float in (0, 1] is a ratio of each domain: of `of[domain]` groups if given, else of those present. An int is a number of
    groups over all domains, in proportion.
    """
    if isinstance(amount, float):
        if not 0.0 < amount <= 1.0:
            raise UsageError(
                f"{what}: expected a ratio in (0, 1], found {amount}; give an integer for a number of groups"
            )
        taken: list[Group] = []
        for domain, groups in domains.items():
            taken += groups[: count_of(amount, (of or {}).get(domain, len(groups)))]
        return taken
    total = sum(len(groups) for groups in domains.values())
    if not 1 <= amount <= total:
        raise UsageError(f"{what}: asked for {amount} groups, there are {total}")
    return merged(domains)[:amount]


def without(domains: dict[str, list[Group]], taken: Iterable[Group]) -> dict[str, list[Group]]:
    """Return the groups that are left, in the same order; empty domains are dropped."""
    removed = set(taken)
    rest = {domain: [group for group in groups if group not in removed] for domain, groups in domains.items()}
    return {domain: groups for domain, groups in rest.items() if groups}


def reverse(domains: dict[str, list[Group]]) -> dict[str, list[Group]]:
    """Reverse the groups of each domain: taking from the end does not disturb prefixes."""
    return {domain: groups[::-1] for domain, groups in domains.items()}


def fold_groups(domains: dict[str, list[Group]], folds: int, fold: int) -> list[Group]:
    """Return the test groups of one fold: every `folds`-th group. Raise UsageError for a fold that does not exist."""
    if not 0 <= fold < folds:
        raise UsageError(f"fold {fold}: with folds={folds} the folds are 0 to {folds - 1}")
    if sum(len(groups) for groups in domains.values()) < folds:
        raise UsageError(f"folds={folds}: there are only {sum(map(len, domains.values()))} groups")
    return [group for position, group in enumerate(merged(domains)) if position % folds == fold]


def cases_of(refs: Sequence[CaseRef], groups: Iterable[Group]) -> tuple[CaseRef, ...]:
    """Return the cases of the groups, in the order of `refs`."""
    members = set(groups)
    return tuple(ref for ref in refs if group_of(ref) in members)
