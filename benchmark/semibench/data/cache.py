"""Decode once: the cases of one or several data sets as memory-mapped arrays.

Under `<cache>/cases/<data set>-<key>/` (key: name, card, options and revision of the code that decodes) lie shards
(`semibench.data.shards`). A case is found by its id and the content of its files, so that more cases, changed files and
damaged shards cost only what they concern. Images stay float32, digit for digit as `Dataset.read` returned them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from semibench.contracts.cases import Case, CaseRef, Dataset, Frame
from semibench.contracts.errors import CaseError
from semibench.contracts.identity import canonical, sha256
from semibench.data.hashes import HashMemory, case_contents
from semibench.data.roots import cache_dir
from semibench.data.shards import FORMAT, DamagedShard, Record, Shard, write_shard
from semibench.reporting import Reporter
from semibench.source_digest import class_digest


@dataclass(frozen=True)
class _Place:
    shard: Shard
    record: Record
    labels: bool


class CaseStore:
    """Decoded cases by `CaseRef`. Tensors share memory with the map of the file: clone before writing to them."""

    def __init__(self, places: Mapping[str, _Place], refs: Mapping[str, CaseRef]) -> None:
        self._places, self._refs = dict(places), dict(refs)

    @classmethod
    def build(
        cls,
        datasets: Mapping[str, Dataset],
        refs: Iterable[CaseRef],
        folder: Path | None = None,
        reporter: Reporter | None = None,
    ) -> CaseStore:
        """Open the cache of these cases, decoding what is missing (phase "decode").

        folder: default `<cache>/cases`. Several processes may build at once: one decodes, the others wait for it.
        Raises CaseError, naming the files, for a case that can't be read or isn't what its card promises.
        """
        reporter = Reporter() if reporter is None else reporter
        folder = cache_dir() / "cases" if folder is None else folder
        memory = HashMemory()
        chosen = {ref.key: ref for ref in refs}
        contents = case_contents(datasets, chosen.values(), memory, reporter=reporter)
        places: dict[str, _Place] = {}
        for name in dict.fromkeys(ref.dataset for ref in chosen.values()):
            mine = [ref for ref in chosen.values() if ref.dataset == name]
            home = folder / f"{name}-{_key(datasets[name])[:16]}"
            places |= _open(home, datasets[name], mine, contents, memory, reporter)
        return cls(places, chosen)

    @property
    def refs(self) -> tuple[CaseRef, ...]:
        """All cases held, in the order they were asked for."""
        return tuple(self._refs.values())

    def __contains__(self, ref: CaseRef) -> bool:
        return ref.key in self._places

    def restrict(self, refs: Iterable[CaseRef], labels: Iterable[CaseRef] = ()) -> CaseStore:
        """A store of these cases only, holding labels of the cases in `labels` and no others."""
        kept = {ref.key: ref for ref in refs}
        known = {ref.key for ref in labels}
        places = {}
        for key, ref in kept.items():
            place = self._place(ref)
            places[key] = _Place(place.shard, place.record, place.labels and key in known)
        return CaseStore(places, kept)

    def shape(self, ref: CaseRef) -> tuple[int, ...]:
        """(C, *spatial) of the working grid, without touching the pixels."""
        return self._place(ref).record.shape

    def frame(self, ref: CaseRef) -> Frame:
        """How the working grid lies in the native one."""
        return self._place(ref).record.frame

    def image(self, ref: CaseRef) -> Tensor:
        """float32 (C, *spatial)."""
        place = self._place(ref)
        return torch.from_numpy(place.shard.image(place.record))

    def has_label(self, ref: CaseRef) -> bool:
        """Whether this store holds the label of the case."""
        place = self._place(ref)
        return place.labels and place.record.label is not None

    def label(self, ref: CaseRef) -> Tensor | None:
        """uint8 (*spatial); None where the case has none. Raises LookupError where this store was made without it."""
        place = self._place(ref)
        if not place.labels:
            raise LookupError(f"this store was made without the label of case {ref.key}")
        found = place.shard.label(place.record)
        return None if found is None else torch.from_numpy(found)

    def case(self, ref: CaseRef) -> Case:
        """The whole case; its label is None where this store was made without it."""
        place = self._place(ref)
        label = self.label(ref) if place.labels else None
        return Case(ref, self.image(ref), label, place.record.spacing, place.record.frame)

    def _place(self, ref: CaseRef) -> _Place:
        try:
            return self._places[ref.key]
        except KeyError:
            raise LookupError(f"case {ref.key} isn't in this store of {len(self._places)} cases") from None


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
        problem = "the image holds NaN or infinite values"
    elif ref.has_label != (label is not None):
        problem = f"index() says has_label={ref.has_label}, read() returned {'a' if label is not None else 'no'} label"
    elif label is not None and (label.dtype != torch.uint8 or label.shape != image.shape[1:]):
        problem = f"expected a uint8 label {tuple(image.shape[1:])}; found {label.dtype} {tuple(label.shape)}"
    elif label is not None and int(label.max()) >= len(card.classes):
        problem = (
            f"label values must be 0..{len(card.classes) - 1} ({', '.join(card.classes)}); found {int(label.max())}"
        )
    elif case.spacing is not None and (len(case.spacing) != card.dims or min(case.spacing) <= 0):
        problem = f"spacing must be {card.dims} positive numbers or None; found {case.spacing}"
    elif len(case.frame.shape) != card.dims:
        problem = f"the frame must have {card.dims} sides; found {case.frame.shape}"
    if problem:
        files = ", ".join(map(str, dataset.files(ref))) or "procedural"
        raise CaseError(f"case {ref.key} ({files}): {problem}")


def _key(dataset: Dataset) -> str:
    parts = [FORMAT, dataset.card.name, dataset.settings(), class_digest(type(dataset)), dataset.fingerprint]
    return sha256(canonical(parts))


def _open(
    home: Path,
    dataset: Dataset,
    refs: Sequence[CaseRef],
    contents: Mapping[str, str],
    memory: HashMemory,
    reporter: Reporter,
) -> dict[str, _Place]:
    """Where each case lies; decodes what no whole shard holds."""
    found, missing = _look(home, refs, contents, memory)
    if not missing:
        return found
    home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        reporter.note(f"waiting for another process that decodes {dataset.card.name}")
        lock.acquire()
    try:
        found, missing = _look(home, refs, contents, memory, reporter)
        if missing:
            for draft in home.glob(".draft-*"):  # of a process that was killed: nobody else writes under the lock
                shutil.rmtree(draft)
            reporter.phase("decode", len(missing))
            write_shard(home, _decoded(dataset, missing, contents, reporter))
            reporter.end()
            found, missing = _look(home, refs, contents, memory, reporter)
    finally:
        lock.release()
    if missing:
        raise CaseError(f"{home}: {len(missing)} cases are not readable right after writing, e.g. {missing[0].key}")
    return found


def _look(
    home: Path,
    refs: Sequence[CaseRef],
    contents: Mapping[str, str],
    memory: HashMemory,
    reporter: Reporter | None = None,
) -> tuple[dict[str, _Place], list[CaseRef]]:
    """What the shards hold. With a reporter (that is, under the lock) damaged shards are reported and removed."""
    found: dict[str, _Place] = {}
    for folder in sorted(home.glob("shard-*")):
        try:
            shard = Shard(folder, memory)
        except DamagedShard as error:
            if reporter is not None:
                reporter.warn(f"damaged cache, decoding again: {error}")
                shutil.rmtree(folder)
            continue
        for ref in refs:
            record = shard.records.get(ref.id)
            if record is not None and record.content == contents[ref.key] and ref.key not in found:
                found[ref.key] = _Place(shard, record, True)
    return found, [ref for ref in refs if ref.key not in found]


def _decoded(
    dataset: Dataset, refs: Sequence[CaseRef], contents: Mapping[str, str], reporter: Reporter
) -> Iterator[tuple[str, Case]]:
    for done, ref in enumerate(refs, 1):
        case = dataset.read(ref)
        check_case(case, ref, dataset)
        yield contents[ref.key], case
        reporter.advance(done)
