"""The order in which protocols take groups: a hash, so that it is the same on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def group_rank(salt: int | str, group: str) -> bytes:
    """The sort key of a group: sha256("salt/group")."""
    return hashlib.sha256(f"{salt}/{group}".encode()).digest()


def hash_order(groups: Iterable[str], salt: int | str) -> list[str]:
    """Orders groups by sha256("salt/group").

    The order depends neither on the order of files nor on the machine. Taking the first n groups gives nested subsets:
    a larger n only adds groups, and adding a case to one group never moves another.

    Args:
        groups: names of groups; repeated names count once.
        salt: what distinguishes this order from others, for example the number of the draw.

    Returns:
        The distinct groups, in order.

    Examples:
        >>> hash_order(["anna", "ben", "carl"], salt=0)
        ['anna', 'carl', 'ben']
    """
    return sorted(set(groups), key=lambda group: group_rank(salt, group))
