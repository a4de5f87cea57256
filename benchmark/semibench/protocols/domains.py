"""`umda` and `semi-mdg`: training and test use different domains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from pydantic import Field

from semibench.contracts.cards import DatasetCard
from semibench.contracts.cases import CaseRef, Split
from semibench.contracts.errors import UsageError
from semibench.contracts.protocol import Catalog, DrawProtocol, ProtocolOptions
from semibench.protocols import cards
from semibench.protocols.ordering import cases_of, ordered, reverse, take, without
from semibench.protocols.single import Amount, published


def _of(refs: tuple[CaseRef, ...], domain: str, card: DatasetCard, labeled: bool = True) -> tuple[CaseRef, ...]:
    """Return the cases of a domain, or only its labeled ones; raise UsageError if there are none."""
    cases = tuple(ref for ref in refs if ref.domain == domain and (ref.has_label or not labeled))
    if not cases:
        raise UsageError(f"data set {card.name!r} has no {'labeled ' if labeled else ''}case of domain {domain!r} here")
    return cases


class AdaptationOptions(ProtocolOptions, frozen=True, extra="forbid"):
    """How the two domains are divided.

    `validation_from="source"` keeps the target unlabeled; "target" selects on target labels, as most published numbers do.
    `labels="target"` is the upper bound of adaptation, "target supervised": the target cases that adaptation takes without
    labels are trained with them, and no source case is trained. Validation and test stay the same. Such a run has no
    unlabeled cases, so methods that need some refuse it.
    """

    source: str = Field("", description="labeled domain (default: the first)")
    target: str = Field("", description="unlabeled domain (default: the second)")
    split: str = Field("drawn", description="'drawn' or the name of a published split")
    test: float = Field(0.25, gt=0, lt=1, description="ratio of the target groups held out for the test")
    validation: float = Field(0.15, ge=0, lt=1, description="ratio of groups used for selection")
    validation_from: Literal["source", "target", "none"] = Field(
        "source", description="domain whose labels select the checkpoint"
    )
    labels: Literal["source", "target"] = Field(
        "source", description="domain whose labels are trained on; target: the upper bound, without any source case"
    )


def _target_supervised(split: Split, target: str) -> Split:
    """Return a split of an adaptation with the labels of its unlabeled target cases, and without its source cases."""
    labeled = tuple(ref for ref in split.unlabeled if ref.has_label and ref.domain == target)
    if not labeled:
        raise UsageError(
            f"labels=target: expected labeled training cases of domain {target!r}, found none; use labels=source"
        )
    pool = "labeled" if split.validation_from == "unlabeled" else split.validation_from
    return replace(split, labeled=labeled, unlabeled=(), validation_from=pool)


class DomainAdaptation(DrawProtocol):
    """Unsupervised domain adaptation (UMDA): the source is labeled, the target is unlabeled, the test is in the target.

    `supervised` under it is "source only"; with `labels=target` it is "target supervised".
    """

    card = cards.UMDA
    Options = AdaptationOptions

    def defaults(self, catalog: Catalog) -> Mapping[str, Any]:
        names = catalog.card.domains
        return {"source": names[0], "target": names[1] if len(names) > 1 else ""}

    def unsupported(self, card: DatasetCard, options: AdaptationOptions) -> str | None:
        for role, name in (("source", options.source), ("target", options.target)):
            if name not in card.domains:
                return f"{role} domain {name!r}: data set {card.name!r} has the domains {', '.join(card.domains)}"
        return "source and target are the same domain" if options.source == options.target else None

    def draw(self, catalog: Catalog, options: AdaptationOptions, draw: int | None, fold: int | None) -> Split:
        drawn = options.split == "drawn"
        split = self._adaptation(catalog, options, draw) if drawn else published(catalog, options.split)
        return split if options.labels == "source" else _target_supervised(split, options.target)

    def _adaptation(self, catalog: Catalog, options: AdaptationOptions, draw: int | None) -> Split:
        refs = catalog.cases()
        source, target = _of(refs, options.source, catalog.card), _of(refs, options.target, catalog.card, labeled=False)
        source_groups, target_groups = (
            ordered(source, draw or 0),
            ordered([r for r in target if r.has_label], draw or 0),
        )
        test = take(target_groups, options.test, "test")
        target_rest = without(ordered(target, draw or 0), test)
        if not target_rest:
            raise UsageError("no target group is left for training; give more cases or a smaller test ratio")
        validation = []
        side = options.validation_from if options.validation else "none"
        if side != "none":
            pool = source_groups if side == "source" else without(target_groups, test)
            validation = take(reverse(pool), options.validation, "validation")
        labeled = without(source_groups, validation)
        unlabeled = without(target_rest, validation)
        return Split(
            labeled=cases_of(source, [group for groups in labeled.values() for group in groups]),
            unlabeled=cases_of(target, [group for groups in unlabeled.values() for group in groups]),
            validation=cases_of(source if side == "source" else target, validation),
            test=cases_of(tuple(r for r in target if r.has_label), test),
            validation_from={"source": "labeled", "target": "unlabeled", "none": "none"}[side],  # type: ignore[arg-type]
        )

    def replicate(self, options: AdaptationOptions) -> tuple[bool, bool]:
        return (options.split == "drawn", False)


class GeneralisationOptions(ProtocolOptions, frozen=True, extra="forbid"):
    """How the domains are divided. All labeled cases of the target are the test; validation takes unlabeled source groups."""

    target: str = Field("", description="unseen domain (default: the last)")
    sources: tuple[str, ...] = Field((), description="training domains (default: all others)")
    split: str = Field("drawn", description="'drawn' or the name of a published split")
    labeled: Amount = Field(0.05, description="labeled source groups: a number (int) or a ratio of each domain (float)")
    validation: float = Field(0.1, ge=0, lt=1, description="ratio of the source groups used for selection")


class DomainGeneralisation(DrawProtocol):
    """Semi-supervised multi-source domain generalisation (Semi-MDG): the target domain appears only in the test."""

    card = cards.SEMI_MDG
    Options = GeneralisationOptions

    def defaults(self, catalog: Catalog) -> Mapping[str, Any]:
        return {"target": catalog.card.domains[-1]}

    def unsupported(self, card: DatasetCard, options: GeneralisationOptions) -> str | None:
        if len(card.domains) < 3:
            return f"data set {card.name!r} has {len(card.domains)} domains; domain generalisation needs three or more"
        unknown = sorted({options.target, *options.sources} - set(card.domains))
        if unknown:
            return f"unknown domains {', '.join(unknown)}: data set {card.name!r} has {', '.join(card.domains)}"
        return f"target {options.target!r} is also a source" if options.target in options.sources else None

    def draw(self, catalog: Catalog, options: GeneralisationOptions, draw: int | None, fold: int | None) -> Split:
        if options.split != "drawn":
            return published(catalog, options.split)
        names = options.sources or tuple(name for name in catalog.card.domains if name != options.target)
        refs = catalog.cases()
        test = _of(refs, options.target, catalog.card)
        source = tuple(ref for name in names for ref in _of(refs, name, catalog.card, labeled=False))
        groups = ordered([ref for ref in source if ref.has_label], draw or 0)
        validation = take(reverse(groups), options.validation, "validation") if options.validation else []
        sizes = {domain: len(members) for domain, members in groups.items()}
        labeled = take(without(groups, validation), options.labeled, "labeled", of=sizes)
        rest = without(ordered(source, draw or 0), [*validation, *labeled])
        labeled_refs = tuple(ref for ref in source if ref.has_label)
        return Split(
            labeled=cases_of(labeled_refs, labeled),
            unlabeled=cases_of(source, [group for members in rest.values() for group in members]),
            validation=cases_of(labeled_refs, validation),
            test=test,
            validation_from="unlabeled" if validation else "none",
        )

    def replicate(self, options: GeneralisationOptions) -> tuple[bool, bool]:
        return (options.split == "drawn", False)
