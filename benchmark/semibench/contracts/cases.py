"""Cases, frames, splits and data sets. Importing this module does not import torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, Field

from semibench.contracts.cards import DatasetCard
from semibench.contracts.identity import Grid

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, order=True)
class CaseRef:
    """The identity of a case: no path, no pixels."""

    dataset: str
    """Name of the data set."""
    id: str
    """Unique within the data set."""
    group: str
    """What must never be split between training and test: the patient, or a set of duplicate images."""
    domain: str
    """The device, centre or modality."""
    has_label: bool
    """Whether the case has a label."""

    @property
    def key(self) -> str:
        """Unique across data sets: "dataset/id"."""
        return f"{self.dataset}/{self.id}"


@dataclass(frozen=True)
class Frame:
    """Where the working grid lies in the native grid: the working grid is a resize of `box`."""

    shape: tuple[int, ...]
    """Native spatial shape, in voxels."""
    spacing: tuple[float, ...] | None = None
    """Native voxel size in mm, or None if the data have none."""
    box: tuple[tuple[int, int], ...] | None = None
    """(start, stop) in native voxels for each axis; None: the whole native grid."""

    @property
    def extent(self) -> tuple[tuple[int, int], ...]:
        """The box, or the whole native grid if there is no box."""
        return self.box if self.box is not None else tuple((0, n) for n in self.shape)


@dataclass
class Case:
    """A case on the working grid."""

    ref: CaseRef
    """Its identity."""
    image: Tensor
    """float32 (C, *spatial)."""
    label: Tensor | None
    """uint8 (*spatial) with values 0..K-1, or None. 255 (IGNORE): neither trained nor scored."""
    spacing: tuple[float, ...] | None
    """Voxel size of the working grid in mm, or None if the data have none."""
    frame: Frame
    """Where the working grid lies in the native one."""


@dataclass(frozen=True)
class Truth:
    """The reference segmentation on the native grid."""

    label: Tensor
    """uint8 (*native) with values 0..K-1, and 255 (IGNORE) where nothing is scored."""
    spacing: tuple[float, ...] | None
    """Voxel size in mm, or None."""


SYNTHETIC = "synthetic"
"""The data set, and the domain, of cases that a generator made; a protocol never draws them."""


@dataclass(frozen=True)
class Split:
    """Which cases are labeled, unlabeled, validation and test. Labels of validation cases count as label budget and are shown."""

    labeled: tuple[CaseRef, ...]
    """Training cases with labels."""
    unlabeled: tuple[CaseRef, ...]
    """Training cases whose labels, if any, are hidden."""
    validation: tuple[CaseRef, ...]
    """Cases that select the best checkpoint."""
    test: tuple[CaseRef, ...]
    """Cases that are scored."""
    validation_from: Literal["official", "labeled", "unlabeled", "none"] = "none"
    """The pool that the validation cases were taken from."""
    excluded: Mapping[str, str] = field(default_factory=dict)
    """Case key -> why the case is not used."""

    def roles(self) -> dict[str, tuple[CaseRef, ...]]:
        """Return the four pools by name, in this order: labeled, unlabeled, validation, test."""
        return {"labeled": self.labeled, "unlabeled": self.unlabeled, "validation": self.validation, "test": self.test}


@dataclass(frozen=True)
class LayoutProblem:
    """A problem with the files of a data set that shows in their names."""

    message: str
    """One line: which file, what was expected, what was found, what to do."""
    files: tuple[Path, ...] = ()
    """All files of the case concerned, which is then not decoded."""
    level: Literal["error", "warning"] = "error"
    """A warning doesn't make the data set wrong: a row of a table without an image, in a part of the data set."""


@dataclass(frozen=True)
class Remark:
    """Something doubtful about the files of a case that can be read."""

    message: str
    """One line: which file, what was expected, what was found, how it was read or what to do."""
    level: Literal["error", "warning"] = "warning"
    """An error: `bench data verify` fails. A run goes on in both cases, with a warning."""


class DatasetOptions(BaseModel, frozen=True, extra="forbid"):
    """Options that every data set has. Subclass it to add more (label map, window, channels ...)."""

    edition: str = "default"
    """A published way to prepare the data set."""
    size: Grid | None = None
    """The working grid to which a 2D image is resized. None: the harness fills in the recipe's patch; volumes use the
    edition's own grid."""


class PhantomOptions(BaseModel, frozen=True, extra="forbid"):
    """Which procedural stand-in to make."""

    cases: int | None = Field(None, ge=1, le=100_000)
    """Number of cases; None: the phantom's own number."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Seed of the phantom, not of training."""
    scale: float = Field(1.0, gt=0, le=8)
    """Factor on the native size of the phantom's images or volumes."""


class Dataset(ABC):
    """Finds cases in their official folder layout and reads them in one of its editions.

    A plugin sets the class attribute `card`, and `Options` if it has more options than `DatasetOptions`.
    """

    card: ClassVar[DatasetCard]
    """The card that the hook returns."""
    Options: ClassVar[type[DatasetOptions]] = DatasetOptions
    """The options of this data set."""
    adds_bare_cases: ClassVar[bool] = False
    """Whether cases without a label join the unlabeled ones of a split that a protocol draws inside this data set. The built-in
    data sets are drawn from their cases with a label alone, as in the papers."""
    fingerprint: str | None = None
    """Phantoms and synthetic sets only: identifies the content, in place of the bytes of files."""

    def __init__(self, root: Path | None, options: DatasetOptions) -> None:
        """Remember the folder and the options; read nothing.

        Args:
            root: folder of the data set; None for phantoms.
            options: an instance of `Options`.
        """
        self.root = root
        self.options = options

    @abstractmethod
    def index(self) -> list[CaseRef]:
        """List all cases from file names and small tables, without decoding pixels.

        Returns:
            The cases, sorted by id.

        Raises:
            LayoutError: if files are missing; shows the expected tree and what was found.
        """

    @abstractmethod
    def files(self, ref: CaseRef) -> tuple[Path, ...]:
        """Return the files whose bytes make up the case (they are hashed); empty for procedural cases."""

    @abstractmethod
    def read(self, ref: CaseRef) -> Case:
        """Decode a case, map its labels, resample and normalise it as the edition demands.

        Args:
            ref: the case to read.

        Returns:
            The case on the working grid.

        Raises:
            CaseError: if the case cannot be read; names the file.
        """

    def remarks(self, ref: CaseRef) -> list[Remark]:
        """Return what is doubtful about the files of a case though `read` accepts them; nothing by default.

        Called after `read`. `bench data verify` shows the remarks, and so does a run that decodes the case.
        """
        return []

    @abstractmethod
    def truth(self, ref: CaseRef) -> Truth | None:
        """Return the label on the native grid, with labels mapped, for scoring; None if the case has no label."""

    def inspect(self) -> list[LayoutProblem]:
        """Check names and places of files, without decoding, for `bench data verify`.

        Report missing and misnamed files, two files for the same thing, and files that do not belong. Never raise for bad
        data. By default nothing is checked.
        """
        return []

    def splits(self) -> Mapping[str, Split]:
        """Return the published splits by name, limited to cases that are present; none by default."""
        return {}

    def protocol_defaults(self, protocol: str, options: Collection[str]) -> Mapping[str, Any]:
        """Return option values of a protocol that suit these cases; none by default.

        Args:
            protocol: name of the protocol.
            options: names of its options.
        """
        return {}

    @classmethod
    def phantom(cls, options: DatasetOptions, phantom: PhantomOptions) -> Dataset:
        """Return the procedural stand-in, with the same dims, channels, classes and domains.

        Args:
            options: an instance of `Options`.
            phantom: which stand-in to make.

        Raises:
            LookupError: if the data set has no phantom.
        """
        raise LookupError(f"data set {cls.card.name!r} has no phantom; give real files with --data-root")

    def settings(self) -> dict[str, Any]:
        """Return the options as they enter the run key."""
        return self.options.model_dump(mode="json")


class PublishedSplits(ABC):
    """Splits of a data set that another package provides (see `SplitCard`)."""

    @abstractmethod
    def splits(self, cases: tuple[CaseRef, ...]) -> Mapping[str, Split]:
        """Return the splits by name.

        Args:
            cases: all cases of the data set.
        """
