"""Trains from files, to find out whether labels of unlabeled cases leak: the images stay, those labels change."""

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

from semibench.conformance.data import blobs
from semibench.conformance.rehearsal import tensors
from semibench.conformance.subject import MethodSubject, SmallBackbones
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
"""Smallest number of iterations in each stage."""

PER_DOMAIN = 4
"""Cases of each domain, half of them labeled."""


class Files(Dataset):
    """Cases in image/ID.npy and label/ID.npy. All have labels; the first half is used as labeled, the rest as unlabeled."""

    card: ClassVar[DatasetCard]

    def __init__(self, root: Path, card: DatasetCard) -> None:
        super().__init__(root, DatasetOptions())
        self.card = card  # type: ignore[misc]
        self.folder = root

    def index(self) -> list[CaseRef]:
        """Returns the cases, sorted by id. The file name contains the domain."""
        names = sorted(path.stem for path in (self.folder / "image").glob("*.npy"))
        return [CaseRef(self.card.name, name, name, self.card.domains[int(name.split("-")[1])], True) for name in names]

    def files(self, ref: CaseRef) -> tuple[Path, ...]:
        """Returns the image file and the label file."""
        return self.folder / "image" / f"{ref.id}.npy", self.folder / "label" / f"{ref.id}.npy"

    def read(self, ref: CaseRef) -> Case:
        """Returns the case as it was written."""
        image, label = (torch.from_numpy(np.load(path, allow_pickle=False)) for path in self.files(ref))
        return Case(ref, image, label, None, Frame(tuple(label.shape)))

    def truth(self, ref: CaseRef) -> Truth:
        """Returns the label as it was written."""
        return Truth(torch.from_numpy(np.load(self.files(ref)[1], allow_pickle=False)), None)

    def write(self, number: int, image: Tensor, label: Tensor, domain: int) -> None:
        """Writes one case."""
        for name, array in (("image", image.numpy()), ("label", label.byte().numpy())):
            path = self.folder / name / f"{number:02d}-{domain}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, array)


def write_files(subject: MethodSubject, root: Path, *, turned: bool) -> Files:
    """Writes some cases of each domain. turned: shift the labels of the unlabeled cases, the second half, by one class."""
    task = subject.task
    card = DatasetCard(
        name="conformance", title="Conformance", load="semibench.conformance.hidden:Files", dims=2 if task.dims == 2 else 3,
        modality="none", channels=task.channels, classes=task.classes, domains=task.domains,
        slice_axis=None if task.dims == 2 else 2,
    )  # fmt: skip
    files, pool = Files(root, card), blobs(task, seed=7, per_domain=PER_DOMAIN)
    for number, label in enumerate(pool.label):
        true = label.masked_fill(label == IGNORE, 0)
        hidden = number >= len(pool.label) // 2
        written = (true + 1) % len(task.classes) if turned and hidden else true
        files.write(number, pool.image[number], written, int(pool.domain[number]))
    return files


def trained(subject: MethodSubject, files: Files, cache: Path) -> Mapping[str, Tensor]:
    """Returns weights and buffers after a short training through the harness's data pipeline and loop.

    The first half of the cases is labeled, the second half unlabeled."""
    refs = tuple(files.index())
    half = len(refs) // 2
    split = Split(labeled=refs[:half], unlabeled=refs[half:], validation=(), test=(), validation_from="none")
    name, dims, streams = files.card.name, subject.dims, subject.method.streams
    example = subject.build()
    iterations = STEPS * len(example.stages())
    while min(plan.steps for plan in plan_stages(example, iterations)) < STEPS:
        iterations += 1
    recipe = subject.recipe(iterations)
    with mock.patch.dict(os.environ, {"SEMIBENCH_CACHE": str(cache)}), tempfile.TemporaryDirectory() as folder:
        store = CaseStore.build({name: files}, refs).restrict(refs, labels=split.labeled)
        data = TrainingData(split, store, card=files.card, recipe=recipe, dims=dims, streams=streams, seed=0)
        seed_construction(0)
        method = subject.method(
            data.task, SmallBackbones(subject.backbone, data.task, subject.backbone_options), subject.parsed_options()
        )
        method.terms = dict(method.terms)
        train(
            method, data, recipe, seed=0, device=torch.device("cpu"), folder=Path(folder), validate=None,
            reporter=Reporter(),
        )  # fmt: skip
    return {key: value.clone() for key, value in tensors(method.state_dict()).items()}
