"""Training data: whole batches, assembled and augmented on the training device, as a pure function of (seed, iteration).

Rules that the contracts leave open:
- The size of a stream is floor(size x batch + 1/2), at least 1; "all" counts the labeled and unlabeled batch together.
- A pool is sampled by permutations seeded by (seed, pool, pass). A second stream of the same pool has other permutations.
  With `per_domain`, each domain that has samples in the pool has its own, in the order of `Task.domains`.
- With `foreground`, the first ceil(share x n) samples of a stream (or of each domain's part) contain foreground. A sample
  without any is replaced by the next of a permutation of those with foreground. The crop is placed on a foreground voxel,
  whose class is drawn evenly among those present (before small rotations and scale).
- A 2D network on volumes sees slices along the card's axis, resized in-plane to the patch as in evaluation.
- A domain of another data set than the card's is called "data set/domain".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from semibench.blocks.strong_views import strong_view
from semibench.blocks.views import Parts, apply_geometry, default_plane, draw_geometry
from semibench.blocks.weak_intensity import weak_intensity
from semibench.contracts.cards import DatasetCard
from semibench.contracts.cases import CaseRef, Split
from semibench.contracts.errors import UnsupportedError, UsageError
from semibench.contracts.method import IGNORE, Samples, Task
from semibench.contracts.recipe import Recipe
from semibench.contracts.schedule import Stream
from semibench.data.cache import CaseStore
from semibench.data.foreground import Foreground
from semibench.data.pool import Pool, case_pool, slice_pool
from semibench.data.sampling import Rows, Shuffle, seed_of

BUDGET = {"cpu": 2 * 2**30, "other": 8 * 2**30}
"""Maximum bytes of samples held in memory or on the accelerator; larger pools are read from the cache batch by batch."""


class TrainingData:
    """The batches of a run. Global random state is neither read nor changed.

    Args:
        split: which cases are labeled and unlabeled.
        store: decoded cases. Only training cases are used, and only the labels of `split.labeled`.
        card: card of the main data set.
        recipe: batch sizes, patch and views.
        dims: dimensions of the network.
        streams: streams of the method.
        seed: training seed.
        device: the training device.
        budget: bytes of samples to hold; `BUDGET` by default.

    Raises:
        UnsupportedError: if the pool of a stream is empty, or a 2D network has no slice axis.
        UsageError: if cases and card disagree.
    """

    def __init__(
        self,
        split: Split,
        store: CaseStore,
        *,
        card: DatasetCard,
        recipe: Recipe,
        dims: int,
        streams: Mapping[str, Stream],
        seed: int,
        device: torch.device | str = "cpu",
        budget: int | None = None,
    ) -> None:
        labeled = tuple(dict.fromkeys(split.labeled))
        known = {ref.key for ref in labeled}
        unlabeled = tuple(dict.fromkeys(split.unlabeled))
        others = tuple(ref for ref in unlabeled if ref.key not in known)
        cases = (*labeled, *others)
        if not cases:
            raise UsageError("the split has no training case, neither labeled nor unlabeled")
        if dims > card.dims or len(recipe.patch) != dims:
            raise UsageError(f"a {dims}D network on {card.dims}D cases with patch {recipe.patch} cannot be trained")
        self._store = store = store.restrict(cases, labels=labeled)
        self._recipe, self._streams, self._seed, self._cases = recipe, dict(streams), seed, cases
        _check(cases, store, card)
        images = [store.image(ref) for ref in cases]
        labels = [_label(store, ref) for ref in labeled]
        limit = budget if budget is not None else BUDGET["cpu" if torch.device(device).type == "cpu" else "other"]
        self._pool: Pool
        self._sample_case: list[tuple[int, int | None]] = [(number, None) for number in range(len(cases))]
        slab = 1
        self._plane = default_plane(dims)
        if dims < card.dims:
            if card.slice_axis is None:
                raise UnsupportedError(f"data set {card.name!r} has no slice axis: it cannot train a 2D network")
            axis, slab = card.slice_axis % card.dims, recipe.slab
            self._sample_case = [(n, i) for n, image in enumerate(images) for i in range(image.shape[axis + 1])]
            self._pool = slice_pool(images, labels, axis, recipe.patch, slab, device, limit)
        else:
            if dims == 3 and card.slice_axis is not None:
                a, b = (axis for axis in range(3) if axis != card.slice_axis % 3)
                self._plane = (a, b)
            self._pool = case_pool(images, labels, device, limit)
        self._device = torch.device(device)
        self._labels = labels
        self._foreground = Foreground(self._pool)

        domains = [_domain(ref, card) for ref in cases]
        order = training_domains(cases, card)
        index_of = {name: number for number, name in enumerate(order)}
        self._domain = torch.tensor([index_of[domains[number]] for number, _ in self._sample_case])
        rows_of: dict[int, list[int]] = {}
        for row, (number, _) in enumerate(self._sample_case):
            rows_of.setdefault(number, []).append(row)
        number_of = {ref.key: number for number, ref in enumerate(cases)}
        self._members = {
            "labeled": [row for ref in labeled for row in rows_of[number_of[ref.key]]],
            "unlabeled": [row for ref in unlabeled for row in rows_of[number_of[ref.key]]],
            "all": list(range(len(self._sample_case))),
        }
        self._index = {pool: _inverse(rows, len(self._sample_case)) for pool, rows in self._members.items()}
        self.task = Task(
            dims=dims,
            channels=card.channels * slab,
            classes=tuple(card.classes),
            patch=tuple(recipe.patch),
            domains=order,
            cases={pool: len(rows) for pool, rows in self._members.items()},
            budget=recipe.iterations,
        )
        self._batch = {"labeled": recipe.labeled_batch, "unlabeled": recipe.unlabeled_batch}
        self._batch["all"] = recipe.labeled_batch + recipe.unlabeled_batch
        self._parts = self._plan()
        self.pools = TrainingPools(self)

    def batch(self, iteration: int) -> dict[str, Samples]:
        """Return the samples of an iteration (from 0), by stream."""
        self._store.check_sizes()
        return {name: self._samples(name, stream, iteration) for name, stream in self._streams.items()}

    def passes(self, iteration: int) -> dict[str, float]:
        """Return how often training has passed through each pool before this iteration.

        It is the number of samples drawn by all streams of the pool, divided by its size; 0 for a pool without a stream.
        """
        drawn = dict.fromkeys(self._members, 0)
        for name, stream in self._streams.items():
            drawn[stream.pool] += iteration * sum(count for _, _, count in self._parts[name])
        return {pool: drawn[pool] / len(rows) if rows else 0.0 for pool, rows in self._members.items()}

    def names(self, pool: str, index: Tensor) -> list[str]:
        """Return the case keys of `Samples.index` of this pool for messages: "data set/id", with "#n" for slice n."""
        names = []
        for row in index.tolist():
            number, position = self._sample_case[self._members[pool][row]]
            names.append(self._cases[number].key + ("" if position is None else f"#{position}"))
        return names

    def _plan(self) -> dict[str, list[tuple[Shuffle, Shuffle | None, int]]]:
        """Return the parts of each stream: its samples, those with foreground (if needed), and their number in a batch."""
        plan: dict[str, list[tuple[Shuffle, Shuffle | None, int]]] = {}
        used: dict[str, int] = {}
        for name, stream in self._streams.items():
            rows = self._members[stream.pool]
            if not rows:
                raise UnsupportedError(f"stream {name!r} needs {stream.pool} cases, but the split has none")
            if stream.foreground and stream.pool != "labeled":
                raise UsageError(f"stream {name!r}: foreground is for the pool 'labeled'; got {stream.pool!r}")
            turn = used.get(stream.pool, 0)
            used[stream.pool] = turn + 1
            key = [self._seed, stream.pool, *([turn] if turn else [])]
            count = max(1, math.floor(stream.size * self._batch[stream.pool] + 0.5))
            groups: list[tuple[list[int], list[str]]] = [(rows, [])]
            if stream.per_domain:
                by_domain: dict[int, list[int]] = {}
                for row, number in zip(rows, self._domain[rows].tolist(), strict=True):
                    by_domain.setdefault(number, []).append(row)
                groups = [(by_domain[number], [self.task.domains[number]]) for number in sorted(by_domain)]
            plan[name] = []
            for members, domain in groups:
                with_foreground = [row for row in members if self._foreground.has(row)] if stream.foreground else []
                replacements = Shuffle(with_foreground, *key, *domain, "foreground") if with_foreground else None
                plan[name].append((Shuffle(members, *key, *domain), replacements, count))
        return plan

    def _rows(self, name: str, stream: Stream, iteration: int) -> tuple[Tensor, Tensor | None]:
        """Return the samples of a batch, and which of their crops must contain foreground."""
        batch_rows: list[int] = []
        forced: list[bool] = []
        for shuffle, replacements, count in self._parts[name]:
            rows: Rows = shuffle.take(iteration * count, count)
            need = math.ceil(stream.foreground * count - 1e-9) if replacements is not None else 0
            for i in range(need):
                if replacements is not None and not self._foreground.has(int(rows[i])):
                    rows[i] = replacements.take(iteration * count + i, 1)[0]
            batch_rows += rows.tolist()
            forced += [i < need for i in range(count)]
        return torch.tensor(batch_rows), torch.tensor(forced) if any(forced) else None

    def _samples(self, name: str, stream: Stream, iteration: int) -> Samples:
        rows, forced = self._rows(name, stream, iteration)
        generator = torch.Generator()
        generator.manual_seed(seed_of(self._seed, "views", iteration, name))
        sizes = self._pool.sizes.index_select(0, rows)
        hold = None if forced is None else self._foreground.voxels(rows, forced, generator)
        geometry = draw_geometry(self._recipe.weak, sizes, self.task.patch, generator, plane=self._plane, hold=hold)
        labels = stream.pool == "labeled"

        def cut(samples: Tensor, start: Tensor, size: tuple[int, ...]) -> Parts:
            return self._pool.cut(rows.index_select(0, samples), start, size, labels=labels)

        image, label, valid = apply_geometry(cut, geometry, sizes, self.task.patch)
        image = weak_intensity(image, policy=self._recipe.weak, generator=generator, valid=valid)
        strong = tuple(
            strong_view(image, policy=self._recipe.strong, generator=generator, valid=valid)
            for _ in range(stream.strong)
        )
        return self._pack(stream.pool, rows, (image, label, valid), strong)

    def _pack(
        self, pool: str, rows: Tensor, parts: tuple[Tensor, Tensor | None, Tensor], strong: tuple[Tensor, ...] = ()
    ) -> Samples:
        image, label, valid = parts
        if label is not None:  # a data set's voxels to ignore are as invalid as padding, which has this label already
            valid = valid & (label != IGNORE)
        return Samples(
            image=image,
            strong=strong,
            label=None if label is None else label.long(),
            valid=valid,
            domain=self._domain.index_select(0, rows).to(self._device, non_blocking=True),
            index=self._index[pool].index_select(0, rows).to(self._device, non_blocking=True),
        )


class TrainingPools:
    """The training cases in a fixed order, without augmentation (contract `Pools`)."""

    def __init__(self, data: TrainingData) -> None:
        self._data = data

    def batches(self, pool: str) -> Iterator[Samples]:
        """Pass once over "labeled", "unlabeled" or "all" in batches of the recipe's size, in the order of the split.

        A sample larger than the patch p is cut into tiles that start at 0, p, 2p ..., so that each voxel appears once, and is
        padded at its end (label 255, valid False).
        """
        data = self._data
        if pool not in data._members:
            raise UsageError(f"the pools are {', '.join(data._members)}; got {pool!r}")
        tiles = [(row, corner) for row in data._members[pool] for corner in self._corners(row)]
        size = data._batch[pool]
        for first in range(0, len(tiles), size):
            part = tiles[first : first + size]
            rows = torch.tensor([row for row, _ in part])
            start = torch.tensor([corner for _, corner in part])
            image, label, valid = data._pool.cut(rows, start, data.task.patch, labels=pool == "labeled")
            if valid is None:
                valid = image.new_ones((len(rows), *data.task.patch), dtype=torch.bool)
            yield data._pack(pool, rows, (image, label, valid))

    def class_voxels(self) -> Tensor:
        """Count the voxels of each class in the labeled cases on their working grid, float64 (K,)."""
        classes = len(self._data.task.classes)
        total = torch.zeros(classes, dtype=torch.float64)
        for label in self._data._labels:
            total += torch.bincount(label.flatten().long(), minlength=classes)[:classes]
        return total

    def label_maps(self) -> Iterator[Tensor]:
        """Yield the label map of each labeled case on its working grid, uint8 (*spatial), in the order of the split."""
        yield from self._data._labels

    def _corners(self, row: int) -> list[tuple[int, ...]]:
        size = self._data._pool.sizes[row].tolist()
        corners: list[tuple[int, ...]] = [()]
        for n, p in zip(size, self._data.task.patch, strict=True):
            corners = [(*corner, start) for corner in corners for start in range(0, n, p)]
        return corners


def _check(cases: Sequence[CaseRef], store: CaseStore, card: DatasetCard) -> None:
    for ref in cases:
        shape = store.shape(ref)
        if len(shape) != card.dims + 1 or shape[0] != card.channels:
            raise UsageError(
                f"case {ref.key} has {shape[0]} channels and {len(shape) - 1} dimensions; {card.name} promises "
                f"{card.channels} and {card.dims}. Choose options that give all data sets of a run the same channels."
            )


def _label(store: CaseStore, ref: CaseRef) -> Tensor:
    label = store.label(ref)
    if label is None:
        raise UsageError(f"case {ref.key} is among the labeled cases but has no label")
    return label


def training_domains(cases: Iterable[CaseRef], card: DatasetCard) -> tuple[str, ...]:
    """Return the domains of the training cases: those of the card in its order, then the others by name."""
    present = {_domain(ref, card) for ref in cases}
    known = tuple(name for name in card.domains if name in present)
    return known + tuple(sorted(present - set(known)))


def _domain(ref: CaseRef, card: DatasetCard) -> str:
    return ref.domain if ref.dataset == card.name else f"{ref.dataset}/{ref.domain}"


def _inverse(rows: Sequence[int], total: int) -> Tensor:
    inverse = torch.full((total,), -1, dtype=torch.int64)
    inverse[torch.tensor(rows, dtype=torch.int64)] = torch.arange(len(rows))
    return inverse
