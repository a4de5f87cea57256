"""Small data sets for the tests of `semibench.data`: procedural ones and one made of files."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from semibench import Case, CaseError, CaseRef, Dataset, DatasetCard, DatasetOptions, Frame, LayoutError, Recipe, Truth
from semibench.contracts.recipe import StrongPolicy, WeakPolicy

STILL = WeakPolicy(flip=0.0, rotate90=0.0, rotate=(0.0, 0.0), crop=False)


def card(dims: int = 2, channels: int = 1, **more: object) -> DatasetCard:
    values = {
        "name": "toy",
        "title": "Toy",
        "load": "support.data_toys:Procedural",
        "dims": dims,
        "modality": "none",
        "channels": channels,
        "classes": ("background", "one", "two"),
        "domains": ("a", "b"),
        "slice_axis": 2 if dims == 3 else None,
    }
    return DatasetCard.model_validate({**values, **more})


def recipe(patch: tuple[int, ...], **more: object) -> Recipe:
    values = {
        "name": "test",
        "dims": len(patch),
        "iterations": 100,
        "labeled_batch": 4,
        "unlabeled_batch": 6,
        "patch": patch,
    }
    return Recipe.model_validate({**values, **more})


def refs(count: int, name: str = "toy") -> list[CaseRef]:
    """Returns cases 000, 001 ... whose domains alternate between a and b."""
    return [CaseRef(name, f"{n:03}", f"g{n}", "ab"[n % 2], True) for n in range(count)]


class Procedural(Dataset):
    """Blocks of classes 0, 1, 2; the image is the label's number plus 10 x case, so that label = f(image)."""

    card: ClassVar[DatasetCard] = card()

    def __init__(self, shapes: list[tuple[int, ...]], channels: int = 1, named: DatasetCard | None = None) -> None:
        super().__init__(None, DatasetOptions())
        self.shapes, self.channels = shapes, channels
        self.card = card(len(shapes[0]), channels) if named is None else named  # type: ignore[misc]
        self.fingerprint = f"procedural {shapes} {channels}"
        self.reads = 0

    def index(self) -> list[CaseRef]:
        return refs(len(self.shapes), self.card.name)

    def files(self, ref: CaseRef) -> tuple[Path, ...]:
        return ()

    def label(self, ref: CaseRef) -> torch.Tensor:
        shape = self.shapes[int(ref.id)]
        draws = np.random.default_rng(int(ref.id)).integers(0, 3, [-(-n // 4) for n in shape]).astype(np.uint8)
        for axis in range(len(shape)):
            draws = draws.repeat(4, axis)
        return torch.from_numpy(np.ascontiguousarray(draws[tuple(slice(n) for n in shape)]))

    def read(self, ref: CaseRef) -> Case:
        self.reads += 1
        label = self.label(ref)
        image = (label.float() + 10 * int(ref.id)).expand(self.channels, *label.shape).clone()
        return Case(ref, image, label, None, Frame(tuple(label.shape)))

    def truth(self, ref: CaseRef) -> Truth:
        return Truth(self.label(ref), None)


class Filed(Dataset):
    """A data set of .npy files: image/ID.npy, label/ID.npy."""

    card: ClassVar[DatasetCard] = card(tree="image/*.npy\nlabel/*.npy", cases=3)

    def __init__(self, root: Path, options: DatasetOptions | None = None) -> None:
        super().__init__(root, options or DatasetOptions())
        self.folder = root
        self.reads: list[str] = []

    def index(self) -> list[CaseRef]:
        found = sorted(path.stem for path in (self.folder / "image").glob("*.npy"))
        if not found:
            raise LayoutError(f"expected\n{self.card.tree}\nfound nothing in {self.folder}")
        return [CaseRef("toy", name, f"g{name}", "a", True) for name in found]

    def files(self, ref: CaseRef) -> tuple[Path, ...]:
        return self.folder / "image" / f"{ref.id}.npy", self.folder / "label" / f"{ref.id}.npy"

    def read(self, ref: CaseRef) -> Case:
        self.reads.append(ref.id)
        image, label = (self._array(path) for path in self.files(ref))
        return Case(
            ref, image.float()[None], label, (0.5, 0.25), Frame(tuple(image.shape), (0.5, 0.25), ((0, 1), (0, 2)))
        )

    def truth(self, ref: CaseRef) -> Truth:
        return Truth(self._array(self.files(ref)[1]), None)

    def _array(self, path: Path) -> torch.Tensor:
        try:
            return torch.from_numpy(np.load(path, allow_pickle=False))
        except (OSError, ValueError) as error:
            raise CaseError(f"{path}: {error}") from error


def write_cases(root: Path, count: int = 3, size: tuple[int, int] = (8, 6)) -> None:
    """Writes files for `Filed`; equal arguments give equal files."""
    rng = np.random.default_rng(0)
    for folder in ("image", "label"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for n in range(count):
        np.save(root / "image" / f"c{n}.npy", rng.random(size).astype(np.float32))
        np.save(root / "label" / f"c{n}.npy", rng.integers(0, 3, size).astype(np.uint8))


LOUD = StrongPolicy(jitter=(1.0, 0.5), gamma=(1.0, 0.5), blur=(1.0, 1.5), noise=(1.0, 0.1))
