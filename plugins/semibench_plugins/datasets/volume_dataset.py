"""What all 3D data sets share: entries found in a folder become volumes on the working grid."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import field_validator

from semibench import Case, CaseError, CaseRef, DatasetOptions, Frame, Truth
from semibench_plugins.datasets.standing_in import FirstParty
from semibench_plugins.datasets.working_grid import Box, cut, resize_image, resize_label, scaled_spacing


class VolumeOptions(DatasetOptions, frozen=True, extra="forbid"):
    """size: the working grid, in the axis order of the data set (None: the edition's own)."""

    @field_validator("size")
    @classmethod
    def _size(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and (len(value) != 3 or min(value) < 1):
            raise ValueError(f"size of a volume has three numbers, e.g. [96, 96, 96]; got {list(value)}")
        return value


@dataclass(frozen=True)
class VolumeEntry:
    """A volume as found. label: None where there is none. frame: time of a 4D file."""

    image: Path
    label: Path | None
    group: str
    domain: str
    frame: int | None = None


@dataclass(frozen=True)
class Prepared:
    """What an edition makes of the native arrays: the box that becomes the working grid and the network's values in it
    (*box, float32), which are then resized. how: "linear" or "nearest" for the image. finish: normalisation of the
    resized image, where the edition does it after the resize."""

    box: Box
    image: NDArray[np.float32]
    size: tuple[int, ...]
    how: str = "linear"
    finish: Callable[[NDArray[np.float32]], NDArray[np.float32]] | None = None


class VolumeDataset(FirstParty):
    """Base of the 3D data sets. Labels are mapped once, native; `read` and `truth` see the same map and axis order."""

    Options: ClassVar[type[DatasetOptions]] = VolumeOptions

    @abstractmethod
    def locate(self) -> Mapping[str, VolumeEntry]:
        """All volumes by case id. Raises LayoutError."""

    @abstractmethod
    def load_image(self, entry: VolumeEntry) -> tuple[NDArray[Any], tuple[float, ...] | None]:
        """The native image in the data set's axis order, and its spacing in mm (None: the files hold none)."""

    @abstractmethod
    def load_label(self, entry: VolumeEntry, path: Path) -> tuple[NDArray[np.uint8], tuple[float, ...] | None]:
        """The native label, mapped to 0..K-1, in the same order, and its spacing in mm."""

    @abstractmethod
    def prepare(self, entry: VolumeEntry, image: NDArray[Any], label: NDArray[np.uint8] | None) -> Prepared:
        """The edition: box, normalisation, grid. Raises CaseError where it needs a label that isn't there."""

    @cached_property
    def entries(self) -> dict[str, VolumeEntry]:
        """Located once per object, sorted by id."""
        return dict(sorted(self.locate().items()))

    def index(self) -> list[CaseRef]:
        return [
            CaseRef(self.card.name, name, self.group_table.get(name, e.group), e.domain, e.label is not None)
            for name, e in self.entries.items()
        ]

    def files(self, ref: CaseRef) -> tuple[Path, ...]:
        entry = self._entry(ref)
        return tuple(dict.fromkeys(path for path in (entry.image, entry.label) if path is not None))

    def read(self, ref: CaseRef) -> Case:
        entry = self._entry(ref)
        native, spacing = self.load_image(entry)
        if np.issubdtype(native.dtype, np.floating) and not np.isfinite(native).all():
            raise CaseError(
                f"{entry.image}: expected finite voxels, found {int((~np.isfinite(native)).sum())} NaN or infinite ones; "
                "restore the original file"
            )
        label = None if entry.label is None else self.load_label(entry, entry.label)[0]
        if label is not None and label.shape != native.shape:
            raise CaseError(
                f"{entry.label}: the label has the shape {label.shape}, its image {native.shape}; restore the original file"
            )
        done = self.prepare(entry, native, label)
        image = resize_image(torch.from_numpy(np.ascontiguousarray(done.image))[None], done.size, done.how)
        if done.finish is not None:
            image = torch.from_numpy(done.finish(image.numpy()))
        target = None
        if label is not None:
            target = resize_label(torch.from_numpy(np.ascontiguousarray(cut(label, done.box))), done.size)
        frame = Frame(native.shape, spacing, done.box)
        return Case(ref, image, target, scaled_spacing(spacing, done.box, done.size), frame)

    def truth(self, ref: CaseRef) -> Truth | None:
        entry = self._entry(ref)
        if entry.label is None:
            return None
        label, spacing = self.load_label(entry, entry.label)
        return Truth(torch.from_numpy(np.ascontiguousarray(label)), spacing)

    def size_of(self, box: Box, default: Sequence[int] | None = None) -> tuple[int, ...]:
        """The working grid: the option, else the edition's grid, else the box as it is."""
        return tuple(self.options.size or default or (stop - start for start, stop in box))

    def _entry(self, ref: CaseRef) -> VolumeEntry:
        if ref.id not in self.entries:
            raise CaseError(f"{ref.key}: no such volume under {self.root} (with the options {self.settings()})")
        return self.entries[ref.id]


def map_labels(stored: NDArray[Any], values: Mapping[int, int], path: Path) -> NDArray[np.uint8]:
    """Stored label values to classes. Raises CaseError that names the file for a value that is not in the map."""
    found = np.unique(stored).tolist()
    unknown = [value for value in found if value not in values]
    if unknown:
        raise CaseError(
            f"{path}: unknown label values {unknown[:8]}; expected some of {sorted(values)}; restore the original file"
        )
    mapped = np.zeros(stored.shape, dtype=np.uint8)
    for value in found:
        if values[value]:
            mapped[stored == value] = values[value]
    return mapped
