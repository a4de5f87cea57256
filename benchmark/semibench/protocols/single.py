"""`self` and `ssmis`: one data set; they differ in where the split comes from by default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field

from semibench.contracts.cases import CaseRef, Split
from semibench.contracts.errors import UsageError
from semibench.contracts.protocol import Catalog, DrawProtocol, ProtocolOptions
from semibench.protocols import cards
from semibench.protocols.ordering import (
    Group,
    cases_of,
    count_of,
    fold_groups,
    merged,
    ordered,
    reverse,
    take,
    without,
)

Amount = Annotated[int | float, Field(gt=0)]
FOLD = "{fold}"
"""In the name of a published split: the fold, counted from 1."""


class SingleOptions(ProtocolOptions, frozen=True, extra="forbid"):
    """How one data set is divided.

    source: "drawn", or the name of a published split (then the other options are unused); "{fold}" in a name stands for
    the fold counted from 1, so that the folds of a published cross-validation are one row ("csc-pa-fold{fold}-258").
    labeled: number of groups, or ratio of the training groups (float). test: ratio of all groups. folds: k-fold instead of
    a test ratio. validation: ratio of the training groups; validation_from: the side it is taken from (its labels count
    as label budget).
    """

    source: str = Field("drawn", description="'drawn', or the name of a published split; NAME+all: all training labels")
    labeled: Amount = Field(0.5, description="labeled training groups: a number (int) or a ratio (float)")
    test: float = Field(0.3, gt=0, lt=1, description="ratio of all groups held out for the test")
    folds: int | None = Field(None, ge=2, description="k-fold cross-validation instead of a held-out ratio")
    validation: float = Field(0.1, ge=0, lt=1, description="ratio of the training groups used for selection")
    validation_from: Literal["unlabeled", "labeled", "none"] = Field(
        "unlabeled", description="side validation is taken from"
    )


ALL = "+all"
"""Behind the name of a published split: the same with every training label, for fully supervised references."""


def published(catalog: Catalog, name: str) -> Split:
    """A published split by name; "NAME+all" labels all of its unlabeled cases that have a label and leaves no other unlabeled
    ones. Raises UsageError that lists those there are."""
    splits = catalog.splits()
    if name.endswith(ALL):
        split = published(catalog, name.removesuffix(ALL))
        more = tuple(ref for ref in split.unlabeled if ref.has_label)
        return replace(split, labeled=split.labeled + more, unlabeled=())
    try:
        return splits[name]
    except KeyError as error:
        known = ", ".join(splits) or "none (phantoms have none: use source=drawn)"
        raise UsageError(f"data set {catalog.card.name!r} has no published split {name!r}; it has: {known}") from error


def divide(refs: tuple[CaseRef, ...], options: SingleOptions, draw: int, fold: int | None) -> Split:
    """The drawn split: test first, validation from the end of the training order, labeled from its beginning."""
    refs = tuple(ref for ref in refs if ref.has_label)
    if not refs:
        raise UsageError("the data set has no labeled case to draw from")
    domains = ordered(refs, draw)
    if options.folds is not None:
        test = fold_groups(domains, options.folds, 0 if fold is None else fold)
    else:
        if fold is not None:
            raise UsageError(f"fold {fold}: this protocol draws no folds; set folds=K, or leave --fold out")
        test = take(domains, options.test, "test")
    training = without(domains, test)
    sizes = {domain: len(groups) for domain, groups in training.items()}
    total = sum(sizes.values())
    if total < 2:
        raise UsageError(
            f"{total} training groups are left after the test groups; give more cases or a smaller test ratio"
        )
    validation: list[Group] = []
    source = options.validation_from if options.validation > 0 else "none"
    if source == "unlabeled":
        validation = take(reverse(training), count_of(options.validation, total), "validation")
        pool = without(training, validation)
        labeled = _labeled(pool, options.labeled, sizes)
    elif source == "labeled":
        labeled = _labeled(training, options.labeled, sizes)
        if len(labeled) < 2:
            raise UsageError(
                "validation_from=labeled needs at least two labeled groups; use validation_from=unlabeled or none"
            )
        validation = labeled[-min(len(labeled) - 1, count_of(options.validation, len(labeled))) :]
        labeled = [group for group in labeled if group not in set(validation)]
    else:
        labeled = _labeled(training, options.labeled, sizes)
    used = {*test, *validation, *labeled}
    rest = [group for groups in training.values() for group in groups if group not in used]
    return Split(
        labeled=cases_of(refs, labeled),
        unlabeled=cases_of(refs, rest),
        validation=cases_of(refs, validation),
        test=cases_of(refs, test),
        validation_from=source,
    )


def _labeled(pool: dict[str, list[Group]], amount: int | float, sizes: dict[str, int]) -> list[Group]:
    chosen = set(take(pool, amount, "labeled", of=sizes))
    return [group for group in merged(pool) if group in chosen]


class SelfDomain(DrawProtocol):
    """Labeled and unlabeled cases of one data set, split at random by group (MGCC, Table I)."""

    card = cards.SELF
    Options = SingleOptions

    def draw(self, catalog: Catalog, options: Any, draw: int | None, fold: int | None) -> Split:
        if options.source != "drawn":
            return published(catalog, options.source.replace(FOLD, str((fold or 0) + 1)))
        return divide(catalog.cases(), options, draw or 0, fold)

    def replicate(self, options: SingleOptions) -> tuple[bool, bool]:
        drawn = options.source == "drawn"
        return (drawn, options.folds is not None if drawn else FOLD in options.source)


class SsmisOptions(SingleOptions, frozen=True, extra="forbid"):
    """As `self`; a tenth of the training groups is labeled where the split is drawn."""

    labeled: Amount = Field(0.1, description="labeled training groups: a number (int) or a ratio (float)")
    test: float = Field(0.2, gt=0, lt=1, description="ratio of all groups held out for the test")


class Ssmis(SelfDomain):
    """The field's standard setting: the first published split of the data set where it has one, else a drawn one."""

    card = cards.SSMIS
    Options = SsmisOptions

    def defaults(self, catalog: Catalog) -> Mapping[str, Any]:
        return {"source": next(iter(catalog.splits()), "drawn")}
