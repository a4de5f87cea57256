"""The base class for 3D data sets: it turns volume files into cases on the working grid."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import field_validator
from torch import Tensor

from semibench.blocks.datasets.file_dataset import FileDataset
from semibench.blocks.datasets.hdf5_files import read_h5_volume
from semibench.blocks.datasets.itk_files import read_metaimage, read_nrrd
from semibench.blocks.datasets.nifti_files import nifti_grid, read_nifti
from semibench.blocks.datasets.volume_files import Volume, map_labels, z_first
from semibench.blocks.datasets.volume_grid import Grid, on_grid_of_image
from semibench.blocks.datasets.working_grid import (
    Box,
    Interpolation,
    crop_or_pad,
    resize_image,
    resize_label,
    scaled_spacing,
)
from semibench.contracts.cases import Case, CaseRef, DatasetOptions, Frame, Remark, Truth
from semibench.contracts.errors import CaseError

Scaling = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""A normalisation: it maps values of any shape to values of the same shape."""


class VolumeOptions(DatasetOptions, frozen=True, extra="forbid"):
    """Options of 3D data sets. size: the working grid, in the axis order of the data set (None: the edition's own).

    Examples:
        >>> VolumeOptions(size=(32, 96, 96)).size
        (32, 96, 96)
    """

    @field_validator("size")
    @classmethod
    def _size(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and (len(value) != 3 or min(value) < 1):
            raise ValueError(f"size of a volume has three numbers, e.g. [96, 96, 96]; got {list(value)}")
        return value


@dataclass(frozen=True)
class VolumeEntry:
    """The files of one volume, its group and its domain.

    Attributes:
        image: the image file.
        label: the label file, which may be the image file; None if there is no label.
        group: the patient, or whatever else must stay on one side of a split.
        domain: one of the card's domains.
        frame: the time point of a 4D file, from 0; None for a 3D file.

    Examples:
        >>> VolumeEntry(folder / "a.nii.gz", folder / "a_seg.nii.gz", group="a", domain="default").label.name
        'a_seg.nii.gz'
    """

    image: Path
    label: Path | None
    group: str
    domain: str
    frame: int | None = None


@dataclass(frozen=True)
class PreparedVolume:
    """A volume as prepared by an edition, before it is resized.

    Attributes:
        box: the part of the native grid that becomes the working grid.
        image: float32, the values in the box.
        size: the size of the working grid.
        how: the interpolation of the image.
        finish: the normalisation of the resized image, if the edition normalises after resizing.

    Examples:
        >>> PreparedVolume(((0, 2), (0, 4), (0, 4)), np.zeros((2, 4, 4), np.float32), size=(2, 8, 8)).how
        'linear'
    """

    box: Box
    image: NDArray[np.float32]
    size: tuple[int, ...]
    how: Interpolation = "linear"
    finish: Scaling | None = None


@dataclass
class _Seen:
    """What was seen of the files of a case: the grid of the image, and what is doubtful."""

    grid: Grid
    remarks: list[Remark]


class VolumeDataset(FileDataset):
    """Base class for 3D data sets. A subclass sets `card` and implements `locate` and `prepare`.

    Stored label values are mapped to classes once, on the native grid; `read` and `truth` see the same map.

    Attributes:
        scalings: edition -> its normalisation of stored values, so that the phantom can apply it. Editions not listed here use
            the phantom's default.
        h5_spacing: mm per axis of HDF5 files, which don't store a spacing; None if unknown.

    Examples:
        >>> class Scans(VolumeDataset):
        ...     card = card
        ...     def locate(self):
        ...         return {"a": VolumeEntry(self.root / "a.nii.gz", None, "a", "default")}
        ...     def prepare(self, entry, image, label):
        ...         box = tuple((0, length) for length in image.shape)
        ...         return PreparedVolume(box, z_score(image.astype(np.float32)), self.size_of(box))
        >>> nibabel.save(nibabel.Nifti1Image(np.zeros((6, 4, 2), np.int16), np.eye(4)), folder / "a.nii.gz")
        >>> data = Scans(folder, DatasetOptions())
        >>> data.read(data.index()[0]).image.shape
        torch.Size([1, 2, 4, 6])
    """

    Options: ClassVar[type[DatasetOptions]] = VolumeOptions
    scalings: ClassVar[Mapping[str, Scaling]] = {}
    h5_spacing: ClassVar[tuple[float, ...] | None] = None

    @abstractmethod
    def locate(self) -> Mapping[str, VolumeEntry]:
        """Finds all volumes.

        Returns:
            Case id -> entry.

        Raises:
            LayoutError: if the files are not laid out as expected.
        """

    def load(self, entry: VolumeEntry, path: Path, key: Literal["image", "label"]) -> Volume:
        """Reads the stored image or label of a volume.

        By default the ending of the file decides how: NIfTI, MetaImage and NRRD are read as (z, y, x), HDF5 in file order.

        Args:
            entry: the volume.
            path: its image or label file.
            key: what to read. One HDF5 file may contain both, under these names.

        Returns:
            The voxels in the axis order of the data set.

        Raises:
            CaseError: if the file can't be read.
        """
        ending = path.suffix.lower()
        if ending in (".h5", ".hdf5"):
            return read_h5_volume(path, key, self.h5_spacing)
        if ending in (".mhd", ".mha"):
            return read_metaimage(path)
        return z_first(read_nrrd(path) if ending == ".nrrd" else read_nifti(path, frame=entry.frame))

    def label_classes(self, path: Path) -> Mapping[int, int]:
        """Returns the class of each stored value of a label file. By default the values are the classes."""
        return {value: value for value in range(len(self.card.classes))}

    def load_image(self, entry: VolumeEntry) -> Volume:
        """Reads the native image; see `load`."""
        return self.load(entry, entry.image, "image")

    def load_label(self, entry: VolumeEntry, path: Path) -> Volume:
        """Reads the native label as uint8 classes, in the axis order of the image.

        Raises:
            CaseError: if the file can't be read or contains an unknown value.
        """
        volume = self.load(entry, path, "label")
        return replace(volume, array=map_labels(volume.array, self.label_classes(path), path))

    @abstractmethod
    def prepare(self, entry: VolumeEntry, image: NDArray[Any], label: NDArray[np.uint8] | None) -> PreparedVolume:
        """Prepares a volume as its edition requires: box, normalisation, working grid.

        Raises:
            CaseError: if the edition needs a label and there is none.
        """

    @cached_property
    def entries(self) -> dict[str, VolumeEntry]:
        """Case id -> entry, sorted by id; located once per object.

        Raises:
            LayoutError: if there are none, or the files are not laid out as expected.
        """
        return self.in_order(self.locate())

    def index(self) -> list[CaseRef]:
        return self.grouped(
            [
                CaseRef(self.card.name, name, self.group_table.get(name, e.group), e.domain, e.label is not None)
                for name, e in self.entries.items()
            ]
        )

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
        self._seen[ref.id] = _Seen(
            Grid(native.shape, volume.affine, spacing), [Remark(words) for words in volume.remarks]
        )
        stored = None if entry.label is None else self._label_on_grid(ref, entry, entry.label)
        label = None if stored is None else stored.array
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
        label = self._label_on_grid(ref, entry, entry.label)
        return Truth(torch.from_numpy(np.ascontiguousarray(label.array)), label.spacing)

    def remarks(self, ref: CaseRef) -> list[Remark]:
        if ref.id not in self._seen:
            self.read(ref)
        return list(dict.fromkeys(self._seen[ref.id].remarks))

    @cached_property
    def _seen(self) -> dict[str, _Seen]:
        """Case id -> what was seen of its files when they were last read."""
        return {}

    def _label_on_grid(self, ref: CaseRef, entry: VolumeEntry, path: Path) -> Volume:
        """Reads a label and brings it to the axes of its image."""
        label = self.load_label(entry, path)
        if label.affine is None and ref.id not in self._seen:  # there is nothing to compare with the image
            return label
        if ref.id not in self._seen:
            image = self._header(entry)
            self._seen[ref.id] = _Seen(
                Grid(image.array.shape, image.affine, image.spacing), [Remark(words) for words in image.remarks]
            )
        seen = self._seen[ref.id]
        label, remarks = on_grid_of_image(label, seen.grid, path, entry.image)
        seen.remarks += [Remark(words) for words in label.remarks] + remarks
        return label

    def _header(self, entry: VolumeEntry) -> Volume:
        """Reads where an image lies: from its header alone, if the class reads NIfTI files as this one does."""
        loads = (type(self).load, type(self).load_image)
        name = entry.image.name.lower()
        if loads == (VolumeDataset.load, VolumeDataset.load_image) and name.endswith((".nii", ".nii.gz")):
            return z_first(nifti_grid(entry.image, frame=entry.frame))
        return self.load_image(entry)

    @classmethod
    def normaliser(cls, options: DatasetOptions) -> Callable[[Tensor], Tensor] | None:
        scaling = cls.scalings.get(options.edition)
        return None if scaling is None else lambda image: torch.from_numpy(scaling(image.numpy()))

    def size_of(self, box: Box, default: Sequence[int] | None = None) -> tuple[int, ...]:
        """Returns the size of the working grid: that in the options, else the edition's grid, else the size of the box."""
        return tuple(self.options.size or default or (stop - start for start, stop in box))

    def _entry(self, ref: CaseRef) -> VolumeEntry:
        if ref.id not in self.entries:
            raise CaseError(f"{ref.key}: no such volume under {self.root} (with the options {self.settings()})")
        return self.entries[ref.id]
