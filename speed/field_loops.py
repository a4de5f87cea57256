"""The training loop of the field's scripts, in own words, for three methods: a DataLoader whose worker processes read HDF5
files and augment them one by one in numpy, contiguous memory, teachers updated tensor by tensor, losses that loop over
classes, figures read in every iteration.

Source of the habits: SSL4MIS (2D and its loaders), UA-MT (3D) and the script of MGCC. The networks are those of the harness,
so that only the loop differs.
"""

from __future__ import annotations

import copy
import math
import random
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Sampler

Array = NDArray[Any]
Sample = dict[str, Tensor]


class Files(Dataset[Sample]):
    """Images and labels in HDF5 files, one a case, augmented when they are read."""

    def __init__(self, files: list[Path], patch: tuple[int, ...]) -> None:
        self.files, self.patch = files, patch

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> Sample:
        with h5py.File(self.files[number], "r") as file:
            image, label = file["image"][:], file["label"][:]
        image, label = (self._slice if image.ndim == 2 else self._volume)(image, label)
        return {
            "image": torch.from_numpy(image.astype(np.float32)).unsqueeze(0),
            "label": torch.from_numpy(label.astype(np.uint8)),
        }

    def _slice(self, image: Array, label: Array) -> tuple[Array, Array]:
        """Right-angle turns and flips for half of the slices, small rotations for a quarter, then a zoom to the patch."""
        if random.random() > 0.5:
            turns, axis = random.randint(0, 3), random.randint(0, 1)
            image, label = (np.flip(np.rot90(one, turns), axis).copy() for one in (image, label))
        elif random.random() > 0.5:
            angle = random.randint(-20, 19)
            image, label = (ndimage.rotate(one, angle, order=0, reshape=False) for one in (image, label))
        factors = [side / have for side, have in zip(self.patch, image.shape, strict=True)]
        return ndimage.zoom(image, factors, order=0), ndimage.zoom(label, factors, order=0)

    def _volume(self, image: Array, label: Array) -> tuple[Array, Array]:
        """A random crop, a right-angle turn and a flip."""
        starts = [random.randint(0, have - side) for side, have in zip(self.patch, image.shape, strict=True)]
        crop = tuple(slice(start, start + side) for start, side in zip(starts, self.patch, strict=True))
        turns, axis = random.choice((0, 2)), random.randint(0, 1)
        image, label = (np.flip(np.rot90(one[crop], turns), axis).copy() for one in (image, label))
        return image, label


class TwoStreams(Sampler[list[int]]):
    """Batches of labeled case numbers, then unlabeled ones, without end."""

    def __init__(self, labeled: list[int], unlabeled: list[int], sizes: tuple[int, int]) -> None:
        self.pools, self.sizes = (labeled, unlabeled), sizes

    def __iter__(self) -> Iterator[list[int]]:
        streams = [self._endless(pool) for pool in self.pools]
        while True:
            yield [next(stream) for stream, size in zip(streams, self.sizes, strict=True) for _ in range(size)]

    @staticmethod
    def _endless(pool: list[int]) -> Iterator[int]:
        while True:
            yield from random.sample(pool, len(pool))


def loader(
    files: list[Path], labeled: int, patch: tuple[int, ...], sizes: tuple[int, int], workers: int
) -> Iterator[Sample]:
    """Returns an endless stream of batches. labeled: how many files, the first ones, have labels."""
    numbers = list(range(len(files)))
    return iter(
        DataLoader(
            Files(files, patch),
            batch_sampler=TwoStreams(numbers[:labeled], numbers[labeled:], sizes),
            num_workers=workers,
        )
    )


def dice_loss(probabilities: Tensor, target: Tensor) -> Tensor:
    """Squared Dice of all classes over the batch, from one-hot maps, class by class."""
    kinds = probabilities.shape[1]
    hot = torch.cat([(target == kind).unsqueeze(1) for kind in range(kinds)], dim=1).float()
    loss: Tensor | float = 0.0
    for kind in range(kinds):
        score, truth = probabilities[:, kind], hot[:, kind]
        common = torch.sum(score * truth)
        loss = loss + 1 - (2 * common + 1e-5) / (torch.sum(score * score) + torch.sum(truth * truth) + 1e-5)
    return torch.as_tensor(loss) / kinds


class FieldLoop(ABC):
    """What the loops have in common: SGD, a polynomial rate, figures read as Python numbers in every iteration."""

    def __init__(self, model: nn.Module, batches: Iterator[Sample], labeled: int) -> None:
        self.model, self.batches, self.labeled = model, batches, labeled
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
        self.number = 0
        self.figures: list[tuple[float, ...]] = []
        model.train()

    def run(self, iterations: int) -> None:
        """Runs so many more iterations."""
        for _ in range(iterations):
            batch = next(self.batches)
            sup, consistency = self.losses(batch["image"], batch["label"][: self.labeled].long())
            loss = sup + 0.1 * math.exp(-5.0 * (1.0 - min(self.number / 30000, 1.0)) ** 2) * consistency
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.after_step()
            for group in self.optimizer.param_groups:
                group["lr"] = 0.01 * (1.0 - self.number / 30000) ** 0.9
            self.figures.append((loss.item(), sup.item(), consistency.item()))
            self.number += 1

    @abstractmethod
    def losses(self, images: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, C, *spatial), labeled ones first, and labels of those -> supervised loss, consistency."""

    def after_step(self) -> None:  # noqa: B027 - only loops with a teacher have something to do
        """Updates teachers, if there are any."""


class MeanTeacherLoop(FieldLoop):
    """Mean teacher, 2D: noise on the teacher's input, mean square between softmax maps."""

    def __init__(self, model: nn.Module, batches: Iterator[Sample], labeled: int) -> None:
        super().__init__(model, batches, labeled)
        self.teacher = copy.deepcopy(model)
        for parameter in self.teacher.parameters():
            parameter.detach_()

    def noised(self, images: Tensor) -> Tensor:
        return images + torch.clamp(torch.randn_like(images) * 0.1, -0.2, 0.2)

    def losses(self, images: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        unlabeled = images[self.labeled :]
        logits = self.model(images)
        soft = torch.softmax(logits, dim=1)
        with torch.no_grad():
            teacher = torch.softmax(self.teacher(self.noised(unlabeled)), dim=1)
        sup = 0.5 * (F.cross_entropy(logits[: self.labeled], target) + dice_loss(soft[: self.labeled], target))
        return sup, self.consistency(soft[self.labeled :], teacher, unlabeled)

    def consistency(self, soft: Tensor, teacher: Tensor, unlabeled: Tensor) -> Tensor:
        return torch.mean((soft - teacher) ** 2)

    def after_step(self) -> None:
        decay = min(1 - 1 / (self.number + 1), 0.99)
        for mine, theirs in zip(self.teacher.parameters(), self.model.parameters(), strict=True):
            mine.data.mul_(decay).add_(theirs.data, alpha=1 - decay)


class UAMTLoop(MeanTeacherLoop):
    """UA-MT, 3D: the consistency counts where the entropy of the mean of eight noisy predictions is small."""

    passes = 8

    def consistency(self, soft: Tensor, teacher: Tensor, unlabeled: Tensor) -> Tensor:
        twice = unlabeled.repeat(2, 1, *[1] * (unlabeled.ndim - 2))
        stride = len(twice)
        predictions = torch.zeros([stride * self.passes // 2, *soft.shape[1:]])
        with torch.no_grad():
            for turn in range(self.passes // 2):
                predictions[stride * turn : stride * (turn + 1)] = self.teacher(self.noised(twice))
        mean = torch.softmax(predictions, dim=1).reshape(self.passes, len(unlabeled), *soft.shape[1:]).mean(0)
        uncertainty = -1.0 * torch.sum(mean * torch.log(mean + 1e-6), dim=1, keepdim=True)
        threshold = (0.75 + 0.25 * math.exp(-5.0 * (1.0 - min(self.number / 30000, 1.0)) ** 2)) * math.log(2)
        mask = (uncertainty < threshold).float()
        return torch.sum(mask * (soft - teacher) ** 2) / (2 * torch.sum(mask) + 1e-16)


class MGCCLoop(FieldLoop):
    """MGCC: BCE and Dice for each decoder, mean square between the auxiliary and the main probabilities."""

    @staticmethod
    def bce_dice(logit: Tensor, truth: Tensor) -> Tensor:
        probability, axes = torch.sigmoid(logit), (1, 2)
        common = (probability * truth).sum(axes)
        dice = (2.0 * common + 1e-5) / (probability.sum(axes) + truth.sum(axes) + 1e-5)
        return 0.5 * F.binary_cross_entropy_with_logits(logit, truth) + 1 - dice.mean()

    def losses(self, images: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        branches: Any = self.model
        outputs = [(both[:, 1] - both[:, 0]) for both in branches.branches(images)]
        sup = sum(self.bce_dice(logit[: self.labeled], target.float()) for logit in outputs) / len(outputs)
        main = torch.sigmoid(outputs[0][self.labeled :])
        others = [torch.mean((torch.sigmoid(logit[self.labeled :]) - main) ** 2) for logit in outputs[1:]]
        return torch.as_tensor(sup), torch.stack(others).mean()
