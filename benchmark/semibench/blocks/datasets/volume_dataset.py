"""The base of 3D data sets: volume files become cases on the working grid."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import field_validator
from torch import Tensor

from semibench.blocks.datasets.file_dataset import FileDataset
from semibench.blocks.datasets.volume_files import (
    Volume,
    map_labels,
    read_h5_volume,
    read_metaimage,
    read_nifti,
    read_nrrd,
    z_first,
)
from semibench.blocks.datasets.working_grid import (
    Box,
    Interpolation,
    crop_or_pad,
    resize_image,
    resize_label,
    scaled_spacing,
)
from semibench.contracts.cases import Case, CaseRef, DatasetOptions, Frame, Truth
from semibench.contracts.errors import CaseError

Scaling = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""A normalisation: values of any shape to values of the same shape."""


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
    """The files and facts of one volume.

    Attributes:
        image: the image file.
        label: the label file, which may be the image file; None where there is no label.
        group: the patient, or what else must not be split.
        domain: one of the card's domains.
        frame: the time point of a 4D file.
    """

    image: Path
    label: Path | None
    group: str
    domain: str
    frame: int | None = None


@dataclass(frozen=True)
class PreparedVolume:
    """A volume as an edition prepares it, before it is resized.

    Attributes:
        box: the part of the native grid that becomes the working grid.
        image: float32, the values in the box.
        size: of the working grid.
        how: interpolation of the image.
        finish: normalisation of the resized image, where the edition normalises after the resize.
    """

    box: Box
    image: NDArray[np.float32]
    size: tuple[int, ...]
    how: Interpolation = "linear"
    finish: Scaling | None = None


class VolumeDataset(FileDataset):
    """Base of 3D data sets. A subclass sets `card` and writes `locate` and `prepare`.

    Labels are mapped once, on the native grid; `read` and `truth` get the same map in the same axis order.

    Attributes:
        scalings: edition -> how it normalises stored values, for the phantom; an edition that is missing has the phantom's
            default.
        h5_spacing: mm per axis of HDF5 files, which hold none; None where it is not known.
    """

    Options: ClassVar[type[DatasetOptions]] = VolumeOptions
    scalings: ClassVar[Mapping[str, Scaling]] = {}
    h5_spacing: ClassVar[tuple[float, ...] | None] = None

    @abstractmethod
    def locate(self) -> Mapping[str, VolumeEntry]:
        """Find all volumes.

        Returns:
            Case id -> entry.

        Raises:
            LayoutError: the files are not laid out as expected.
        """

    def load(self, entry: VolumeEntry, path: Path, key: Literal["image", "label"]) -> Volume:
        """Read the image or the label of a volume, as it is stored.

        By default the ending of the file decides: NIfTI, MetaImage and NRRD are read as (z, y, x), HDF5 in its own order.

        Args:
            entry: the volume.
            path: its image or label file.
            key: what to read; one HDF5 file may hold both, under these names.

        Returns:
            The voxels in the axis order of the data set.

        Raises:
            CaseError: the file can't be read.
        """
        if path.suffix == ".h5":
            return read_h5_volume(path, key, self.h5_spacing)
        if path.suffix == ".mhd":
            return read_metaimage(path)
        return z_first(read_nrrd(path) if path.suffix == ".nrrd" else read_nifti(path, frame=entry.frame))

    def label_classes(self, path: Path) -> Mapping[int, int]:
        """Return the meaning of the stored values of a label file: value -> class. Default: values are classes."""
        return {value: value for value in range(len(self.card.classes))}

    def load_image(self, entry: VolumeEntry) -> Volume:
        """Read the native image; see `load`."""
        return self.load(entry, entry.image, "image")

    def load_label(self, entry: VolumeEntry, path: Path) -> Volume:
        """Read the native label, uint8 classes, in the same axis order.

        Raises:
            CaseError: the file can't be read or holds an unknown value.
        """
        volume = self.load(entry, path, "label")
        return Volume(map_labels(volume.array, self.label_classes(path), path), volume.spacing)

    @abstractmethod
    def prepare(self, entry: VolumeEntry, image: NDArray[Any], label: NDArray[np.uint8] | None) -> PreparedVolume:
        """Prepare a volume as the edition says: box, normalisation, working grid.

        Raises:
            CaseError: the edition needs a label and there is none.
        """

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
        volume = self.load_image(entry)
        native, spacing = volume.array, volume.spacing
        if np.issubdtype(native.dtype, np.floating) and not np.isfinite(native).all():
            raise CaseError(
                f"{entry.image}: expected finite voxels, found {int((~np.isfinite(native)).sum())} NaN or infinite ones; "
                "restore the original file"
            )
        label = None if entry.label is None else self.load_label(entry, entry.label).array
        if label is not None and label.shape != native.shape:
            raise CaseError(
                f"{entry.label}: the label has the shape {label.shape}, its image {native.shape}; restore the original file"
            )
        prepared = self.prepare(entry, native, label)
        image = resize_image(torch.from_numpy(np.ascontiguousarray(prepared.image))[None], prepared.size, prepared.how)
        if prepared.finish is not None:
            image = torch.from_numpy(prepared.finish(image.numpy()))
        target = None
        if label is not None:
            target = resize_label(
                torch.from_numpy(np.ascontiguousarray(crop_or_pad(label, prepared.box))), prepared.size
            )
        frame = Frame(native.shape, spacing, prepared.box)
        return Case(ref, image, target, scaled_spacing(spacing, prepared.box, prepared.size), frame)

    def truth(self, ref: CaseRef) -> Truth | None:
        entry = self._entry(ref)
        if entry.label is None:
            return None
        label = self.load_label(entry, entry.label)
        return Truth(torch.from_numpy(np.ascontiguousarray(label.array)), label.spacing)

    @classmethod
    def normaliser(cls, options: DatasetOptions) -> Callable[[Tensor], Tensor] | None:
        scaling = cls.scalings.get(options.edition)
        return None if scaling is None else lambda image: torch.from_numpy(scaling(image.numpy()))

    def size_of(self, box: Box, default: Sequence[int] | None = None) -> tuple[int, ...]:
        """Return the size of the working grid: the option, else the edition's grid, else the box as it is."""
        return tuple(self.options.size or default or (stop - start for start, stop in box))

    def _entry(self, ref: CaseRef) -> VolumeEntry:
        if ref.id not in self.entries:
            raise CaseError(f"{ref.key}: no such volume under {self.root} (with the options {self.settings()})")
        return self.entries[ref.id]
