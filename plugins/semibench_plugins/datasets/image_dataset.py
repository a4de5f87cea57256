"""What all 2D data sets share: entries found in a folder become cases on the working grid."""

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

from semibench import Case, CaseError, CaseRef, DatasetOptions, Frame, Truth
from semibench_plugins.datasets.raster_files import merge_masks, read_grey
from semibench_plugins.datasets.standing_in import FirstParty
from semibench_plugins.datasets.working_grid import Box, resize_image, resize_label, scaled_spacing

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


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


class MgccOptions(ImageOptions, frozen=True, extra="forbid"):
    """edition "mgcc": the MGCC paper's resize of the whole image, to 0..1 (its code divides by 255 twice; here once)."""

    edition: str = "mgcc"


@dataclass(frozen=True)
class ImageEntry:
    """An image as found. masks: none means no label. spacing: (row, column) in mm, where the data have it."""

    image: Path
    masks: tuple[Path, ...]
    group: str
    domain: str
    spacing: tuple[float, float] | None = None


class ImageDataset(FirstParty):
    """Base of the 2D data sets: bilinear with antialiasing for images, nearest for masks; the channels of grey images are
    equal copies."""

    Options: ClassVar[type[DatasetOptions]] = ImageOptions

    @abstractmethod
    def locate(self) -> Mapping[str, ImageEntry]:
        """All images by case id. Raises LayoutError."""

    def pixels(self, path: Path) -> NDArray[np.uint8]:
        """The native image (H, W), or (H, W, 3) in colour; default: grey."""
        return read_grey(path)

    def mask(self, entry: ImageEntry, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """The native binary mask; default: the union of the mask files."""
        return merge_masks(entry.masks, shape)

    def box(self, image: NDArray[np.uint8]) -> Box | None:
        """The part of the native image that is used; default: all of it."""
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
        sides = native.shape[:2]
        box = self.box(native)
        frame = Frame(sides, entry.spacing, box)
        inside = tuple(slice(start, stop) for start, stop in frame.extent)
        size = self.options.size or tuple(stop - start for start, stop in frame.extent)
        planes = np.moveaxis(native, -1, 0) if native.ndim == 3 else native[None]
        part = np.ascontiguousarray(planes[:, *inside]).astype(np.float32) / 255
        image = resize_image(torch.from_numpy(part), size).clamp(0, 1)
        if native.ndim == 2:
            image = image.repeat(self.card.channels, 1, 1)
        if self.options.edition == "imagenet":
            image = imagenet_normalised(image)
        label = None
        if entry.masks:
            mask = self.mask(entry, sides)[inside].astype(np.uint8)
            label = resize_label(torch.from_numpy(mask), size)
        return Case(ref, image, label, scaled_spacing(entry.spacing, frame.extent, size), frame)

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


def imagenet_normalised(image: Tensor) -> Tensor:
    """(3, H, W) in 0..1 to zero mean and unit deviation by ImageNet's statistics."""
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    return (image - mean[:, None, None]) / std[:, None, None]
