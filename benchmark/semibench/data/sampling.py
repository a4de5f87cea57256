"""Choose the samples of an iteration by stateless permutations, from a random stream of the harness."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semibench.contracts.identity import canonical, sha256

Rows = NDArray[np.int64]


def seed_of(*parts: Any) -> int:
    """Return a 63-bit seed derived from plain values; equal values give equal seeds on every machine."""
    return int(sha256(canonical(list(parts)))[:16], 16) >> 1


class Shuffle:
    """An endless sequence of permutations of `members`, in which each member appears once in each pass.

    Any part of it can be computed at any time. The permutation of a pass sorts the members by the raw output of a Philox
    counter generator, which does not change between versions of numpy.
    """

    def __init__(self, members: Sequence[int] | Rows, *key: Any) -> None:
        self.members = np.asarray(members, dtype=np.int64)
        if not len(self.members):
            raise ValueError("a shuffle needs at least one member")
        self._key = key
        self._recent: OrderedDict[int, Rows] = OrderedDict()

    def take(self, start: int, count: int) -> Rows:
        """Return the members at positions start .. start + count - 1."""
        size = len(self.members)
        parts = []
        while count > 0:
            number, offset = divmod(start, size)
            part = self._order(number)[offset : offset + count]
            parts.append(part)
            start, count = start + len(part), count - len(part)
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)

    def _order(self, number: int) -> Rows:
        """Return the permutation of pass `number`; the last two are cached, since a batch may span two passes."""
        if number not in self._recent:
            draws = np.random.Philox(seed_of(*self._key, number)).random_raw(len(self.members))
            self._recent[number] = self.members[np.argsort(draws, kind="stable")]
            if len(self._recent) > 2:
                self._recent.popitem(last=False)
        return self._recent[number]
