"""The base class for 2D data sets: it turns image and mask files into cases on the working grid."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import field_validator
from torch import Tensor

from semibench.blocks.datasets.file_dataset import FileDataset
from semibench.blocks.datasets.intensity import imagenet_normalised
from semibench.blocks.datasets.raster_files import merge_masks, picture_remarks, read_grey
from semibench.blocks.datasets.working_grid import Box, case_on_grid
from semibench.contracts.cases import Case, CaseRef, DatasetOptions, Remark, Truth
from semibench.contracts.errors import CaseError


class ImageOptions(DatasetOptions, frozen=True, extra="forbid"):
    """Options of 2D data sets.

    size: (height, width) to which the whole image is resized, without keeping its aspect ratio (None: the native size).
    edition: "default" scales to 0..1; "imagenet" then subtracts ImageNet's mean and divides by its standard deviation, once.

    Examples:
        >>> ImageOptions(edition="imagenet", size=(256, 256)).size
        (256, 256)
    """

    @field_validator("size")
    @classmethod
    def _size(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and (len(value) != 2 or min(value) < 1):
            raise ValueError(f"size of an image is (height, width), e.g. [256, 256]; got {list(value)}")
        return value


@dataclass(frozen=True)
class ImageEntry:
    """The files of one image, its group and its domain.

    Attributes:
        image: the image file.
        masks: the mask files; an empty tuple means that the case has no label.
        group: the patient, or whatever else must stay on one side of a split.
        domain: one of the card's domains.
        spacing: (row, column) in mm; None if unknown.

    Examples:
        >>> ImageEntry(folder / "a.png", (folder / "a_mask.png",), group="patient 1", domain="default").masks[0].name
        'a_mask.png'
    """

    image: Path
    masks: tuple[Path, ...]
    group: str
    domain: str
    spacing: tuple[float, float] | None = None


class ImageDataset(FileDataset):
    """Base class for 2D data sets. A subclass sets `card` and implements `locate`.

    Images are resized bilinearly with antialiasing, masks by nearest neighbour. Grey images are copied to all channels.

    Examples:
        >>> class Clinic(ImageDataset):
        ...     card = card
        ...     def locate(self):
        ...         return {path.stem: ImageEntry(path, (), path.stem, "default") for path in image_files(self.root)}
        >>> Image.new("L", (6, 4)).save(folder / "a.png")
        >>> data = Clinic(folder, DatasetOptions())
        >>> data.read(data.index()[0]).image.shape
        torch.Size([1, 4, 6])
    """

    Options: ClassVar[type[DatasetOptions]] = ImageOptions

    @abstractmethod
    def locate(self) -> Mapping[str, ImageEntry]:
        """Finds all images.

        Returns:
            Case id -> entry.

        Raises:
            LayoutError: if the files are not laid out as expected.
        """

    def image_entries(self, *, complete: bool = False) -> dict[str, ImageEntry]:
        """Builds the entries of data sets that find their files by pattern, with the roles "image" and "mask".

        Each image is a group of its own, in the first domain.

        Args:
            complete: True if every image must have a mask.

        Returns:
            Case id -> entry.

        Raises:
            LayoutError: under the conditions of `found_cases`.
        """
        return {
            case: ImageEntry(files.files["image"][0], tuple(files.files.get("mask", ())), case, self.card.domains[0])
            for case, files in self.found_cases(complete=complete)[1].items()
        }

    def pixels(self, path: Path) -> NDArray[np.uint8]:
        """Reads the native image as uint8: grey (H, W), the default, or colour (H, W, 3)."""
        return read_grey(path)

    def mask(self, entry: ImageEntry, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """Reads the native mask as bool of `shape` (H, W). By default it is the union of the mask files."""
        return merge_masks(entry.masks, shape)

    def box(self, image: NDArray[np.uint8]) -> Box | None:
        """Returns the part of the native image to use; None, the default, means all of it."""
        return None

    @cached_property
    def entries(self) -> dict[str, ImageEntry]:
        """Case id -> entry, sorted by id; located once per object.

        Raises:
            LayoutError: if there are none, or the files are not laid out as expected.
        """
        return self.in_order(self.locate())

    def index(self) -> list[CaseRef]:
        return self.grouped(
            [
                CaseRef(self.card.name, name, self.group_table.get(name, entry.group), entry.domain, bool(entry.masks))
                for name, entry in self.entries.items()
            ]
        )

    def files(self, ref: CaseRef) -> tuple[Path, ...]:
        entry = self._entry(ref)
        return (entry.image, *entry.masks)

    def read(self, ref: CaseRef) -> Case:
        entry = self._entry(ref)
        native = self.pixels(entry.image)
        planes = np.moveaxis(native, -1, 0) if native.ndim == 3 else native[None]
        mask = self.mask(entry, native.shape[:2]).astype(np.uint8) if entry.masks else None
        case = case_on_grid(
            ref,
            planes.astype(np.float32) / np.float32(255),
            mask,
            size=self.options.size,
            spacing=entry.spacing,
            box=self.box(native),
        )
        case.image = case.image.clamp(0, 1)
        if native.ndim == 2:
            case.image = case.image.repeat(self.card.channels, 1, 1)
        if self.options.edition == "imagenet":
            case.image = imagenet_normalised(case.image)
        return case

    def remarks(self, ref: CaseRef) -> list[Remark]:
        return [Remark(words) for path in self.files(ref) for words in picture_remarks(path)]

    def truth(self, ref: CaseRef) -> Truth | None:
        entry = self._entry(ref)
        if not entry.masks:
            return None
        mask = self.mask(entry, self.pixels(entry.image).shape[:2])
        return Truth(torch.from_numpy(mask.astype(np.uint8)), entry.spacing)

    @classmethod
    def normaliser(cls, options: DatasetOptions) -> Callable[[Tensor], Tensor] | None:
        return (lambda image: imagenet_normalised(image / 255)) if options.edition == "imagenet" else None

    def _entry(self, ref: CaseRef) -> ImageEntry:
        if ref.id not in self.entries:
            raise CaseError(f"{ref.key}: no such image under {self.root} (with the options {self.settings()})")
        return self.entries[ref.id]
