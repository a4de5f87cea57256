"""Cases, frames, splits and data sets. Importing this module doesn't import torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel

from semibench.contracts.cards import DatasetCard

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, order=True)
class CaseRef:
    """Identity of a case and nothing else: no path, no pixels. `id` is unique in its data set; `group` is what must
    never be split between training and test; `domain` the device, centre or modality."""

    dataset: str
    id: str
    group: str
    domain: str
    has_label: bool

    @property
    def key(self) -> str:
        """Unique over data sets: "dataset/id"."""
        return f"{self.dataset}/{self.id}"


@dataclass(frozen=True)
class Frame:
    """How the working grid lies in the native one. shape: native spatial shape; spacing: native, in mm, or None;
    box: per axis (start, stop) in native voxels; the working grid is a resize of this box."""

    shape: tuple[int, ...]
    spacing: tuple[float, ...] | None = None
    box: tuple[tuple[int, int], ...] | None = None

    @property
    def extent(self) -> tuple[tuple[int, int], ...]:
        """The box, or the whole native grid where there is none."""
        return self.box if self.box is not None else tuple((0, n) for n in self.shape)


@dataclass
class Case:
    """A case on the working grid. image: float32 (C, *spatial); label: uint8 (*spatial) in 0..K-1, or None;
    spacing: of the working grid in mm, or None where the data have none."""

    ref: CaseRef
    image: Tensor
    label: Tensor | None
    spacing: tuple[float, ...] | None
    frame: Frame


@dataclass(frozen=True)
class Truth:
    """The reference segmentation on the native grid. label: uint8 (*native); spacing: in mm, or None."""

    label: Tensor
    spacing: tuple[float, ...] | None


SYNTHETIC = "synthetic"
"""The data set, and the domain, of cases that a generator made; a protocol never draws them."""


@dataclass(frozen=True)
class Split:
    """Who is labeled, unlabeled, validation, test. excluded: case key -> reason. Labels of validation cases count as
    label budget and are shown; `validation_from` says which pool they were taken from."""

    labeled: tuple[CaseRef, ...]
    unlabeled: tuple[CaseRef, ...]
    validation: tuple[CaseRef, ...]
    test: tuple[CaseRef, ...]
    validation_from: Literal["official", "labeled", "unlabeled", "none"] = "none"
    excluded: Mapping[str, str] = field(default_factory=dict)

    def roles(self) -> dict[str, tuple[CaseRef, ...]]:
        """The four pools by name, in this order: labeled, unlabeled, validation, test."""
        return {"labeled": self.labeled, "unlabeled": self.unlabeled, "validation": self.validation, "test": self.test}


@dataclass(frozen=True)
class LayoutProblem:
    """Something wrong with the files of a data set that their names tell. message: one line: which file, what was
    expected, what was found, what to do. files: all files of the case concerned (it isn't decoded then)."""

    message: str
    files: tuple[Path, ...] = ()


class DatasetOptions(BaseModel, frozen=True, extra="forbid"):
    """Options every data set has; subclass to add more (label map, window, channels ...).

    edition: a published way to prepare it. size: the working grid that a 2D image is resized to (None: the recipe's
    patch, filled in by the harness; for volumes the edition's own grid).
    """

    edition: str = "default"
    size: tuple[int, ...] | None = None


class PhantomOptions(BaseModel, frozen=True, extra="forbid"):
    """Which procedural stand-in. cases: how many (None: the phantom's own number). seed: of the phantom, not of training."""

    cases: int | None = None
    seed: int = 0
    scale: float = 1.0
    """Factor on the native size of the phantom's images or volumes."""


class Dataset(ABC):
    """Finds cases in their official folder layout and reads them in one of its editions.

    A plugin sets the class attributes `card` and, where it has more options than `DatasetOptions`, `Options`.
    """

    card: ClassVar[DatasetCard]
    Options: ClassVar[type[DatasetOptions]] = DatasetOptions
    fingerprint: str | None = None
    """Phantoms and synthetic sets only: identity of the content, in place of the bytes of files."""

    def __init__(self, root: Path | None, options: DatasetOptions) -> None:
        self.root = root
        self.options = options

    @abstractmethod
    def index(self) -> list[CaseRef]:
        """All cases, from names and small tables, without decoding pixels, sorted by id.

        Raises LayoutError with the expected tree and what was found."""

    @abstractmethod
    def files(self, ref: CaseRef) -> tuple[Path, ...]:
        """The files whose bytes make the case (they are hashed); empty for procedural cases."""

    @abstractmethod
    def read(self, ref: CaseRef) -> Case:
        """Decode, map labels, resample and normalise as the edition says. Raises CaseError that names the file."""

    @abstractmethod
    def truth(self, ref: CaseRef) -> Truth | None:
        """The label on the native grid, labels mapped, for scoring; None where the case has none."""

    def inspect(self) -> list[LayoutProblem]:
        """What `bench data verify` says about names and places of files, without decoding: missing and misnamed files, two
        files for one thing, files that don't belong there. Raises nothing for bad data; default: nothing."""
        return []

    def splits(self) -> Mapping[str, Split]:
        """Published splits by name, of cases that are present; default: none."""
        return {}

    @classmethod
    def phantom(cls, options: DatasetOptions, phantom: PhantomOptions) -> Dataset:
        """The procedural stand-in: same dims, channels, classes and domains."""
        raise LookupError(f"data set {cls.card.name!r} has no phantom; give real files with --data-root")

    def settings(self) -> dict[str, Any]:
        """The options as they enter the run key."""
        return self.options.model_dump(mode="json")


class PublishedSplits(ABC):
    """Splits of a data set that another package brings (see `SplitCard`)."""

    @abstractmethod
    def splits(self, cases: tuple[CaseRef, ...]) -> Mapping[str, Split]:
        """The splits by name over the cases of the data set."""
