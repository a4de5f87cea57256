"""The order in which groups are taken: by hash, hence the same on every machine and whatever the order of files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def hash_rank(name: str, salt: int | str) -> bytes:
    """Return what a name is ordered by.

    Args:
        name: of a group, e.g. a patient.
        salt: the number of the draw, or any text; another salt gives another order.

    Returns:
        The sha256 of "salt/name".
    """
    return hashlib.sha256(f"{salt}/{name}".encode()).digest()


def hash_order(names: Iterable[str], salt: int | str) -> list[str]:
    """Put groups in the order in which the harness takes them.

    The first n of the order are nested in the first n + 1, and a further name never moves another one.

    Args:
        names: of groups; each counts once.
        salt: the number of the draw, or any text; another salt gives another order.

    Returns:
        The names, ordered by the sha256 of "salt/name".
    """
    return sorted(set(names), key=lambda name: hash_rank(name, salt))
