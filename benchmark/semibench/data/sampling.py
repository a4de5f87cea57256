"""Which samples an iteration sees: permutations that need no state, drawn with a random stream of the harness's own."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semibench.contracts.identity import canonical, sha256

Rows = NDArray[np.int64]


def seed_of(*parts: Any) -> int:
    """A seed of 63 bits made of plain values; equal values give equal seeds on every machine."""
    return int(sha256(canonical(list(parts)))[:16], 16) >> 1


class Shuffle:
    """An endless sequence over `members`: one fresh permutation after another, so that each member appears once per pass.

    Any part of it can be asked for at any time. The permutation of a pass orders the members by the raw output of a
    Philox counter generator, which numpy keeps the same over its versions.
    """

    def __init__(self, members: Sequence[int] | Rows, *key: Any) -> None:
        self.members = np.asarray(members, dtype=np.int64)
        if not len(self.members):
            raise ValueError("a shuffle needs at least one member")
        self._key = key
        self._recent: OrderedDict[int, Rows] = OrderedDict()

    def take(self, start: int, count: int) -> Rows:
        """Members at the places start .. start + count - 1."""
        size = len(self.members)
        parts = []
        while count > 0:
            which, offset = divmod(start, size)
            part = self._order(which)[offset : offset + count]
            parts.append(part)
            start, count = start + len(part), count - len(part)
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)

    def _order(self, which: int) -> Rows:
        if which not in self._recent:
            draws = np.random.Philox(seed_of(*self._key, which)).random_raw(len(self.members))
            self._recent[which] = self.members[np.argsort(draws, kind="stable")]
            if len(self._recent) > 2:
                self._recent.popitem(last=False)
        return self._recent[which]
