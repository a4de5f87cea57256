"""Published lists of ids, and the splits that they define on the cases at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from semibench.blocks.group_order import hash_order
from semibench.contracts.cases import CaseRef, Split
from semibench.contracts.errors import LayoutError


@dataclass(frozen=True)
class IdSplit:
    """A split, given by the ids of its cases.

    Attributes:
        labeled: ids of the labeled training cases.
        unlabeled: ids of the unlabeled training cases.
        test: ids of the test cases.
        validation: ids of the validation cases.
        validation_from: the pool that provides the validation labels; "official" for a published list.

    Examples:
        >>> IdSplit(labeled=["a"], unlabeled=["b", "c"], test=["d"]).every()
        ('a', 'b', 'c', 'd')
    """

    labeled: Sequence[str]
    unlabeled: Sequence[str]
    test: Sequence[str]
    validation: Sequence[str] = ()
    validation_from: Literal["official", "labeled", "unlabeled", "none"] = "none"

    def every(self) -> tuple[str, ...]:
        """Returns all ids, role by role."""
        return (*self.labeled, *self.unlabeled, *self.validation, *self.test)


SplitRules = Mapping[str, Callable[[], IdSplit]]
"""Name of a split -> function that returns its ids. It is called when the split is first requested."""


class PublishedLists(Mapping[str, Split]):
    """Published splits by name, as `Dataset.splits` returns them. A published split is used as a whole or not at all.

    Iteration yields the splits whose cases are all present. For any other published split `name in splits` is true, but
    looking it up raises LayoutError with the ids of the missing cases.

    Args:
        dataset: the name of the data set, for error messages.
        refs: the cases that are present.
        rules: the splits.

    Examples:
        >>> refs = [CaseRef("clinic", name, name, "default", True) for name in "abc"]
        >>> splits = PublishedLists("clinic", refs, {"paper": lambda: IdSplit(["a"], ["b"], ["c"])})
        >>> [ref.id for ref in splits["paper"].test]
        ['c']
    """

    def __init__(self, dataset: str, refs: Iterable[CaseRef], rules: SplitRules) -> None:
        self._dataset = dataset
        self._refs = {ref.id: ref for ref in refs}
        self._rules = dict(rules)
        self._ids: dict[str, IdSplit] = {}

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._rules if not self._missing(name))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return name in self._rules

    def __getitem__(self, name: str) -> Split:
        missing = self._missing(name)
        ids = self._ids[name]
        if missing:
            shown = ", ".join(missing[:10]) + (" ..." if len(missing) > 10 else "")
            raise LayoutError(
                f"split {name!r} of data set {self._dataset!r} names {len(ids.every())} cases, {len(missing)} of which "
                f"are not among the {len(self._refs)} that were found: {shown}. Add their files, or let the protocol draw "
                "a split from the cases that are there (its option: drawn)"
            )
        return Split(
            labeled=self._take(ids.labeled),
            unlabeled=self._take(ids.unlabeled),
            validation=self._take(ids.validation),
            test=self._take(ids.test),
            validation_from=ids.validation_from,
        )

    def _missing(self, name: str) -> list[str]:
        if name not in self._ids:
            self._ids[name] = self._rules[name]()
        return sorted({item for item in self._ids[name].every() if item not in self._refs})

    def _take(self, ids: Sequence[str]) -> tuple[CaseRef, ...]:
        return tuple(self._refs[item] for item in ids)


def half_of_groups(groups: Iterable[str], salt: str) -> set[str]:
    """Chooses half of the groups in the harness's own order.

    Args:
        groups: names of groups; each counts once.
        salt: a different text gives a different choice.

    Returns:
        The first half of `hash_order(groups, salt)`, rounded up.

    Examples:
        >>> sorted(half_of_groups(["anna", "ben", "carl"], salt="0"))
        ['anna', 'carl']
    """
    order = hash_order(groups, salt)
    return set(order[: (len(order) + 1) // 2])
