"""The base of phantoms: data sets that are drawn, with the card of a real one and no file."""

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
"""From stored values (C, *spatial), float32, to what the network sees."""


@dataclass(frozen=True)
class Drawing:
    """A drawn case on its native grid.

    Attributes:
        image: stored values, float64 (*spatial), or (3, *spatial) in colour.
        label: uint8 (*spatial), classes.
        spacing: mm per axis; None where the phantom has none.
    """

    image: NDArray[np.floating[Any]]
    label: NDArray[np.uint8]
    spacing: tuple[float, ...] | None


def _grey_levels(image: Tensor) -> Tensor:
    """8-bit grey levels to 0..1."""
    return image / 255.0


def _standardised(image: Tensor) -> Tensor:
    """Volumes: clip to the 0.5 and 99.5 percentiles of the volume, then zero mean and unit variance."""
    low, high = torch.quantile(image.flatten(), torch.tensor([0.005, 0.995]))
    image = image.clamp(low, high)
    return (image - image.mean()) / image.std().clamp_min(1e-6)


class PhantomDataset(Dataset):
    """Base of phantoms. A subclass sets `cases`, `frames` and `revision` and writes `draw`.

    Groups (patients) have `frames` cases each and take the card's domains in turn. Case i is the same whatever the number
    of cases. `read` resizes a drawing to the options' size (image linearly, label to the nearest voxel), normalises it
    and repeats a grey image in all channels of the card.

    Args:
        card: of the data set that the phantom stands in for.
        options: of the data set.
        phantom: number of cases, seed and scale.
        normalise: as the edition normalises; None scales the grey levels 0..255 of images to 0..1, and volumes to zero
            mean and unit deviation after clipping at the 0.5th and 99.5th percentile.

    Attributes:
        cases: default number of cases.
        frames: cases of one group.
        revision: of the drawn digits; it enters the run key, so change it with any digit.
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
        """Draw one case. The result depends on the arguments, `seed`, `scale` and the options and on nothing else.

        Args:
            group: number of the group, from 0.
            frame: number of the case in its group, from 0.
            image: False where only the label is needed: an image that takes long may then be left blank.

        Returns:
            The case on its native grid.
        """

    def has_group(self, group: int) -> bool:
        """Tell whether a group belongs to the data set under its options; by default each does."""
        return True

    def domain_of(self, group: int) -> str:
        """Return the domain of a group; by default groups take the card's domains in turn."""
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
        """None: the fingerprint stands for the content."""
        return ()

    def native(self, ref: CaseRef) -> Drawing:
        """Return the drawing of a case on its native grid; the last one is kept."""
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
        kept = self._last is not None and self._last[0] == ref.id
        drawing = self.native(ref) if kept else self._drawn(ref, image=False)
        return Truth(torch.from_numpy(drawing.label), drawing.spacing)
