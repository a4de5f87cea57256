"""`similar` and `synthetic`: a self-domain split with further unlabeled cases from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from pydantic import Field

from semibench.contracts.cards import DatasetCard
from semibench.contracts.cases import Split
from semibench.contracts.protocol import Catalog, Synthesis
from semibench.protocols import cards
from semibench.protocols.single import SelfDomain, SingleOptions


class SimilarOptions(SingleOptions, frozen=True, extra="forbid"):
    """Options of `self`, and which data sets add unlabeled cases."""

    datasets: tuple[str, ...] = Field(
        (), description="data sets that add unlabeled cases (default: the card's similar ones)"
    )
    own: bool = Field(True, description="keep the data set's own unlabeled cases")


class SimilarDomain(SelfDomain):
    """Adds unlabeled cases from similar data sets (MGCC, Table II: BUSI with BUSIS and UDIAT; TUS with TNSCUI2020)."""

    card = cards.SIMILAR
    Options = SimilarOptions

    def defaults(self, catalog: Catalog) -> Mapping[str, Any]:
        return {"datasets": catalog.card.similar}

    def unsupported(self, card: DatasetCard, options: SimilarOptions) -> str | None:
        if not options.datasets:
            return f"data set {card.name!r} names no similar data sets; give them with --set datasets=a,b"
        return None

    def sources(self, card: DatasetCard, options: SimilarOptions) -> tuple[str, ...]:
        return options.datasets

    def draw(self, catalog: Catalog, options: Any, draw: int | None, fold: int | None) -> Split:
        split = super().draw(catalog, options, draw, fold)
        foreign = tuple(ref for name in options.datasets for ref in catalog.cases(name))
        return replace(split, unlabeled=(split.unlabeled if options.own else ()) + foreign)


class SyntheticOptions(SingleOptions, frozen=True, extra="forbid"):
    """Options of `self`, and which synthetic cases are added.

    `labels="part"` keeps the labeled/unlabeled split and adds synthetic cases to the unlabeled ones (MGCC, Table III). "all"
    uses every training label, and synthetic cases are the only unlabeled ones (Table IV).
    """

    labels: Literal["part", "all"] = Field("part", description="part of the training labels, or all of them")
    generator: str = Field("latent-diffusion", description="the generator")
    count: int = Field(0, ge=0, description="synthetic cases to add (0: as many as there are real training cases)")
    candidates: float = Field(2.0, ge=1, description="maximum number of samples for each kept case")
    generator_options: dict[str, Any] = Field({}, description="options of the generator, resolved by the harness")
    curation: dict[str, Any] = Field({}, description="options of the curation rule of the generator")


class SyntheticDomain(SelfDomain):
    """Adds unlabeled cases from a generator fitted to the training cases of the same draw (MGCC, Tables III and IV)."""

    card = cards.SYNTHETIC
    Options = SyntheticOptions

    def draw(self, catalog: Catalog, options: Any, draw: int | None, fold: int | None) -> Split:
        split = super().draw(catalog, options, draw, fold)
        if options.labels == "all":
            return replace(split, labeled=tuple(sorted(split.labeled + split.unlabeled)), unlabeled=())
        return split

    def synthesis(self, options: SyntheticOptions) -> Synthesis:
        return Synthesis(
            options.generator, options.generator_options, options.count, options.candidates, options.curation
        )
