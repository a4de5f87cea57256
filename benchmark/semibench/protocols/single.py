"""`self` and `ssmis`: one data set. They differ in where the split comes from by default."""

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
"""Placeholder for the fold, counted from 1, in the name of a published split."""


class SingleOptions(ProtocolOptions, frozen=True, extra="forbid"):
    """How one data set is divided.

    With a published split the other options are unused. "{fold}" in its name is replaced by the fold, counted from 1, so that
    the folds of a published cross-validation are one row ("csc-pa-fold{fold}-258"). The labels of validation cases count as
    label budget.
    """

    source: str = Field("drawn", description="'drawn', or the name of a published split; NAME+all: all training labels")
    labeled: Amount = Field(0.5, description="labeled training groups: a number (int) or a ratio (float)")
    test: float = Field(0.3, gt=0, lt=1, description="ratio of all groups held out for the test")
    folds: int | None = Field(None, ge=2, description="k-fold cross-validation instead of a held-out ratio")
    validation: float = Field(0.1, ge=0, lt=1, description="ratio of the training groups used for selection")
    validation_from: Literal["unlabeled", "labeled", "none"] = Field(
        "unlabeled", description="pool that validation is taken from"
    )


ALL = "+all"
"""Suffix of the name of a published split: use every training label, for fully supervised references."""


def published(catalog: Catalog, name: str) -> Split:
    """Return a published split by name; raise UsageError, which lists the names, if there is none.

    "NAME+all" moves the unlabeled cases that have a label to the labeled pool, and drops the others.
    """
    splits = catalog.splits()
    if name.endswith(ALL):
        split = published(catalog, name.removesuffix(ALL))
        more = tuple(ref for ref in split.unlabeled if ref.has_label)
        return replace(split, labeled=split.labeled + more, unlabeled=())
    try:
        return splits[name]
    except KeyError as error:
        names = ", ".join(splits) or "none (phantoms have none: use source=drawn)"
        raise UsageError(f"data set {catalog.card.name!r} has no published split {name!r}; it has: {names}") from error


def divide(refs: tuple[CaseRef, ...], options: SingleOptions, draw: int, fold: int | None) -> Split:
    """Draw a split: the test first, validation from the end of the training order, labeled cases from its beginning."""
    refs = tuple(ref for ref in refs if ref.has_label)
    if not refs:
        raise UsageError("the data set has no labeled case to draw from")
    domains = ordered(refs, draw)
    if options.folds is not None:
        test = fold_groups(domains, options.folds, 0 if fold is None else fold)
    else:
        if fold is not None:
            raise UsageError(f"fold {fold}: this protocol does not draw folds; set folds=K, or omit --fold")
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
    """Take the labeled groups, in the merged order of the pool."""
    labeled = set(take(pool, amount, "labeled", of=sizes))
    return [group for group in merged(pool) if group in labeled]


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
    """As `self`, but a tenth of the training groups is labeled in a drawn split."""

    labeled: Amount = Field(0.1, description="labeled training groups: a number (int) or a ratio (float)")
    test: float = Field(0.2, gt=0, lt=1, description="ratio of all groups held out for the test")


class Ssmis(SelfDomain):
    """The field's standard setting: the first published split of the data set if it has one, else a drawn one."""

    card = cards.SSMIS
    Options = SsmisOptions

    def defaults(self, catalog: Catalog) -> Mapping[str, Any]:
        return {"source": next(iter(catalog.splits()), "drawn")}
