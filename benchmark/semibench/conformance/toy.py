"""Data sets for whole runs of the battery: blobs in 2D and in 3D. The harness knows no data set, and what a check finds must not
depend on which others are installed."""

from __future__ import annotations

import contextlib
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from semibench.conformance.case import PATCH
from semibench.conformance.data import blobs
from semibench.contracts.cards import DatasetCard
from semibench.contracts.cases import Case, CaseRef, Dataset, DatasetOptions, Frame, PhantomOptions, Split, Truth
from semibench.contracts.method import IGNORE, Task
from semibench.hookspecs import hookimpl
from semibench.registry import Source, also_registered

DOMAINS = ("a", "b", "c", "d")
CASES = 16
"""Of a data set, each a group of its own, in turn of each domain."""


def _card(dims: Any, name: str, similar: str) -> DatasetCard:
    return DatasetCard(
        name=f"{name}-{dims}d", title="Blobs", load=f"{__name__}:Blobs{name[-1].upper()}{dims}", dims=dims, modality="none",
        summary="Balls on noise, for the battery.", domains=DOMAINS, slice_axis=None if dims == 2 else 2,
        similar=(f"{similar}-{dims}d",), tree="nothing: they are procedural",
    )  # fmt: skip


class _Blobs(Dataset):
    """Case n is a ball on noise that follows from n; its domain is n modulo the number of domains."""

    fingerprint = "conformance blobs 1"
    first: ClassVar[int] = 0

    @classmethod
    def phantom(cls, options: DatasetOptions, phantom: PhantomOptions) -> Dataset:
        """The data set itself: it has no files."""
        return cls(None, options)

    def index(self) -> list[CaseRef]:
        """All cases, by number."""
        numbers = range(self.first, self.first + CASES)
        return [CaseRef(self.card.name, f"{n:03d}", f"{n:03d}", DOMAINS[n % len(DOMAINS)], True) for n in numbers]

    def files(self, ref: CaseRef) -> tuple[Path, ...]:
        """None."""
        return ()

    def read(self, ref: CaseRef) -> Case:
        """An image (1, *PATCH) and its label; domains differ in brightness."""
        dims, number = self.card.dims, int(ref.id)
        task = Task(dims, 1, self.card.classes, PATCH[dims], (ref.domain,), {})
        drawn = blobs(task, seed=number, per_domain=1)
        label = drawn.label[0].masked_fill(drawn.label[0] == IGNORE, 0).byte()
        return Case(ref, drawn.image[0] * (1.0 + 0.2 * (number % len(DOMAINS))), label, None, Frame(tuple(label.shape)))

    def truth(self, ref: CaseRef) -> Truth:
        """The label as read: the native grid is the working grid."""
        label = self.read(ref).label
        assert label is not None
        return Truth(label, None)

    def splits(self) -> Mapping[str, Split]:
        """One published split, for the protocols that want one."""
        refs = tuple(self.index())
        return {"listed": Split(refs[:6], refs[6:12], (), refs[12:])}


class BlobsA2(_Blobs):
    """Images."""

    card = _card(2, "blobs-a", "blobs-b")


class BlobsB2(_Blobs):
    """Other images, similar to them."""

    card = _card(2, "blobs-b", "blobs-a")
    first = CASES


class BlobsA3(_Blobs):
    """Volumes."""

    card = _card(3, "blobs-a", "blobs-b")


class BlobsB3(_Blobs):
    """Other volumes, similar to them."""

    card = _card(3, "blobs-b", "blobs-a")
    first = CASES


@hookimpl
def semibench_datasets() -> list[DatasetCard]:
    """All four."""
    return [cls.card for cls in (BlobsA2, BlobsB2, BlobsA3, BlobsB3)]


@contextlib.contextmanager
def toys() -> Iterator[None]:
    """Within the block the data sets of this module are registered, beside what is installed."""
    plugin = types.SimpleNamespace(semibench_datasets=semibench_datasets)
    with also_registered(Source("semibench-conformance", "1", "toy", __name__, lambda: plugin)):
        yield
