"""What a protocol is: the rule that draws the split. Light."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel

from semibench.contracts.cards import DatasetCard, ProtocolCard
from semibench.contracts.cases import CaseRef, Split


class Catalog(Protocol):
    """The cases a protocol may draw from."""

    card: DatasetCard

    def cases(self, dataset: str | None = None) -> tuple[CaseRef, ...]:
        """All cases of the main data set, or of another that `sources` named."""
        ...

    def splits(self) -> Mapping[str, Split]:
        """Published splits of the main data set, by name."""
        ...


@dataclass(frozen=True)
class Synthesis:
    """What the protocol wants generated: by which generator with which options, how many cases, and how they are
    chosen. candidates: how many are drawn for each kept one; curation: the options of the choice (recorded)."""

    generator: str
    options: Mapping[str, Any]
    count: int
    candidates: float
    curation: Mapping[str, Any]


class ProtocolOptions(BaseModel, frozen=True, extra="forbid"):
    """Base of a protocol's options."""


class DrawProtocol(ABC):
    """Draws the split. Groups are ordered by sha256("draw/group") within each domain and the first n are taken, so drawn
    subsets are nested and depend neither on file order nor on the machine."""

    card: ClassVar[ProtocolCard]
    Options: ClassVar[type[ProtocolOptions]] = ProtocolOptions

    def defaults(self, catalog: Catalog) -> Mapping[str, Any]:
        """Option values that depend on the data (target domain, published split ...); default: none."""
        return {}

    def unsupported(self, card: DatasetCard, options: Any) -> str | None:
        """Why this data set can't be used, or None."""
        return None

    def sources(self, card: DatasetCard, options: Any) -> tuple[str, ...]:
        """Names of the other data sets it takes unlabeled cases from."""
        return ()

    @abstractmethod
    def draw(self, catalog: Catalog, options: Any, draw: int | None, fold: int | None) -> Split:
        """The split. draw: which random one (None: a published one); fold: which fold of it."""

    def synthesis(self, options: Any) -> Synthesis | None:
        """What must be generated from the training cases and added to `unlabeled`; default: nothing."""
        return None

    def replicate(self, options: Any) -> tuple[bool, bool]:
        """Whether (draw, fold) have a meaning under these options: an official split has no draw."""
        return (True, False)
