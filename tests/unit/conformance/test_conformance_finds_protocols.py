"""The battery for protocols finds what it is for: a fault for each check."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from semibench import CaseRef, DatasetCard, Split
from semibench.conformance import PROTOCOL_CHECKS, ProtocolSubject
from semibench.protocols.single import SelfDomain, SingleOptions

torch.set_num_threads(1)


class Drawn(SelfDomain):
    """Changes the split that `self` draws."""

    def change(self, split: Split, catalog: Any, draw: int | None) -> Split:
        return split

    def draw(self, catalog: Any, options: Any, draw: int | None, fold: int | None) -> Split:
        return self.change(super().draw(catalog, options, draw, fold), catalog, draw)


class Empty(Drawn):
    def change(self, split: Split, catalog: Any, draw: int | None) -> Split:
        return replace(split, test=())


class ByCase(Drawn):
    def change(self, split: Split, catalog: Any, draw: int | None) -> Split:
        twins = [ref for ref in split.test if ref.id.endswith("-1")]
        rest = tuple(ref for ref in split.test if ref not in twins)
        return replace(split, test=rest, unlabeled=(*split.unlabeled, *twins))


class Invented(Drawn):
    def change(self, split: Split, catalog: Any, draw: int | None) -> Split:
        return replace(split, unlabeled=(*split.unlabeled, CaseRef("toy", "zzz", "zzz", "a", False)))


class Foreign(Drawn):
    def change(self, split: Split, catalog: Any, draw: int | None) -> Split:
        return replace(split, test=(*split.test, *[ref for ref in catalog.cases("toy-b") if ref.has_label][:2]))


class InOrder(Drawn):
    def draw(self, catalog: Any, options: Any, draw: int | None, fold: int | None) -> Split:
        refs = [ref for ref in catalog.cases() if ref.has_label]
        chosen = refs[0].group
        split = super().draw(catalog, options, draw, fold)
        pool = [ref for role in split.roles().values() for ref in role]
        mine = tuple(ref for ref in pool if ref.group == chosen)
        labeled, unlabeled, validation = (
            tuple(ref for ref in refs if ref.group != chosen)
            for refs in (split.labeled, split.unlabeled, split.validation)
        )
        test = (*[ref for ref in split.test if ref.group != chosen], *mine)
        return replace(split, labeled=labeled, unlabeled=unlabeled, validation=validation, test=test)


class Unseeded(Drawn):
    def draw(self, catalog: Any, options: Any, draw: int | None, fold: int | None) -> Split:
        import random

        return super().draw(catalog, options, random.randrange(10**6), fold)


class Fixed(Drawn):
    def draw(self, catalog: Any, options: Any, draw: int | None, fold: int | None) -> Split:
        return super().draw(catalog, options, 0, fold)


class NotNested(Drawn):
    def draw(self, catalog: Any, options: Any, draw: int | None, fold: int | None) -> Split:
        return super().draw(catalog, options, 100 * (draw or 0) + int(10 * options.labeled), fold)


class Counted(Drawn):
    """The draw depends on the number of cases."""

    def draw(self, catalog: Any, options: Any, draw: int | None, fold: int | None) -> Split:
        return super().draw(catalog, options, 1000 * (draw or 0) + len(catalog.cases()), fold)


class Undeclared(Drawn):
    def change(self, split: Split, catalog: Any, draw: int | None) -> Split:
        return replace(split, validation_from="none")


class Capped(Drawn):
    def draw(self, catalog: Any, options: Any, draw: int | None, fold: int | None) -> Split:
        return super().draw(catalog, options.model_copy(update={"labeled": min(options.labeled, 10)}), draw, fold)


class LaxProtocolOptions(SingleOptions, frozen=True, extra="ignore"):
    pass


class LaxProtocol(SelfDomain):
    Options = LaxProtocolOptions


class Silent(SelfDomain):
    def unsupported(self, card: DatasetCard, options: Any) -> str | None:
        return ""


PROTOCOL_FAULTS: dict[str, type[SelfDomain]] = {
    "split_is_usable": Empty,
    "groups_stay_together": ByCase,
    "cases_are_the_catalogues": Invented,
    "test_is_of_the_main_data_set": Foreign,
    "order_of_cases_is_nothing": InOrder,
    "same_draw_same_split": Unseeded,
    "draws_differ": Fixed,
    "more_labels_only_add": NotNested,
    "more_cases_move_no_group": Counted,
    "validation_is_declared": Undeclared,
    "impossible_amounts_are_refused": Capped,
    "options_refuse_unknown_keys": LaxProtocol,
    "unsupported_gives_reasons": Silent,
}


def test_every_protocol_check_has_a_fault() -> None:
    assert set(PROTOCOL_FAULTS) == set(PROTOCOL_CHECKS)


@pytest.mark.parametrize("fact", PROTOCOL_FAULTS)
def test_protocol_checks_find(fact: str) -> None:
    PROTOCOL_CHECKS[fact](ProtocolSubject(SelfDomain))
    with pytest.raises(AssertionError):
        PROTOCOL_CHECKS[fact](ProtocolSubject(PROTOCOL_FAULTS[fact]))
