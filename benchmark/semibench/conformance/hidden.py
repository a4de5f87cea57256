"""Training from files, to see what depends on them: the same images with other labels behind the unlabeled cases."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from semibench.conformance.case import MethodCase, SmallBackbones
from semibench.conformance.data import blobs
from semibench.conformance.rehearsal import tensors
from semibench.contracts.cards import DatasetCard
from semibench.contracts.cases import Case, CaseRef, Dataset, DatasetOptions, Frame, Split, Truth
from semibench.contracts.method import IGNORE
from semibench.data.cache import CaseStore
from semibench.data.training import TrainingData
from semibench.reporting import Reporter
from semibench.training.loop import train
from semibench.training.schedules import plan_stages
from semibench.training.seeding import seed_construction

STEPS = 2
"""Iterations of each stage."""

PER_DOMAIN = 4
"""Cases of each domain, half of them labeled."""


class Files(Dataset):
    """image/ID.npy and label/ID.npy of the cases of a task, all with labels; the first half is meant to be labeled."""

    card: ClassVar[DatasetCard]

    def __init__(self, root: Path, card: DatasetCard) -> None:
        super().__init__(root, DatasetOptions())
        self.card = card  # type: ignore[misc]
        self.folder = root

    def index(self) -> list[CaseRef]:
        """Sorted by id; the domain stands in the name."""
        names = sorted(path.stem for path in (self.folder / "image").glob("*.npy"))
        return [CaseRef(self.card.name, name, name, self.card.domains[int(name.split("-")[1])], True) for name in names]

    def files(self, ref: CaseRef) -> tuple[Path, ...]:
        """Image and label."""
        return self.folder / "image" / f"{ref.id}.npy", self.folder / "label" / f"{ref.id}.npy"

    def read(self, ref: CaseRef) -> Case:
        """As written."""
        image, label = (torch.from_numpy(np.load(path, allow_pickle=False)) for path in self.files(ref))
        return Case(ref, image, label, None, Frame(tuple(label.shape)))

    def truth(self, ref: CaseRef) -> Truth:
        """The label as written."""
        return Truth(torch.from_numpy(np.load(self.files(ref)[1], allow_pickle=False)), None)

    def write(self, number: int, image: Tensor, label: Tensor, domain: int) -> None:
        """One case."""
        for name, array in (("image", image.numpy()), ("label", label.byte().numpy())):
            place = self.folder / name / f"{number:02d}-{domain}.npy"
            place.parent.mkdir(parents=True, exist_ok=True)
            np.save(place, array)


def write_files(case: MethodCase, root: Path, *, turned: bool) -> Files:
    """Some cases of each domain. turned: the labels of the second half, the unlabeled cases, are moved on by one class."""
    task = case.task
    card = DatasetCard(
        name="conformance", title="Conformance", load="semibench.conformance.hidden:Files", dims=2 if task.dims == 2 else 3,
        modality="none", channels=task.channels, classes=task.classes, domains=task.domains,
        slice_axis=None if task.dims == 2 else 2,
    )  # fmt: skip
    files, pool = Files(root, card), blobs(task, seed=7, per_domain=PER_DOMAIN)
    for number, label in enumerate(pool.label):
        kept = label.masked_fill(label == IGNORE, 0)
        hidden = number >= len(pool.label) // 2
        shown = (kept + 1) % len(task.classes) if turned and hidden else kept
        files.write(number, pool.image[number], shown, int(pool.domain[number]))
    return files


def trained(case: MethodCase, files: Files, cache: Path) -> Mapping[str, Tensor]:
    """Weights and buffers after a short training of the first half as labeled and the second as unlabeled cases, in the
    harness's own data path and loop."""
    refs = tuple(files.index())
    half = len(refs) // 2
    split = Split(labeled=refs[:half], unlabeled=refs[half:], validation=(), test=(), validation_from="none")
    name, dims, streams = files.card.name, case.dims, case.method.streams
    built = case.build()
    iterations = STEPS * len(built.stages())
    while min(plan.steps for plan in plan_stages(built, iterations)) < STEPS:
        iterations += 1
    recipe = case.recipe(iterations)
    with mock.patch.dict(os.environ, {"SEMIBENCH_CACHE": str(cache)}), tempfile.TemporaryDirectory() as folder:
        store = CaseStore.build({name: files}, refs).restrict(refs, labels=split.labeled)
        data = TrainingData(split, store, card=files.card, recipe=recipe, dims=dims, streams=streams, seed=0)
        seed_construction(0)
        method = case.method(data.task, SmallBackbones(case.backbone, data.task, case.backbone_options), case.chosen())
        method.terms = dict(method.terms)
        train(
            method, data, recipe, seed=0, device=torch.device("cpu"), folder=Path(folder), validate=None,
            reporter=Reporter(),
        )  # fmt: skip
    return {key: value.clone() for key, value in tensors(method.state_dict()).items()}
