"""Checks of protocols, one fact each, on a catalogue in memory with three domains and groups of one to three cases.

Some cases have no label. A check raises AssertionError with a message that says what is wrong.
"""

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
    """Returns cases sorted by id. Group g has 1 + g % 3 cases, all in one domain; every tenth group has no labels."""
    return tuple(
        CaseRef(name, f"{prefix}{g:03d}-{i}", f"{prefix}{g:03d}", DOMAINS[g % len(DOMAINS)], g % 10 != 9)
        for g in range(GROUPS)
        for i in range(1 + g % 3)
    )


@dataclass
class ToyCatalog:
    """A `Catalog` in memory. The main data set is `toy`; `toy-b` is similar to it."""

    card: DatasetCard
    sets: Mapping[str, tuple[CaseRef, ...]]

    def cases(self, dataset: str | None = None) -> tuple[CaseRef, ...]:
        return self.sets[dataset or self.card.name]

    def splits(self) -> Mapping[str, Split]:
        return {}


def toy_catalog() -> ToyCatalog:
    """Returns a catalogue of two data sets that share no group names."""
    card = DatasetCard(
        name="toy", title="Toy", load="none:Toy", dims=2, modality="none", domains=DOMAINS, similar=("toy-b",)
    )
    return ToyCatalog(card, {"toy": toy_refs("toy"), "toy-b": toy_refs("toy-b", "q")})


@dataclass(frozen=True, eq=False)
class ProtocolSubject:
    """A protocol. options: override its defaults. catalog: what it draws from."""

    protocol: type[DrawProtocol]
    options: Mapping[str, Any] = field(default_factory=dict)
    catalog: ToyCatalog = field(default_factory=toy_catalog)

    def parsed_options(self, **more: Any) -> Any:
        protocol = self.protocol()
        return protocol.Options(**{**protocol.defaults(self.catalog), **self.options, **more})

    def draw(self, number: int = 0, catalog: ToyCatalog | None = None, **more: Any) -> Split:
        """Draws a split from this catalogue or another one. more: further options."""
        return self.protocol().draw(catalog or self.catalog, self.parsed_options(**more), number, None)

    @cached_property
    def drawn(self) -> Split:
        return self.draw()

    @property
    def random(self) -> bool:
        """Whether draw numbers have a meaning with these options."""
        return self.protocol().replicate(self.parsed_options())[0]


Check = Callable[[ProtocolSubject], None]


def check_split_is_usable(subject: ProtocolSubject) -> None:
    """The split has labeled and test cases, all with labels, and no case has two roles."""
    try:
        usable(subject.drawn, published=False)
    except UsageError as error:
        raise AssertionError(str(error)) from error


def check_groups_stay_together(subject: ProtocolSubject) -> None:
    """No group is in training and also in validation or test."""
    crossing_groups = crossings(subject.drawn)
    assert not crossing_groups, "; ".join(crossing_groups)


def check_cases_are_the_catalogues(subject: ProtocolSubject) -> None:
    """Every case of the split comes from the catalogue: from the main data set or a declared source."""
    protocol = subject.protocol()
    names = {subject.catalog.card.name, *protocol.sources(subject.catalog.card, subject.parsed_options())}
    available = {ref for name in names for ref in subject.catalog.cases(name)}
    unlisted = [ref.key for refs in subject.drawn.roles().values() for ref in refs if ref not in available]
    assert not unlisted, f"cases that no declared data set has: {unlisted[:5]}"


def check_test_is_of_the_main_data_set(subject: ProtocolSubject) -> None:
    """Labeled, validation and test cases come from the main data set."""
    split = subject.drawn
    foreign = [
        ref.key for ref in split.labeled + split.validation + split.test if ref.dataset != subject.catalog.card.name
    ]
    assert not foreign, f"cases of another data set: {foreign[:5]}"


def check_order_of_cases_is_nothing(subject: ProtocolSubject) -> None:
    """The order of the cases in the catalogue has no effect on their roles."""
    shuffled = {name: tuple(random.Random(1).sample(refs, len(refs))) for name, refs in subject.catalog.sets.items()}
    other = subject.draw(catalog=replace(subject.catalog, sets=shuffled))
    for role, refs in subject.drawn.roles().items():
        assert set(refs) == set(other.roles()[role]), f"{role} depends on the order of the cases"


def check_same_draw_same_split(subject: ProtocolSubject) -> None:
    """The same draw number gives the same split, whatever the global random state."""
    state = random.getstate()
    random.seed(99)
    again = subject.draw()
    random.setstate(state)
    assert again == subject.drawn, "the same draw gave a different split: order by a hash of draw and group"


def check_draws_differ(subject: ProtocolSubject) -> None:
    """Different draw numbers give different splits if and only if `replicate` says that draws have a meaning."""
    others = [subject.draw(number) for number in (1, 2)]
    differ = any(other.roles() != subject.drawn.roles() for other in others)
    assert differ or not subject.random, (
        "replicate() says that draws have a meaning, but draws 0, 1 and 2 are the same split"
    )
    assert subject.random or not differ, "replicate() says that draws have no meaning, but they give different splits"


def check_more_labels_only_add(subject: ProtocolSubject) -> None:
    """If there is an option `labeled`, a larger value only adds labeled cases and leaves the test cases unchanged."""
    if "labeled" not in subject.protocol.Options.model_fields:
        return
    small, large = subject.draw(labeled=4), subject.draw(labeled=9)
    assert set(small.test) == set(large.test), "the test cases depend on the number of labeled ones"
    assert set(small.labeled) < set(large.labeled), "9 labeled groups don't include the 4 of the same draw"


def check_more_cases_move_no_group(subject: ProtocolSubject) -> None:
    """Adding a case to a group leaves the roles of all other cases unchanged."""
    name = subject.catalog.card.name
    first = subject.drawn.test[0]
    more = replace(first, id=f"{first.id}-more")
    sets = {**subject.catalog.sets, name: tuple(sorted((*subject.catalog.cases(name), more)))}
    other = subject.draw(catalog=replace(subject.catalog, sets=sets))
    for role, refs in subject.drawn.roles().items():
        others = {ref for ref in other.roles()[role] if ref != more}
        assert others == set(refs), f"one more case of group {first.group} changes {role}"
    assert more in other.test, f"the new case doesn't follow its group {first.group} into the test"


def check_validation_is_declared(subject: ProtocolSubject) -> None:
    """`validation_from` says where validation labels come from; it is "none" if and only if there are no validation cases."""
    split = subject.drawn
    assert bool(split.validation) == (split.validation_from != "none"), (
        f"{len(split.validation)} validation cases, validation_from={split.validation_from!r}"
    )


def check_impossible_amounts_are_refused(subject: ProtocolSubject) -> None:
    """If there is an option `labeled`, asking for more groups than exist raises UsageError."""
    if "labeled" not in subject.protocol.Options.model_fields:
        return
    try:
        split = subject.draw(labeled=10 * GROUPS)
    except UsageError:
        return
    raise AssertionError(f"expected UsageError for {10 * GROUPS} labeled of {GROUPS} groups, got {len(split.labeled)}")


def check_options_refuse_unknown_keys(subject: ProtocolSubject) -> None:
    """A misspelt option raises an error."""
    try:
        subject.protocol.Options.model_validate({"no_such_option": 1})
    except ValidationError:
        return
    raise AssertionError('Options accepts unknown keys: declare it with frozen=True, extra="forbid"')


def check_unsupported_gives_reasons(subject: ProtocolSubject) -> None:
    """`unsupported` returns None for three domains, and None or a text for one domain."""
    protocol = subject.protocol()
    reason = protocol.unsupported(subject.catalog.card, subject.parsed_options())
    assert reason is None, f"unsupported() rejects a data set with three domains and a similar data set: {reason}"
    alone = subject.catalog.card.model_copy(update={"domains": ("a",), "similar": ()})
    answer = protocol.unsupported(alone, subject.parsed_options())
    assert answer is None or (isinstance(answer, str) and answer), (
        f"unsupported() must return None or a text, got {answer!r}"
    )


PROTOCOL_CHECKS: Mapping[str, Check] = {
    name.removeprefix("check_"): function for name, function in globals().items() if name.startswith("check_")
}
"""All checks of protocols, by name."""
