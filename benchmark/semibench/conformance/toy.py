"""Toy data sets for whole runs of the battery: blobs in 2D and 3D.

The harness knows no data sets, and the outcome of a check must not depend on which ones are installed.
"""

from __future__ import annotations

import contextlib
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from semibench.conformance.data import blobs
from semibench.conformance.subject import PATCH
from semibench.contracts.cards import DatasetCard
from semibench.contracts.cases import Case, CaseRef, Dataset, DatasetOptions, Frame, PhantomOptions, Split, Truth
from semibench.contracts.method import IGNORE, Task
from semibench.discovery.hookspecs import hookimpl
from semibench.discovery.registry import Source, also_registered

DOMAINS = ("a", "b", "c", "d")
CASES = 16
"""Number of cases of a data set. Each is a group of its own; the domains alternate."""


def _card(dims: Any, name: str, similar: str) -> DatasetCard:
    return DatasetCard(
        name=f"{name}-{dims}d", title="Blobs", load=f"{__name__}:Blobs{name[-1].upper()}{dims}", dims=dims, modality="none",
        summary="Balls on noise, for the battery.", domains=DOMAINS, slice_axis=None if dims == 2 else 2,
        similar=(f"{similar}-{dims}d",), tree="nothing: they are procedural",
    )  # fmt: skip


class _Blobs(Dataset):
    """Balls on noise. The number n of a case seeds its image; its domain is n modulo the number of domains."""

    fingerprint = "conformance blobs 1"
    first: ClassVar[int] = 0

    @classmethod
    def phantom(cls, options: DatasetOptions, phantom: PhantomOptions) -> Dataset:
        """Returns the data set itself, which has no files."""
        return cls(None, options)

    def index(self) -> list[CaseRef]:
        """Returns all cases, ordered by number."""
        numbers = range(self.first, self.first + CASES)
        return [CaseRef(self.card.name, f"{n:03d}", f"{n:03d}", DOMAINS[n % len(DOMAINS)], True) for n in numbers]

    def files(self, ref: CaseRef) -> tuple[Path, ...]:
        """Returns no files."""
        return ()

    def read(self, ref: CaseRef) -> Case:
        """Returns an image (1, *PATCH) with its label; domains differ in brightness."""
        dims, number = self.card.dims, int(ref.id)
        task = Task(dims, 1, self.card.classes, PATCH[dims], (ref.domain,), {})
        sample = blobs(task, seed=number, per_domain=1)
        label = sample.label[0].masked_fill(sample.label[0] == IGNORE, 0).byte()
        return Case(
            ref, sample.image[0] * (1.0 + 0.2 * (number % len(DOMAINS))), label, None, Frame(tuple(label.shape))
        )

    def truth(self, ref: CaseRef) -> Truth:
        """Returns the label of the case, since the native grid is the working grid."""
        label = self.read(ref).label
        assert label is not None
        return Truth(label, None)

    def splits(self) -> Mapping[str, Split]:
        """Returns one published split, for protocols that need one."""
        refs = tuple(self.index())
        return {"listed": Split(refs[:6], refs[6:12], (), refs[12:])}


class BlobsA2(_Blobs):
    """2D images."""

    card = _card(2, "blobs-a", "blobs-b")


class BlobsB2(_Blobs):
    """2D images of a similar data set."""

    card = _card(2, "blobs-b", "blobs-a")
    first = CASES


class BlobsA3(_Blobs):
    """3D volumes."""

    card = _card(3, "blobs-a", "blobs-b")


class BlobsB3(_Blobs):
    """3D volumes of a similar data set."""

    card = _card(3, "blobs-b", "blobs-a")
    first = CASES


@hookimpl
def semibench_datasets() -> list[DatasetCard]:
    """Returns the cards of all four data sets."""
    return [cls.card for cls in (BlobsA2, BlobsB2, BlobsA3, BlobsB3)]


@contextlib.contextmanager
def toys() -> Iterator[None]:
    """Registers the data sets of this module within the block, in addition to the installed ones."""
    plugin = types.SimpleNamespace(semibench_datasets=semibench_datasets)
    with also_registered(Source("semibench-conformance", "1", "toy", __name__, lambda: plugin)):
        yield
