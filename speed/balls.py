"""Bright balls on noise: the training data of the scripts that time iterations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import torch

from semibench import Case, CaseRef, Dataset, DatasetCard, DatasetOptions, Frame, Recipe, Split, Stream, Truth
from semibench.data.cache import CaseStore
from semibench.data.training import TrainingData

DOMAINS = ("a", "b", "c")


class Balls(Dataset):
    """Bright balls on noise, of three domains. Volumes are a fifth larger than the patch, so that crops are drawn."""

    card: ClassVar[DatasetCard] = DatasetCard(
        name="balls", title="Balls", load="none:Balls", dims=2, modality="none", domains=DOMAINS
    )

    def __init__(self, dims: int, patch: Sequence[int], count: int) -> None:
        super().__init__(None, DatasetOptions())
        shape = patch if dims == 2 else [round(side * 1.2) for side in patch]
        self.shape, self.count = tuple(shape), count
        self.card = Balls.card.model_copy(update={"dims": dims, "slice_axis": dims - 1 if dims == 3 else None})  # type: ignore[misc]
        self.fingerprint = f"balls {self.shape} {count}"

    def index(self) -> list[CaseRef]:
        return [CaseRef("balls", f"{n:03}", f"{n:03}", DOMAINS[n % 3], True) for n in range(self.count)]

    def files(self, ref: CaseRef) -> tuple[Path, ...]:
        return ()

    def read(self, ref: CaseRef) -> Case:
        generator = torch.Generator().manual_seed(int(ref.id))
        axes = torch.meshgrid(*[torch.linspace(-1, 1, side) for side in self.shape], indexing="ij")
        centre = torch.rand(len(axes), generator=generator) - 0.5
        label = torch.stack([(axis - c) ** 2 for axis, c in zip(axes, centre, strict=True)]).sum(0) < 0.15
        image = label.float() + 0.3 * torch.randn(self.shape, generator=generator)
        return Case(ref, image[None], label.to(torch.uint8), None, Frame(self.shape))

    def truth(self, ref: CaseRef) -> Truth | None:
        label = self.read(ref).label
        return None if label is None else Truth(label, None)


def training_data(recipe: Recipe, streams: Mapping[str, Stream], device: torch.device, folder: Path) -> TrainingData:
    """Returns batches of 6 labeled and 10 unlabeled cases, decoded into a folder."""
    dataset = Balls(recipe.dims, recipe.patch, 16)
    refs = dataset.index()
    store = CaseStore.build({"balls": dataset}, refs, folder)
    split = Split(tuple(refs[:6]), tuple(refs[6:]), (), ())
    return TrainingData(
        split, store, card=dataset.card, recipe=recipe, dims=recipe.dims, streams=streams, seed=0, device=device
    )
