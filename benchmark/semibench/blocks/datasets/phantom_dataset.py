"""The base class for phantoms: synthetic data sets that use the card of a real one and need no files."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semibench.blocks.datasets.working_grid import resize_image, resize_label, scaled_spacing
from semibench.contracts.cards import DatasetCard
from semibench.contracts.cases import Case, CaseRef, Dataset, DatasetOptions, Frame, PhantomOptions, Truth

Normalise = Callable[[Tensor], Tensor]
"""Maps stored values (C, *spatial), float32, to the values that the network sees."""


@dataclass(frozen=True)
class Drawing:
    """A drawn case on its native grid.

    Attributes:
        image: stored values, float64 (*spatial), or (3, *spatial) for colour.
        label: uint8 (*spatial), classes.
        spacing: mm per axis; None if the phantom has no physical size.

    Examples:
        >>> Drawing(image=np.zeros((4, 4)), label=np.zeros((4, 4), np.uint8), spacing=(0.5, 0.5)).spacing
        (0.5, 0.5)
    """

    image: NDArray[np.floating[Any]]
    label: NDArray[np.uint8]
    spacing: tuple[float, ...] | None


def _grey_levels(image: Tensor) -> Tensor:
    """Maps 8-bit grey levels to 0..1."""
    return image / 255.0


def _standardised(image: Tensor) -> Tensor:
    """Clips a volume to its 0.5th and 99.5th percentiles and scales it to zero mean and unit variance."""
    low, high = torch.quantile(image.flatten(), torch.tensor([0.005, 0.995]))
    image = image.clamp(low, high)
    return (image - image.mean()) / image.std().clamp_min(1e-6)


class PhantomDataset(Dataset):
    """Base class for phantoms. A subclass sets `cases`, `frames` and `revision` and implements `draw`.

    Each group (patient) has `frames` cases, and groups take the card's domains in turn. Case i doesn't depend on the number
    of cases. `read` resizes a drawing to the size in the options (the image linearly, the label by nearest neighbour),
    normalises it and copies a grey image to all channels of the card.

    Args:
        card: the card of the data set that the phantom replaces.
        options: the options of that data set.
        phantom: the number of cases, the seed and the scale.
        normalise: the normalisation of the edition. None scales the grey levels 0..255 of images to 0..1, and volumes to zero
            mean and unit variance after clipping at the 0.5th and 99.5th percentiles.

    Attributes:
        cases: the default number of cases.
        frames: the number of cases in a group.
        revision: the version of the drawn values. It is part of the run key, so change it whenever any value changes.

    Examples:
        >>> class Squares(PhantomDataset):
        ...     def draw(self, group, frame, *, image=True):
        ...         label = np.zeros((16, 16), np.uint8)
        ...         label[4:12, 4:12] = 1
        ...         return Drawing(200.0 * label, label, None)
        >>> data = Squares(card, DatasetOptions(), PhantomOptions(cases=3))
        >>> [ref.id for ref in data.index()]
        ['phantom-00000', 'phantom-00001', 'phantom-00002']
    """

    cases: int = 60
    frames: int = 1
    revision: str = "r1"

    def __init__(
        self,
        card: DatasetCard,
        options: DatasetOptions,
        phantom: PhantomOptions,
        normalise: Normalise | None = None,
    ) -> None:
        super().__init__(None, options)
        self.card = card  # type: ignore[misc]
        self.seed, self.scale = phantom.seed, phantom.scale
        self.count = self.cases if phantom.cases is None else phantom.cases
        self.normalise: Normalise = normalise or (_grey_levels if card.dims == 2 else _standardised)
        self.fingerprint = f"phantom:{card.name}:{self.revision}:seed{self.seed}:n{self.count}:x{self.scale}"
        self._last: tuple[str, Drawing] | None = None

    @abstractmethod
    def draw(self, group: int, frame: int, *, image: bool = True) -> Drawing:
        """Draws one case. The result depends only on the arguments, `seed`, `scale` and the options.

        Args:
            group: the index of the group, from 0.
            frame: the index of the case in its group, from 0.
            image: False if only the label is needed; an image that is slow to draw may then be left blank.

        Returns:
            The case on its native grid.
        """

    def has_group(self, group: int) -> bool:
        """Returns whether the options include a group; by default they include all."""
        return True

    def domain_of(self, group: int) -> str:
        """Returns the domain of a group; by default groups take the card's domains in turn."""
        return self.card.domains[group % len(self.card.domains)]

    def index(self) -> list[CaseRef]:
        groups = {group for group in range(-(-self.count // self.frames)) if self.has_group(group)}
        return [self._ref(i) for i in range(self.count) if i // self.frames in groups]

    def _ref(self, i: int) -> CaseRef:
        group, frame = divmod(i, self.frames)
        patient = f"phantom-{group:05d}"
        name = patient if self.frames == 1 else f"{patient}-{frame:02d}"
        return CaseRef(self.card.name, name, patient, self.domain_of(group), True)

    def files(self, ref: CaseRef) -> tuple[Path, ...]:
        """Returns no files: the fingerprint identifies the content."""
        return ()

    def native(self, ref: CaseRef) -> Drawing:
        """Returns the drawing of a case on its native grid; the most recent one is cached."""
        if self._last is None or self._last[0] != ref.id:
            self._last = (ref.id, self._drawn(ref))
        return self._last[1]

    def _drawn(self, ref: CaseRef, *, image: bool = True) -> Drawing:
        parts = ref.id.split("-")
        return self.draw(int(parts[1]), int(parts[2]) if len(parts) > 2 else 0, image=image)

    def read(self, ref: CaseRef) -> Case:
        drawing = self.native(ref)
        shape = drawing.label.shape
        image = torch.from_numpy(drawing.image).float().reshape(-1, *shape)
        label = torch.from_numpy(drawing.label)
        size = tuple(self.options.size or shape)
        image, label = resize_image(image, size), resize_label(label, size)
        spacing = scaled_spacing(drawing.spacing, tuple((0, n) for n in shape), size)
        image = image.expand(self.card.channels, *image.shape[1:]).contiguous()
        return Case(ref, self.normalise(image), label, spacing, Frame(tuple(shape), drawing.spacing))

    def truth(self, ref: CaseRef) -> Truth:
        cached = self._last is not None and self._last[0] == ref.id
        drawing = self.native(ref) if cached else self._drawn(ref, image=False)
        return Truth(torch.from_numpy(drawing.label), drawing.spacing)
