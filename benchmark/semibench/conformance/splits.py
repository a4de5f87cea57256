"""Checks of published splits and of recipes, one fact each. A check raises AssertionError with a message that says what is
wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from semibench.contracts.cards import RecipeCard, SplitCard
from semibench.contracts.cases import CaseRef, PublishedSplits, Split
from semibench.contracts.errors import SemibenchError
from semibench.contracts.recipe import Recipe
from semibench.discovery.registry import Registry
from semibench.protocols.checks import crossings
from semibench.run.defaults import base_recipe


@dataclass(frozen=True, eq=False)
class SplitSubject:
    """Published splits, asked for the cases of their data set's phantom."""

    splits: type[PublishedSplits]
    card: SplitCard
    plugins: Registry

    @cached_property
    def cases(self) -> tuple[CaseRef, ...]:
        """All cases."""
        from semibench.contracts.cases import PhantomOptions

        cls = self.plugins.get("datasets", self.card.dataset).resolve()
        return tuple(cls.phantom(cls.Options(), PhantomOptions()).index())

    @cached_property
    def found(self) -> Mapping[str, Split]:
        """The splits by name."""
        return self.splits().splits(self.cases)


def check_data_set_exists(subject: SplitSubject) -> None:
    """The card names a registered data set."""
    subject.plugins.get("datasets", subject.card.dataset)


def check_splits_have_names(subject: SplitSubject) -> None:
    """`splits` returns at least one split by name."""
    assert isinstance(subject.found, Mapping) and subject.found, (
        f"splits() must return name -> Split, found {subject.found!r}"
    )
    wrong = [name for name, split in subject.found.items() if not isinstance(split, Split)]
    assert not wrong, f"{wrong[0]!r} is no semibench.Split"


def check_cases_are_known_and_in_one_role(subject: SplitSubject) -> None:
    """Every case of a split belongs to the data set and has one role."""
    known = set(subject.cases)
    for name, split in subject.found.items():
        every = [ref for refs in split.roles().values() for ref in refs]
        strange = [ref.id for ref in every if ref not in known]
        assert not strange, f"split {name!r} names {strange[0]!r}{_more(strange)}, which the data set doesn't have"
        twice = [ref.id for ref, count in Counter(every).items() if count > 1]
        assert not twice, f"split {name!r} has {twice[0]!r}{_more(twice)} twice"


def check_no_group_is_on_both_sides(subject: SplitSubject) -> None:
    """No group has cases in training and in the test."""
    for name, split in subject.found.items():
        crossed = crossings(split)
        assert not crossed, f"split {name!r}: {crossed[0]}{_more(crossed)}"


def check_labeled_and_test_cases_have_labels(subject: SplitSubject) -> None:
    """Labeled, validation and test cases have labels."""
    for name, split in subject.found.items():
        bare = [ref.id for refs in (split.labeled, split.validation, split.test) for ref in refs if not ref.has_label]
        assert not bare, f"split {name!r}: {bare[0]!r}{_more(bare)} has no label"


def check_splits_are_the_same_again(subject: SplitSubject) -> None:
    """`splits` returns the same splits each time."""
    assert subject.splits().splits(subject.cases) == subject.found, "splits() returned other splits the second time"


def _more(items: list[str]) -> str:
    return f" and {len(items) - 1} more" if len(items) > 1 else ""


SPLIT_CHECKS: Mapping[str, Callable[[SplitSubject], None]] = {
    "data_set_exists": check_data_set_exists,
    "splits_have_names": check_splits_have_names,
    "cases_are_known_and_in_one_role": check_cases_are_known_and_in_one_role,
    "no_group_is_on_both_sides": check_no_group_is_on_both_sides,
    "labeled_and_test_cases_have_labels": check_labeled_and_test_cases_have_labels,
    "splits_are_the_same_again": check_splits_are_the_same_again,
}
"""All checks of published splits, by name."""


@dataclass(frozen=True, eq=False)
class RecipeSubject:
    """The cards of a recipe."""

    cards: tuple[RecipeCard, ...]
    plugins: Registry


def check_recipe_is_complete(subject: RecipeSubject) -> None:
    """With what it extends, the recipe has valid values for a network of its dims, its protocols and its data sets."""
    for card in subject.cards:
        for dims in (2, 3) if card.dims is None else (card.dims,):
            for protocol in card.protocols or ("self",):
                for dataset in card.datasets or ("any",):
                    try:
                        base_recipe(subject.plugins, card.name, dims=dims, protocol=protocol, dataset=dataset)
                    except SemibenchError as error:
                        raise AssertionError(str(error)) from error


def check_values_are_fields(subject: RecipeSubject) -> None:
    """Its values are fields of a recipe."""
    unknown = sorted({name for card in subject.cards for name in card.values} - set(Recipe.model_fields))
    assert not unknown, (
        f"no field of a recipe is called {unknown[0]!r}{_more(unknown)}; `bench show recipe quick` lists them"
    )


def check_names_exist(subject: RecipeSubject) -> None:
    """The protocols, data sets and networks that the cards name are registered."""
    for card in subject.cards:
        for kind, names in (
            ("protocols", card.protocols),
            ("datasets", card.datasets),
            ("backbones", (card.backbone,)),
        ):
            for name in filter(None, names):
                subject.plugins.get(kind, name)


RECIPE_CHECKS: Mapping[str, Callable[[RecipeSubject], None]] = {
    "recipe_is_complete": check_recipe_is_complete,
    "values_are_fields": check_values_are_fields,
    "names_exist": check_names_exist,
}
"""All checks of recipes, by name."""
