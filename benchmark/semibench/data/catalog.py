"""The cases that a protocol may draw from, checked before anything is drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property

from semibench.contracts.cards import DatasetCard
from semibench.contracts.cases import CaseRef, Dataset, Split
from semibench.contracts.errors import PluginError, UnknownNameError
from semibench.discovery.guard import calling, returned, returned_mapping


class DataCatalog:
    """Implements `semibench.contracts.protocol.Catalog`.

    Each index is read once, on first use; one that breaks the contract raises PluginError.

    Args:
        datasets: data sets by short name; the first is the main one.
    """

    def __init__(self, datasets: Mapping[str, Dataset]) -> None:
        if not datasets:
            raise PluginError("a catalog needs at least one data set")
        self._datasets = dict(datasets)
        self.main = next(iter(self._datasets))
        self.card: DatasetCard = self._datasets[self.main].card
        self._cases: dict[str, tuple[CaseRef, ...]] = {}

    @property
    def datasets(self) -> Mapping[str, Dataset]:
        """The data sets by name, the main one first."""
        return self._datasets

    def cases(self, dataset: str | None = None) -> tuple[CaseRef, ...]:
        """Return all cases of the main data set, or of another one by name, sorted by id. May raise UnknownNameError."""
        name = self.main if dataset is None else dataset
        if name not in self._datasets:
            raise UnknownNameError("data set of this run", name, self._datasets)
        if name not in self._cases:
            with calling(self._datasets[name], "index"):
                refs = list(self._datasets[name].index())
            for ref in refs:
                returned(self._datasets[name], "index", ref, CaseRef, "a list of CaseRef")
            check_index(self._datasets[name], refs, name)
            self._cases[name] = tuple(refs)
        return self._cases[name]

    def all_cases(self) -> tuple[CaseRef, ...]:
        """Return the cases of every data set, which the data digest covers."""
        return tuple(ref for name in self._datasets for ref in self.cases(name))

    def splits(self) -> Mapping[str, Split]:
        """Return the published splits of the main data set, by name. Raise PluginError for one that lists unknown cases."""
        return self._splits

    @cached_property
    def _splits(self) -> Mapping[str, Split]:
        known = {ref.key for ref in self.cases()}
        dataset = self._datasets[self.main]
        with calling(dataset, "splits"):
            splits = returned_mapping(dataset, "splits", dataset.splits(), "name -> Split")
        for split in splits.values():
            returned(dataset, "splits", split, Split, "name -> Split")
        for name, split in splits.items():
            unknown = [ref.key for refs in split.roles().values() for ref in refs if ref.key not in known]
            if unknown:
                raise PluginError(
                    f"{self.main}: the published split {name!r} lists {len(unknown)} cases that index() does not: "
                    f"{', '.join(unknown[:5])}. splits() must omit absent cases."
                )
        return splits


def check_index(dataset: Dataset, refs: Sequence[CaseRef], name: str | None = None) -> None:
    """Raise PluginError unless an index fulfils the contract.

    Every case must belong to this data set and have a group, a known domain, and a bool `has_label` that agrees with the
    card; ids must be unique and sorted.
    """
    card = dataset.card
    name = card.name if name is None else name
    who = f"{type(dataset).__module__}.{type(dataset).__qualname__} ({name})"
    problems = []
    ids = [ref.id for ref in refs]
    if not refs:
        problems.append("index() returned no case (it must raise LayoutError if files are missing)")
    twice = sorted(key for key, count in Counter(ids).items() if count > 1)
    if twice:
        problems.append(f"ids must be unique; repeated: {', '.join(twice[:5])}")
    elif ids != sorted(ids):
        first = next(a for a, b in zip(ids, sorted(ids), strict=True) if a != b)
        problems.append(f"cases must be sorted by id; {first!r} is in the wrong place")
    checks = (
        ("ref.dataset must be " + repr(name), [r.id for r in refs if r.dataset != name]),
        ("ids must not be empty", [repr(r.id) for r in refs if not r.id]),
        ("groups must not be empty", [r.id for r in refs if not r.group]),
        (
            f"domains must be among {card.domains}",
            [f"{r.id} ({r.domain})" for r in refs if r.domain not in card.domains],
        ),
        ("has_label must be True or False", [r.id for r in refs if not isinstance(r.has_label, bool)]),
    )
    problems += [f"{what}; {len(bad)} are not: {', '.join(bad[:5])}" for what, bad in checks if bad]
    if not card.labeled_cases and any(ref.has_label for ref in refs):
        problems.append("the card says labeled_cases=False, but index() says has_label=True for some")
    if problems:
        raise PluginError(f"{who}: index() breaks the contract: " + "; ".join(problems))
