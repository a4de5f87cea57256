"""What every protocol must do, one fact for each check, on a catalogue held in memory: three domains, groups of one to three
cases, some without a label. A check raises AssertionError with what is wrong."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from semibench.contracts.cards import DatasetCard
from semibench.contracts.cases import CaseRef, Split
from semibench.contracts.errors import UsageError
from semibench.contracts.protocol import DrawProtocol
from semibench.protocols.checks import check as usable
from semibench.protocols.checks import crossings

DOMAINS = ("a", "b", "c")
GROUPS = 60


def toy_refs(name: str, prefix: str = "p") -> tuple[CaseRef, ...]:
    """Sorted by id; group number g has 1 + g % 3 cases, all in the domain of g; every tenth group has no label."""
    return tuple(
        CaseRef(name, f"{prefix}{g:03d}-{i}", f"{prefix}{g:03d}", DOMAINS[g % len(DOMAINS)], g % 10 != 9)
        for g in range(GROUPS)
        for i in range(1 + g % 3)
    )


@dataclass
class ToyCatalog:
    """A `Catalog` in memory; the main data set is `toy`, `toy-b` is similar to it."""

    card: DatasetCard
    sets: Mapping[str, tuple[CaseRef, ...]]

    def cases(self, dataset: str | None = None) -> tuple[CaseRef, ...]:
        return self.sets[dataset or self.card.name]

    def splits(self) -> Mapping[str, Split]:
        return {}


def toy_catalog() -> ToyCatalog:
    """Two data sets whose group names coincide nowhere."""
    card = DatasetCard(
        name="toy", title="Toy", load="none:Toy", dims=2, modality="none", domains=DOMAINS, similar=("toy-b",)
    )
    return ToyCatalog(card, {"toy": toy_refs("toy"), "toy-b": toy_refs("toy-b", "q")})


@dataclass(frozen=True, eq=False)
class ProtocolCase:
    """A protocol with options over its defaults. catalog: what it draws from."""

    protocol: type[DrawProtocol]
    options: Mapping[str, Any] = field(default_factory=dict)
    catalog: ToyCatalog = field(default_factory=toy_catalog)

    def chosen(self, **more: Any) -> Any:
        protocol = self.protocol()
        return protocol.Options(**{**protocol.defaults(self.catalog), **self.options, **more})

    def draw(self, number: int = 0, catalog: ToyCatalog | None = None, **more: Any) -> Split:
        """A split by draw number, from this catalogue or another."""
        return self.protocol().draw(catalog or self.catalog, self.chosen(**more), number, None)

    @cached_property
    def drawn(self) -> Split:
        return self.draw()

    @property
    def random(self) -> bool:
        """Whether draws differ under these options."""
        return self.protocol().replicate(self.chosen())[0]


Check = Callable[[ProtocolCase], None]


def check_split_is_usable(case: ProtocolCase) -> None:
    """There are labeled and test cases, all with labels; no case has two roles."""
    try:
        usable(case.drawn, published=False)
    except UsageError as error:
        raise AssertionError(str(error)) from error


def check_groups_stay_together(case: ProtocolCase) -> None:
    """No group stands in training and in validation or test."""
    found = crossings(case.drawn)
    assert not found, "; ".join(found)


def check_cases_are_the_catalogues(case: ProtocolCase) -> None:
    """Every case of the split is one that the catalogue gave, of the data set itself or a named source."""
    protocol = case.protocol()
    names = {case.catalog.card.name, *protocol.sources(case.catalog.card, case.chosen())}
    known = {ref for name in names for ref in case.catalog.cases(name)}
    strange = [ref.key for refs in case.drawn.roles().values() for ref in refs if ref not in known]
    assert not strange, f"cases that no declared data set has: {strange[:5]}"


def check_test_is_of_the_main_data_set(case: ProtocolCase) -> None:
    """Labeled, validation and test cases are of the main data set."""
    split = case.drawn
    strange = [
        ref.key for ref in split.labeled + split.validation + split.test if ref.dataset != case.catalog.card.name
    ]
    assert not strange, f"cases of another data set: {strange[:5]}"


def check_order_of_cases_is_nothing(case: ProtocolCase) -> None:
    """The catalogue in another order gives the same roles."""
    shuffled = {name: tuple(random.Random(1).sample(refs, len(refs))) for name, refs in case.catalog.sets.items()}
    other = case.draw(catalog=replace(case.catalog, sets=shuffled))
    for role, refs in case.drawn.roles().items():
        assert set(refs) == set(other.roles()[role]), f"{role} depends on the order of the cases"


def check_same_draw_same_split(case: ProtocolCase) -> None:
    """One draw number gives one split, whatever the global random state."""
    state = random.getstate()
    random.seed(99)
    again = case.draw()
    random.setstate(state)
    assert again == case.drawn, "the same draw gave another split: order by a hash of draw and group"


def check_draws_differ(case: ProtocolCase) -> None:
    """Other draw numbers give other splits, where `replicate` says that draws have a meaning."""
    others = [case.draw(number) for number in (1, 2)]
    differ = any(other.roles() != case.drawn.roles() for other in others)
    assert differ or not case.random, "replicate() says draws have a meaning; draws 0, 1 and 2 are one split"
    assert case.random or not differ, "replicate() says draws have no meaning; they give different splits"


def check_more_labels_only_add(case: ProtocolCase) -> None:
    """With a larger option `labeled` (where there is one) the labeled cases hold the smaller set, the test stays."""
    if "labeled" not in case.protocol.Options.model_fields:
        return
    small, large = case.draw(labeled=4), case.draw(labeled=9)
    assert set(small.test) == set(large.test), "the test cases depend on the number of labeled ones"
    assert set(small.labeled) < set(large.labeled), "9 labeled groups don't hold the 4 of the same draw"


def check_more_cases_move_no_group(case: ProtocolCase) -> None:
    """One more case in a group changes that group only."""
    name = case.catalog.card.name
    first = case.drawn.test[0]
    more = replace(first, id=f"{first.id}-more")
    sets = {**case.catalog.sets, name: tuple(sorted((*case.catalog.cases(name), more)))}
    other = case.draw(catalog=replace(case.catalog, sets=sets))
    for role, refs in case.drawn.roles().items():
        found = {ref for ref in other.roles()[role] if ref != more}
        assert found == set(refs), f"one more case of group {first.group} changes {role}"
    assert more in other.test, f"the new case doesn't follow its group {first.group} into the test"


def check_validation_is_declared(case: ProtocolCase) -> None:
    """`validation_from` says where validation labels come from, exactly where there are any."""
    split = case.drawn
    assert bool(split.validation) == (split.validation_from != "none"), (
        f"{len(split.validation)} validation cases, validation_from={split.validation_from!r}"
    )


def check_impossible_amounts_are_refused(case: ProtocolCase) -> None:
    """More labeled groups than there are raise UsageError (where there is an option `labeled`)."""
    if "labeled" not in case.protocol.Options.model_fields:
        return
    try:
        split = case.draw(labeled=10 * GROUPS)
    except UsageError:
        return
    raise AssertionError(f"expected UsageError for {10 * GROUPS} labeled of {GROUPS} groups, got {len(split.labeled)}")


def check_options_refuse_unknown_keys(case: ProtocolCase) -> None:
    """A misspelt option is an error."""
    try:
        case.protocol.Options.model_validate({"no_such_option": 1})
    except ValidationError:
        return
    raise AssertionError('Options accepts unknown keys: declare it with frozen=True, extra="forbid"')


def check_unsupported_gives_reasons(case: ProtocolCase) -> None:
    """`unsupported` is None for three domains; for one it is None or a text."""
    protocol = case.protocol()
    reason = protocol.unsupported(case.catalog.card, case.chosen())
    assert reason is None, f"refuses a data set with three domains and a similar one: {reason}"
    alone = case.catalog.card.model_copy(update={"domains": ("a",), "similar": ()})
    answer = protocol.unsupported(alone, case.chosen())
    assert answer is None or (isinstance(answer, str) and answer), f"unsupported() returns None or a text: {answer!r}"


PROTOCOL_CHECKS: Mapping[str, Check] = {
    name.removeprefix("check_"): function for name, function in globals().items() if name.startswith("check_")
}
"""All checks by name."""
