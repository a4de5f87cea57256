"""The contract of a protocol: the rule that draws the split. Does not import torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

from pydantic import BaseModel, Field

from semibench.contracts.cards import DatasetCard, ProtocolCard
from semibench.contracts.cases import CaseRef, Split


class Catalog(Protocol):
    """The cases that a protocol may draw from."""

    card: DatasetCard
    """Card of the main data set."""

    def cases(self, dataset: str | None = None) -> tuple[CaseRef, ...]:
        """Return all cases of the main data set, or of another one that `DrawProtocol.sources` named."""
        ...

    def splits(self) -> Mapping[str, Split]:
        """Return the published splits of the main data set, by name."""
        ...


@dataclass(frozen=True)
class Synthesis:
    """The synthetic cases that a protocol asks for."""

    generator: str
    """Name of the generator."""
    options: Mapping[str, Any]
    """Its options."""
    count: int
    """Number of cases."""
    candidates: float
    """The maximum number of samples to draw for each kept one."""
    curation: Mapping[str, Any]
    """Options of the rule that chooses among them; they are recorded."""


UNLABELED_FROM = "unlabeled_from"
"""Name of the option that every protocol has besides its own. The harness applies it after the draw. It stands in the entry, not in
the track."""


OWN_SPLIT = "own_split"
"""Name of the option that holds the digest of a split of one's own (`--split FILE`). The harness uses it in place of a draw.
It stands among the protocol's options in the track, and only where there is one."""


class OfEveryProtocol(BaseModel, frozen=True, extra="forbid"):
    """The options that the harness adds to those of a protocol, for `bench show`."""

    unlabeled_from: Literal["split", "labeled"] = Field(
        "split",
        description="unlabeled images: those that the protocol draws, or the labeled ones (a control; --control)",
    )
    own_split: str = Field("", description="digest of a split of one's own; give its file with --split")


class ProtocolOptions(BaseModel, frozen=True, extra="forbid"):
    """Base of a protocol's options."""


class DrawProtocol(ABC):
    """Draws the split.

    Within each domain, groups are sorted by sha256("draw/group") and the first n are taken. Drawn subsets are therefore
    nested, and depend neither on file order nor on the machine.
    """

    card: ClassVar[ProtocolCard]
    """The card that the hook returns."""
    Options: ClassVar[type[ProtocolOptions]] = ProtocolOptions
    """The options of this protocol."""

    def defaults(self, catalog: Catalog) -> Mapping[str, Any]:
        """Return option values that depend on the data (target domain, published split ...); none by default."""
        return {}

    def unsupported(self, card: DatasetCard, options: Any) -> str | None:
        """Return why this data set cannot be used, or None if it can.

        Args:
            card: card of the data set.
            options: an instance of `Options`.
        """
        return None

    def sources(self, card: DatasetCard, options: Any) -> tuple[str, ...]:
        """Return the names of the other data sets that it takes unlabeled cases from."""
        return ()

    @abstractmethod
    def draw(self, catalog: Catalog, options: Any, draw: int | None, fold: int | None) -> Split:
        """Draw the split.

        Args:
            catalog: the cases to draw from.
            options: an instance of `Options`.
            draw: number of the random split; None: a published one.
            fold: fold of the split; None: it has no folds.
        """

    def synthesis(self, options: Any) -> Synthesis | None:
        """Return what to generate from the training cases and add to `unlabeled`; nothing by default."""
        return None

    def replicate(self, options: Any) -> tuple[bool, bool]:
        """Return whether draw and fold have a meaning under these options: an official split has no draw."""
        return (True, False)
