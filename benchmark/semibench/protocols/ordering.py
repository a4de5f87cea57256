"""How groups are put in order and counted: the same on every machine, whatever the order of files.

Groups are ordered by sha256("draw/group") within each domain; the first n are taken. So drawn subsets are nested, and
adding a case to one group never moves another group.
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
    """The group with its data set: groups of two data sets never coincide."""
    return (ref.dataset, ref.group)


def count_of(ratio: float, total: int) -> int:
    """How many a ratio of `total` groups is: max(1, floor(total * ratio + 0.5)), never more than there are."""
    return min(total, max(1, math.floor(total * ratio + 0.5)))


def ordered(refs: Iterable[CaseRef], draw: int) -> dict[str, list[Group]]:
    """Domain -> its groups in the order of the draw. A group with cases of several domains counts for the first by name."""
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
    """One sequence of all groups in which every prefix holds the domains in proportion to their sizes."""
    placed = [
        ((position + 0.5) / len(groups), domain, group)
        for domain, groups in domains.items()
        for position, group in enumerate(groups)
    ]
    return [group for _, _, group in sorted(placed)]


def take(
    domains: dict[str, list[Group]], amount: int | float, what: str, *, of: dict[str, int] | None = None
) -> list[Group]:
    """The first groups of each domain. A float in (0, 1] is a ratio of each domain (of `of[domain]` groups where given,
    else of those there); an int is a number of groups over all domains, in proportion. Raises UsageError when there
    are too few."""
    if isinstance(amount, float):
        if not 0.0 < amount <= 1.0:
            raise UsageError(f"{what}: a ratio lies in (0, 1], found {amount}; give an integer for a number of groups")
        chosen: list[Group] = []
        for domain, groups in domains.items():
            chosen += groups[: count_of(amount, (of or {}).get(domain, len(groups)))]
        return chosen
    total = sum(len(groups) for groups in domains.values())
    if not 1 <= amount <= total:
        raise UsageError(f"{what}: asked for {amount} groups, there are {total}")
    return merged(domains)[:amount]


def without(domains: dict[str, list[Group]], taken: Iterable[Group]) -> dict[str, list[Group]]:
    """The groups that are left, in the same order; empty domains are dropped."""
    gone = set(taken)
    rest = {domain: [group for group in groups if group not in gone] for domain, groups in domains.items()}
    return {domain: groups for domain, groups in rest.items() if groups}


def reverse(domains: dict[str, list[Group]]) -> dict[str, list[Group]]:
    """Each domain's groups from the end: what is taken there doesn't disturb prefixes."""
    return {domain: groups[::-1] for domain, groups in domains.items()}


def fold_groups(domains: dict[str, list[Group]], folds: int, fold: int) -> list[Group]:
    """Test groups of one fold: every `folds`-th of each domain's order. Raises UsageError on a fold that isn't there."""
    if not 0 <= fold < folds:
        raise UsageError(f"fold {fold}: with folds={folds} the folds are 0 to {folds - 1}")
    if sum(len(groups) for groups in domains.values()) < folds:
        raise UsageError(f"folds={folds}: there are only {sum(map(len, domains.values()))} groups")
    return [group for position, group in enumerate(merged(domains)) if position % folds == fold]


def cases_of(refs: Sequence[CaseRef], groups: Iterable[Group]) -> tuple[CaseRef, ...]:
    """The cases of the groups, in the order of `refs`."""
    wanted = set(groups)
    return tuple(ref for ref in refs if group_of(ref) in wanted)
