"""Turns lists of ids into splits of the cases that are present."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from semibench import CaseRef, LayoutError, Split


@dataclass(frozen=True)
class IdSplit:
    """A split by ids. validation_from: where its validation labels come from, "official" for a published list."""

    labeled: Sequence[str]
    unlabeled: Sequence[str]
    test: Sequence[str]
    validation: Sequence[str] = ()
    validation_from: Literal["official", "labeled", "unlabeled", "none"] = "none"


class PublishedLists(Mapping[str, Split]):
    """Splits by name; each is built when it is asked for.

    rules: name -> function that returns the ids. refs: the cases that are present. Looking up a split that names a case
    which isn't there raises LayoutError with those ids: a published split is used whole or not at all.
    """

    def __init__(self, dataset: str, refs: Iterable[CaseRef], rules: Mapping[str, Callable[[], IdSplit]]) -> None:
        self._dataset = dataset
        self._refs = {ref.id: ref for ref in refs}
        self._rules = dict(rules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rules)

    def __len__(self) -> int:
        return len(self._rules)

    def __contains__(self, name: object) -> bool:
        return name in self._rules

    def __getitem__(self, name: str) -> Split:
        ids = self._rules[name]()
        wanted = (*ids.labeled, *ids.unlabeled, *ids.validation, *ids.test)
        missing = sorted({item for item in wanted if item not in self._refs})
        if missing:
            shown = ", ".join(missing[:10]) + (" ..." if len(missing) > 10 else "")
            raise LayoutError(
                f"split {name!r} of data set {self._dataset!r} names {len(wanted)} cases, {len(missing)} of which are "
                f"not among the {len(self._refs)} that were found: {shown}. Add their files, or draw a split from the "
                "cases that are there (protocol option: drawn)"
            )
        return Split(
            labeled=self._take(ids.labeled),
            unlabeled=self._take(ids.unlabeled),
            validation=self._take(ids.validation),
            test=self._take(ids.test),
            validation_from=ids.validation_from,
        )

    def _take(self, ids: Sequence[str]) -> tuple[CaseRef, ...]:
        return tuple(self._refs[item] for item in ids)


def half_of_groups(groups: Iterable[str], salt: str) -> set[str]:
    """The first half (rounded up) of the groups in the order of sha256("salt/group"): the harness's own order."""
    order = sorted(set(groups), key=lambda group: hashlib.sha256(f"{salt}/{group}".encode()).hexdigest())
    return set(order[: (len(order) + 1) // 2])
