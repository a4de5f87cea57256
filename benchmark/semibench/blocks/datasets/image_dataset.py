"""The base of 2D data sets: image and mask files become cases on the working grid."""

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
from semibench.blocks.datasets.raster_files import merge_masks, read_grey
from semibench.blocks.datasets.working_grid import Box, case_on_grid
from semibench.contracts.cases import Case, CaseRef, DatasetOptions, Truth
from semibench.contracts.errors import CaseError


class ImageOptions(DatasetOptions, frozen=True, extra="forbid"):
    """size: (height, width) the whole image is resized to, aspect ratio not kept (None: the native size).

    edition: "default" scales to 0..1; "imagenet" then subtracts ImageNet's mean and divides by its deviation, once.
    """

    @field_validator("size")
    @classmethod
    def _size(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and (len(value) != 2 or min(value) < 1):
            raise ValueError(f"size of an image is (height, width), e.g. [256, 256]; got {list(value)}")
        return value


@dataclass(frozen=True)
class ImageEntry:
    """The files and facts of one image.

    Attributes:
        image: the image file.
        masks: the mask files; none means that the case has no label.
        group: the patient, or what else must not be split.
        domain: one of the card's domains.
        spacing: (row, column) in mm; None where the data have none.
    """

    image: Path
    masks: tuple[Path, ...]
    group: str
    domain: str
    spacing: tuple[float, float] | None = None


class ImageDataset(FileDataset):
    """Base of 2D data sets. A subclass sets `card` and writes `locate`.

    Images are resized bilinearly with antialiasing, masks to the nearest pixel. The channels of grey images are equal
    copies.
    """

    Options: ClassVar[type[DatasetOptions]] = ImageOptions

    @abstractmethod
    def locate(self) -> Mapping[str, ImageEntry]:
        """Find all images.

        Returns:
            Case id -> entry.

        Raises:
            LayoutError: the files are not laid out as expected.
        """

    def pixels(self, path: Path) -> NDArray[np.uint8]:
        """Read the native image, uint8 (H, W) or in colour (H, W, 3). Default: grey."""
        return read_grey(path)

    def mask(self, entry: ImageEntry, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """Read the native mask, bool of `shape` (H, W). Default: the union of the mask files."""
        return merge_masks(entry.masks, shape)

    def box(self, image: NDArray[np.uint8]) -> Box | None:
        """Return the part of the native image that is used; None, the default, for all of it."""
        return None

    @cached_property
    def entries(self) -> dict[str, ImageEntry]:
        """Located once per object, sorted by id."""
        return dict(sorted(self.locate().items()))

    def index(self) -> list[CaseRef]:
        return [
            CaseRef(self.card.name, name, self.group_table.get(name, entry.group), entry.domain, bool(entry.masks))
            for name, entry in self.entries.items()
        ]

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
