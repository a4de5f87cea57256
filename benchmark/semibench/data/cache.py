"""Decode once: the cases of one or several data sets as memory-mapped arrays.

`<cache>/cases/<data set>-<key>/` contains shards (`semibench.data.shards`); the key covers name, options and revision of the
decoding code. A case is looked up by its id and the content of its files, so that only new cases, changed files and damaged
shards are decoded again. Images stay float32, digit for digit as `Dataset.read` returned them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from torch import Tensor

from semibench.contracts.cases import Case, CaseRef, Dataset, Frame
from semibench.contracts.errors import CaseError, SemibenchError
from semibench.contracts.identity import canonical, sha256
from semibench.contracts.method import IGNORE
from semibench.data.declared.dataset import DeclaredDataset
from semibench.data.hashes import HashMemory, case_contents
from semibench.data.png_checksums import check_pngs
from semibench.data.roots import cache_dir
from semibench.data.shards import FORMAT, DamagedShard, Record, Shard, write_shard
from semibench.data.workers import free_cores, over_all
from semibench.discovery.guard import calling, returned
from semibench.files import NO_ROOM, NOT_ALLOWED, explain
from semibench.reporting import Reporter
from semibench.source_digest import class_digest

SHOWN = 5
"""Number of doubtful files that a run names."""

IMAGES_AT_ONCE = 4
"""Images that a process decodes in one go; volumes come one by one."""


@dataclass(frozen=True)
class _Location:
    """Where a case is stored. labels: whether the store may return its label."""

    shard: Shard
    record: Record
    labels: bool


class CaseStore:
    """Decoded cases by `CaseRef`. Tensors share memory with the mapped file: clone them before writing to them."""

    def __init__(self, locations: Mapping[str, _Location], refs: Mapping[str, CaseRef]) -> None:
        self._locations, self._refs = dict(locations), dict(refs)
        self._shards = list({id(location.shard): location.shard for location in self._locations.values()}.values())

    @classmethod
    def build(
        cls,
        datasets: Mapping[str, Dataset],
        refs: Iterable[CaseRef],
        folder: Path | None = None,
        reporter: Reporter | None = None,
        threads: int | None = None,
    ) -> CaseStore:
        """Open the cache of these cases, and decode what is missing (phase "decode"), on all cores that are free to this process.

        Several processes may call it at once: one decodes, the others wait.

        Args:
            datasets: data sets by name.
            refs: the cases.
            folder: folder of the shards; `<cache>/cases` by default.
            reporter: receives progress.
            threads: processes that decode; see `free_cores`. The arrays don't depend on their number.

        Raises:
            CaseError: if a case cannot be read or is not what its card promises; names the files.
        """
        reporter = Reporter() if reporter is None else reporter
        folder = cache_dir() / "cases" if folder is None else folder
        memory = HashMemory()
        by_key = {ref.key: ref for ref in refs}
        contents = case_contents(datasets, by_key.values(), memory, reporter=reporter)
        locations: dict[str, _Location] = {}
        for name in dict.fromkeys(ref.dataset for ref in by_key.values()):
            of_dataset = [ref for ref in by_key.values() if ref.dataset == name]
            home = folder / f"{name}-{decoding_key(datasets[name])[:16]}"
            locations |= _open(home, datasets[name], of_dataset, contents, memory, reporter, free_cores(threads))
        return cls(locations, by_key)

    @property
    def refs(self) -> tuple[CaseRef, ...]:
        """All cases of the store, in the order of the request."""
        return tuple(self._refs.values())

    def __contains__(self, ref: CaseRef) -> bool:
        return ref.key in self._locations

    def restrict(self, refs: Iterable[CaseRef], labels: Iterable[CaseRef] = ()) -> CaseStore:
        """Return a store with these cases only, and with the labels of the cases in `labels` only."""
        by_key = {ref.key: ref for ref in refs}
        with_label = {ref.key for ref in labels}
        locations = {}
        for key, ref in by_key.items():
            location = self._location(ref)
            locations[key] = _Location(location.shard, location.record, location.labels and key in with_label)
        return CaseStore(locations, by_key)

    def check_sizes(self) -> None:
        """Raise DamagedShard if a file was cut while the store maps it: reading beyond its end would kill the process."""
        for shard in self._shards:
            shard.check_size()

    def shape(self, ref: CaseRef) -> tuple[int, ...]:
        """Return (C, *spatial) of the working grid, without reading pixels."""
        return self._location(ref).record.shape

    def frame(self, ref: CaseRef) -> Frame:
        """Return where the working grid lies in the native one."""
        return self._location(ref).record.frame

    def image(self, ref: CaseRef) -> Tensor:
        """Return the image, float32 (C, *spatial)."""
        location = self._location(ref)
        location.shard.check_size()
        return torch.from_numpy(location.shard.image(location.record))

    def has_label(self, ref: CaseRef) -> bool:
        """Return whether this store has the label of the case."""
        location = self._location(ref)
        return location.labels and location.record.label is not None

    def label(self, ref: CaseRef) -> Tensor | None:
        """Return the label, uint8 (*spatial), or None if the case has none.

        Raise LookupError if this store hides it.
        """
        location = self._location(ref)
        if not location.labels:
            raise LookupError(f"this store hides the label of case {ref.key}")
        location.shard.check_size()
        label = location.shard.label(location.record)
        return None if label is None else torch.from_numpy(label)

    def case(self, ref: CaseRef) -> Case:
        """Return the whole case; its label is None if this store hides it."""
        location = self._location(ref)
        label = self.label(ref) if location.labels else None
        return Case(ref, self.image(ref), label, location.record.spacing, location.record.frame)

    def _location(self, ref: CaseRef) -> _Location:
        try:
            return self._locations[ref.key]
        except KeyError:
            raise LookupError(f"case {ref.key} is not in this store of {len(self._locations)} cases") from None


def highest_class(label: Tensor, dataset: Dataset) -> int:
    """Return the highest value of a label map. IGNORE doesn't count in a declared data set that has values to ignore."""
    ignores = isinstance(dataset, DeclaredDataset) and bool(dataset.declaration.ignore)
    counted = label[label != IGNORE] if ignores else label
    return int(counted.max()) if counted.numel() else 0


def check_case(case: Case, ref: CaseRef, dataset: Dataset) -> None:
    """Raise CaseError unless a decoded case is what the contract and its card promise."""
    card = dataset.card
    image, label = case.image, case.label
    problem = None
    if case.ref.key != ref.key:
        problem = f"read() returned case {case.ref.key}"
    elif image.dtype != torch.float32 or image.ndim != card.dims + 1 or image.numel() == 0:
        problem = f"expected a float32 image (C, {card.dims} sides); found {image.dtype} {tuple(image.shape)}"
    elif not bool(torch.isfinite(image).all()):
        problem = "the image contains NaN or infinite values"
    elif ref.has_label != (label is not None):
        problem = f"index() says has_label={ref.has_label}, read() returned {'a' if label is not None else 'no'} label"
    elif label is not None and (label.dtype != torch.uint8 or label.shape != image.shape[1:]):
        problem = f"expected a uint8 label {tuple(image.shape[1:])}; found {label.dtype} {tuple(label.shape)}"
    elif label is not None and (highest := highest_class(label, dataset)) >= len(card.classes):
        problem = f"label values must be 0..{len(card.classes) - 1} ({', '.join(card.classes)}); found {highest}"
    elif case.spacing is not None and (len(case.spacing) != card.dims or min(case.spacing) <= 0):
        problem = f"spacing must be {card.dims} positive numbers or None; found {case.spacing}"
    elif len(case.frame.shape) != card.dims:
        problem = f"the frame must have {card.dims} sides; found {case.frame.shape}"
    if problem:
        files = ", ".join(map(str, dataset.files(ref))) or "procedural"
        raise CaseError(f"case {ref.key} ({files}): {problem}")


def decoding_key(dataset: Dataset) -> str:
    """Return the digest of everything that the decoded cases of a data set depend on, but for the content of its files."""
    parts = [FORMAT, dataset.card.name, dataset.settings(), class_digest(type(dataset)), dataset.fingerprint]
    return sha256(canonical(parts))


def _open(
    home: Path,
    dataset: Dataset,
    refs: Sequence[CaseRef],
    contents: Mapping[str, str],
    memory: HashMemory,
    reporter: Reporter,
    workers: int,
) -> dict[str, _Location]:
    """Return where each case is stored; decode the cases that no intact shard contains."""
    stored, missing = _look_up(home, refs, contents, memory)
    if not missing:
        return stored
    try:
        return _complete(home, dataset, refs, contents, memory, reporter, workers)
    except OSError as error:
        if error.errno not in (*NO_ROOM, *NOT_ALLOWED):
            raise
        raise SemibenchError(
            f"{len(missing)} cases of {dataset.card.name} must be decoded, and the cache can't be written: {explain(error)}. "
            "SEMIBENCH_CACHE names the folder of the cache"
        ) from error


def _complete(
    home: Path,
    dataset: Dataset,
    refs: Sequence[CaseRef],
    contents: Mapping[str, str],
    memory: HashMemory,
    reporter: Reporter,
    workers: int,
) -> dict[str, _Location]:
    """Decode the cases that no intact shard contains, and return where each case is stored."""
    home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        reporter.note(f"waiting for another process, which is decoding {dataset.card.name}")
        lock.acquire()
    try:
        stored, missing = _look_up(home, refs, contents, memory, reporter)
        if missing:
            for draft in home.glob(".draft-*"):  # left by a killed process: nobody else writes while we hold the lock
                shutil.rmtree(draft)
            reporter.phase("decode", len(missing))
            write_shard(home, _decoded(dataset, missing, contents, reporter, workers))
            reporter.end()
            stored, missing = _look_up(home, refs, contents, memory, reporter)
    finally:
        lock.release()
    if missing:
        raise CaseError(f"{home}: {len(missing)} cases cannot be read right after writing, e.g. {missing[0].key}")
    return stored


def _look_up(
    home: Path,
    refs: Sequence[CaseRef],
    contents: Mapping[str, str],
    memory: HashMemory,
    reporter: Reporter | None = None,
) -> tuple[dict[str, _Location], list[CaseRef]]:
    """Return what the shards contain, and the missing cases.

    With a reporter (that is, while holding the lock) damaged shards are reported and removed.
    """
    stored: dict[str, _Location] = {}
    for folder in sorted(home.glob("shard-*")):
        try:
            shard = Shard(folder, memory)
        except DamagedShard as error:
            if reporter is not None:
                reporter.warn(f"damaged cache; decoding again: {error}")
                shutil.rmtree(folder)
            continue
        for ref in refs:
            record = shard.records.get(ref.id)
            if record is not None and record.content == contents[ref.key] and ref.key not in stored:
                stored[ref.key] = _Location(shard, record, True)
    return stored, [ref for ref in refs if ref.key not in stored]


def _decoded(
    dataset: Dataset, refs: Sequence[CaseRef], contents: Mapping[str, str], reporter: Reporter, workers: int
) -> Iterator[tuple[str, Case]]:
    doubts: list[str] = []
    batch = IMAGES_AT_ONCE if dataset.card.dims == 2 else 1
    done = over_all(partial(_decoded_case, dataset), refs, workers=workers, batch=batch)
    for number, (ref, decoded) in enumerate(zip(refs, done, strict=True), 1):
        doubts += decoded.doubts
        yield contents[ref.key], decoded.case(ref)
        reporter.advance(number)
    for words in doubts[:SHOWN]:
        reporter.warn(words)
    if len(doubts) > SHOWN:
        reporter.warn(f"{len(doubts) - SHOWN} more doubtful files: bench data verify {dataset.card.name}")


@dataclass(frozen=True)
class _Decoded:
    """A checked case as plain arrays, which pass from process to process without shared memory."""

    image: NDArray[np.float32]
    label: NDArray[np.uint8] | None
    spacing: tuple[float, ...] | None
    frame: Frame
    doubts: list[str]

    def case(self, ref: CaseRef) -> Case:
        label = None if self.label is None else torch.from_numpy(self.label)
        return Case(ref, torch.from_numpy(self.image), label, self.spacing, self.frame)


def _decoded_case(dataset: Dataset, ref: CaseRef) -> _Decoded:
    check_pngs(dataset, ref)
    with calling(dataset, "read"):
        case = returned(dataset, "read", dataset.read(ref), Case)
    check_case(case, ref, dataset)
    with calling(dataset, "remarks"):
        doubts = [remark.message for remark in dataset.remarks(ref)]
    label = None if case.label is None else case.label.numpy()
    return _Decoded(case.image.numpy(), label, case.spacing, case.frame, doubts)
