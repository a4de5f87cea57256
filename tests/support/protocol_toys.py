"""An in-memory catalogue for tests of protocols."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from semibench import CaseRef, DatasetCard, Split

DOMAINS = ("a", "b", "c")


def card(name: str = "toy", domains: tuple[str, ...] = DOMAINS, similar: tuple[str, ...] = ()) -> DatasetCard:
    return DatasetCard(name=name, title=name, load="x:Y", dims=2, modality="test", domains=domains, similar=similar)


def refs(groups: int = 60, each: int = 2, name: str = "toy", domains: tuple[str, ...] = DOMAINS) -> tuple[CaseRef, ...]:
    return tuple(
        CaseRef(name, f"{g:03d}-{i}", f"p{g:03d}", domains[g % len(domains)], True)
        for g in range(groups)
        for i in range(each)
    )


@dataclass
class Toy:
    """An in-memory catalogue."""

    card: DatasetCard
    sets: Mapping[str, tuple[CaseRef, ...]]
    published: Mapping[str, Split] = field(default_factory=dict)

    def cases(self, dataset: str | None = None) -> tuple[CaseRef, ...]:
        return self.sets[dataset or self.card.name]

    def splits(self) -> Mapping[str, Split]:
        return self.published


TOY = Toy(card(), {"toy": refs()})
