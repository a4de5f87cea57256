"""Training data: whole batches, assembled and augmented on the training device, as a pure function of (seed, iteration).

Rules that the contracts leave open:
- A stream's size is floor(size x batch + 1/2), at least 1; "all" counts the labeled and unlabeled batch together.
- A pool is gone through in permutations seeded by (seed, pool, pass). A second stream of the same pool has permutations
  of its own. per_domain: each domain that has samples in the pool, in the order of task.domains, its own permutations.
- foreground: the first ceil(share x n) samples of a stream (of each domain's part) hold foreground: a sample without any
  is replaced by the next of a permutation of those that have some, and its crop is placed on a foreground voxel of a
  class drawn evenly among those present (before small rotations and scale).
- A 2D network on volumes sees slices along the card's axis, resized to the patch in their plane as evaluation does.
- A domain of another data set than the card's is called "data set/domain".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from semibench.blocks.strong_views import strong_view
from semibench.blocks.views import Parts, apply_geometry, default_plane, draw_geometry
from semibench.contracts.cards import DatasetCard
from semibench.contracts.cases import CaseRef, Split
from semibench.contracts.errors import UnsupportedError, UsageError
from semibench.contracts.method import Samples, Task
from semibench.contracts.recipe import Recipe
from semibench.contracts.schedule import Stream
from semibench.data.cache import CaseStore
from semibench.data.foreground import Foreground
from semibench.data.pool import Pool, case_pool, slice_pool
from semibench.data.sampling import Rows, Shuffle, seed_of

BUDGET = {"cpu": 2 * 2**30, "other": 8 * 2**30}
"""Bytes of samples that are held in memory or on the accelerator; larger pools are read from the cache batch by batch."""


class TrainingData:
    """Batches of a run. Global random state is neither read nor changed.

    store: decoded cases (only the training cases of it are kept, and labels of `split.labeled` only). dims: of the
    network. streams: of the method. budget: bytes, default by device. Raises UnsupportedError where a stream's pool is
    empty or a 2D network has no slice axis, UsageError where cases and card disagree.
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
            raise UsageError("the split has no training case: neither labeled nor unlabeled")
        if dims > card.dims or len(recipe.patch) != dims:
            raise UsageError(f"a {dims}D network on {card.dims}D cases with patch {recipe.patch} can't be trained")
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
                raise UnsupportedError(f"data set {card.name!r} names no slice axis: it can't train a 2D network")
            axis, slab = card.slice_axis % card.dims, recipe.slab
            self._sample_case = [(n, place) for n, image in enumerate(images) for place in range(image.shape[axis + 1])]
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
        place = {name: number for number, name in enumerate(order)}
        self._domain = torch.tensor([place[domains[number]] for number, _ in self._sample_case])
        position: dict[int, list[int]] = {}
        for row, (number, _) in enumerate(self._sample_case):
            position.setdefault(number, []).append(row)
        number_of = {ref.key: number for number, ref in enumerate(cases)}
        self._members = {
            "labeled": [row for ref in labeled for row in position[number_of[ref.key]]],
            "unlabeled": [row for ref in unlabeled for row in position[number_of[ref.key]]],
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
        """The samples of an iteration (from 0), by stream."""
        return {name: self._samples(name, stream, iteration) for name, stream in self._streams.items()}

    def passes(self, iteration: int) -> dict[str, float]:
        """How often each pool has been gone through before this iteration: samples drawn by all of its streams, divided
        by its samples; 0 for a pool without a stream."""
        drawn = dict.fromkeys(self._members, 0)
        for name, stream in self._streams.items():
            drawn[stream.pool] += iteration * sum(count for _, _, count in self._parts[name])
        return {pool: drawn[pool] / len(rows) if rows else 0.0 for pool, rows in self._members.items()}

    def names(self, pool: str, index: Tensor) -> list[str]:
        """Case keys of `Samples.index` of a stream of this pool, "data set/id", with "#n" for slice n: for messages."""
        found = []
        for row in index.tolist():
            number, place = self._sample_case[self._members[pool][row]]
            found.append(self._cases[number].key + ("" if place is None else f"#{place}"))
        return found

    def _plan(self) -> dict[str, list[tuple[Shuffle, Shuffle | None, int]]]:
        """Per stream its parts: the samples, those with foreground (where asked for), and how many per batch."""
        plan: dict[str, list[tuple[Shuffle, Shuffle | None, int]]] = {}
        used: dict[str, int] = {}
        for name, stream in self._streams.items():
            rows = self._members[stream.pool]
            if not rows:
                raise UnsupportedError(f"stream {name!r} needs {stream.pool} cases, and the split has none")
            if stream.foreground and stream.pool != "labeled":
                raise UsageError(f"stream {name!r}: foreground is for the pool 'labeled'; got {stream.pool!r}")
            turn = used.get(stream.pool, 0)
            used[stream.pool] = turn + 1
            key = [self._seed, stream.pool, *([turn] if turn else [])]
            count = max(1, math.floor(stream.size * self._batch[stream.pool] + 0.5))
            groups: list[tuple[list[int], list[str]]] = [(rows, [])]
            if stream.per_domain:
                split = [
                    ([row for row in rows if int(self._domain[row]) == number], [domain])
                    for number, domain in enumerate(self.task.domains)
                ]
                groups = [group for group in split if group[0]]
            plan[name] = []
            for members, domain in groups:
                holders = [row for row in members if self._foreground.has(row)] if stream.foreground else []
                some = Shuffle(holders, *key, *domain, "foreground") if holders else None
                plan[name].append((Shuffle(members, *key, *domain), some, count))
        return plan

    def _rows(self, name: str, stream: Stream, iteration: int) -> tuple[Tensor, Tensor | None]:
        """Samples of a batch, and which of their crops must hold foreground."""
        chosen: list[int] = []
        forced: list[bool] = []
        for shuffle, holders, count in self._parts[name]:
            rows: Rows = shuffle.take(iteration * count, count)
            need = math.ceil(stream.foreground * count - 1e-9) if holders is not None else 0
            for place in range(need):
                if holders is not None and not self._foreground.has(int(rows[place])):
                    rows[place] = holders.take(iteration * count + place, 1)[0]
            chosen += rows.tolist()
            forced += [place < need for place in range(count)]
        return torch.tensor(chosen), torch.tensor(forced) if any(forced) else None

    def _samples(self, name: str, stream: Stream, iteration: int) -> Samples:
        rows, forced = self._rows(name, stream, iteration)
        generator = torch.Generator()
        generator.manual_seed(seed_of(self._seed, "views", iteration, name))
        sizes = self._pool.sizes.index_select(0, rows)
        hold = None if forced is None else self._foreground.voxels(rows, forced, generator)
        geometry = draw_geometry(self._recipe.weak, sizes, self.task.patch, generator, plane=self._plane, hold=hold)
        labels = stream.pool == "labeled"

        def cut(some: Tensor, start: Tensor, size: tuple[int, ...]) -> Parts:
            return self._pool.cut(rows.index_select(0, some), start, size, labels=labels)

        parts = apply_geometry(cut, geometry, sizes, self.task.patch)
        image, _, valid = parts
        strong = tuple(
            strong_view(image, policy=self._recipe.strong, generator=generator, valid=valid)
            for _ in range(stream.strong)
        )
        return self._pack(stream.pool, rows, parts, strong)

    def _pack(
        self, pool: str, rows: Tensor, parts: tuple[Tensor, Tensor | None, Tensor], strong: tuple[Tensor, ...] = ()
    ) -> Samples:
        image, label, valid = parts
        return Samples(
            image=image,
            strong=strong,
            label=None if label is None else label.long(),
            valid=valid,
            domain=self._domain.index_select(0, rows).to(self._device, non_blocking=True),
            index=self._index[pool].index_select(0, rows).to(self._device, non_blocking=True),
        )


class TrainingPools:
    """The training cases in fixed order, not augmented (contract `Pools`).

    batches: samples in the order of the split; a sample larger than the patch comes as tiles of the patch's size that
    begin at 0, p, 2p ..., so that each voxel appears once, and is padded (label 255, valid False) at its end.
    """

    def __init__(self, data: TrainingData) -> None:
        self._data = data

    def batches(self, pool: str) -> Iterator[Samples]:
        """One pass over "labeled", "unlabeled" or "all" in batches of the recipe's size."""
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
        """(K,) float64 voxel counts over the labeled cases on their working grid."""
        classes = len(self._data.task.classes)
        total = torch.zeros(classes, dtype=torch.float64)
        for label in self._data._labels:
            total += torch.bincount(label.flatten().long(), minlength=classes)[:classes]
        return total

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
                f"case {ref.key} has {shape[0]} channels and {len(shape) - 1} sides; {card.name} promises "
                f"{card.channels} and {card.dims}. Choose options that give all data sets of a run the same channels."
            )


def _label(store: CaseStore, ref: CaseRef) -> Tensor:
    label = store.label(ref)
    if label is None:
        raise UsageError(f"case {ref.key} stands among the labeled cases and has no label")
    return label


def training_domains(cases: Iterable[CaseRef], card: DatasetCard) -> tuple[str, ...]:
    """Domains of the training cases: the card's in its order, then the others by name (see the module's text)."""
    present = {_domain(ref, card) for ref in cases}
    known = tuple(name for name in card.domains if name in present)
    return known + tuple(sorted(present - set(known)))


def _domain(ref: CaseRef, card: DatasetCard) -> str:
    return ref.domain if ref.dataset == card.name else f"{ref.dataset}/{ref.domain}"


def _inverse(rows: Sequence[int], total: int) -> Tensor:
    inverse = torch.full((total,), -1, dtype=torch.int64)
    inverse[torch.tensor(rows, dtype=torch.int64)] = torch.arange(len(rows))
    return inverse
