"""Synthetic training data for the battery: blobs on noise in 2D or 3D, with any number of classes, channels and domains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from semibench.blocks.seeds import derive_seed
from semibench.contracts.method import IGNORE, Batch, Samples, Task
from semibench.contracts.schedule import Stream

PER_DOMAIN = 4


@dataclass(frozen=True, eq=False)
class Pool:
    """Samples of one pool: image (N, C, *spatial), label, valid (N, *spatial), domain (N,)."""

    image: Tensor
    label: Tensor
    valid: Tensor
    domain: Tensor


def blobs(task: Task, *, seed: int, per_domain: int = PER_DOMAIN, empty: bool = False, noise: float = 0.3) -> Pool:
    """Draws samples with one ball per foreground class on Gaussian noise.

    Later classes are brighter; contrast and offset differ between domains. The last two columns of the first sample are
    padding (label IGNORE, not valid). empty: draw no foreground at all."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "blobs"))
    count, kinds = per_domain * len(task.domains), len(task.classes)
    axes = torch.meshgrid(*[torch.linspace(-1, 1, side) for side in task.patch], indexing="ij")
    label = torch.zeros((count, *task.patch), dtype=torch.int64)
    for kind in () if empty else range(1, kinds):
        centre = torch.empty((count, task.dims)).uniform_(-0.6, 0.6, generator=generator)
        radius = torch.empty((count, *[1] * task.dims)).uniform_(0.25, 0.5, generator=generator)
        away = [axis - centre[:, i].view(-1, *[1] * task.dims) for i, axis in enumerate(axes)]
        label[sum(offset**2 for offset in away) < radius**2] = kind
    domain = torch.arange(len(task.domains)).repeat(per_domain)
    gain = (1.0 + 0.2 * domain).view(-1, *[1] * (task.dims + 1))
    clean = (label.float() / max(kinds - 1, 1)).unsqueeze(1).expand(-1, task.channels, *[-1] * task.dims)
    image = gain * clean + 0.1 * gain + noise * torch.randn(clean.shape, generator=generator)
    valid = torch.ones(label.shape, dtype=torch.bool)
    valid[0, ..., -2:] = False
    label[~valid] = IGNORE
    image[0, ..., -2:] = 0.0
    return Pool(image, label, valid, domain)


class BlobPools:
    """The training pools that `Method.begin` gets."""

    def __init__(self, pools: Mapping[str, Pool], classes: int) -> None:
        self._pools, self._classes = pools, classes

    def batches(self, pool: str) -> Iterator[Samples]:
        """Yields the samples of a pool once, in fixed order, four at a time."""
        for index in torch.arange(len(self._pools[pool].image)).split(4):
            yield pick(self._pools[pool], index, pool, 0)

    def class_voxels(self) -> Tensor:
        """Returns the number of voxels of each class (K,) in the labeled samples."""
        label = self._pools["labeled"].label
        return label[label != IGNORE].bincount(minlength=self._classes).double()

    def label_maps(self) -> Iterator[Tensor]:
        """Yields the label map of each labeled sample."""
        yield from self._pools["labeled"].label.to(torch.uint8)


def pick(pool: Pool, index: Tensor, name: str, strong: int) -> Samples:
    """Returns samples by position; only those of the pool "labeled" come with labels. Strong views are noisy copies."""
    image = pool.image[index]
    views = tuple(image + 0.1 * torch.randn(image.shape, generator=_generator(int(index[0]), n)) for n in range(strong))
    label = pool.label[index] if name == "labeled" else None
    return Samples(image, views, label, pool.valid[index], pool.domain[index], index)


def _generator(*parts: int) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(parts[0], "views", *parts[1:]))


class BlobData:
    """A training source (see `training.loop.TrainingSource`): a batch is a pure function of (seed, iteration)."""

    def __init__(
        self, task: Task, streams: Mapping[str, Stream], *, batch: int, seed: int = 0, empty: bool = False
    ) -> None:
        self.task, self.streams, self.size, self.seed = task, streams, batch, seed
        labeled, unlabeled = blobs(task, seed=seed, empty=empty), blobs(task, seed=seed + 1, empty=empty)
        both = Pool(
            *(
                torch.cat([getattr(labeled, part), getattr(unlabeled, part)])
                for part in ("image", "label", "valid", "domain")
            )
        )
        self._pools = {"labeled": labeled, "unlabeled": unlabeled, "all": both}
        self.pools = BlobPools(self._pools, len(task.classes))

    def batch(self, iteration: int) -> Batch:
        """Returns the samples of each stream in one iteration."""
        return {name: self._samples(name, stream, iteration) for name, stream in self.streams.items()}

    def _samples(self, name: str, stream: Stream, iteration: int) -> Samples:
        pool = self._pools[stream.pool]
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "batch", name, iteration))
        count = max(1, round(self.size * stream.size * (2 if stream.pool == "all" else 1)))
        order = torch.randperm(len(pool.image), generator=generator)
        if stream.per_domain:
            by_domain = [order[pool.domain[order] == d][:count] for d in range(len(self.task.domains))]
            return pick(pool, torch.cat(by_domain), stream.pool, stream.strong)
        return pick(pool, order[torch.arange(count) % len(order)], stream.pool, stream.strong)

    def passes(self, iteration: int) -> dict[str, float]:
        """Returns how many passes over each pool were completed before this iteration."""
        return {name: iteration * self.size / len(pool.image) for name, pool in self._pools.items()}
