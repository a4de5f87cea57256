"""Checks of data sets, one fact each, on the phantom, or on files if a root is given.

A check raises AssertionError with a message that says what is wrong.
"""

from __future__ import annotations

import contextlib
import importlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from pydantic import ValidationError

from semibench.contracts.cards import DatasetCard
from semibench.contracts.cases import Case, CaseRef, Dataset, PhantomOptions
from semibench.contracts.errors import LayoutError, PluginError, SemibenchError, one_line
from semibench.data.cache import highest_class
from semibench.data.catalog import check_index as keep_contract
from semibench.evaluation.inference import native_labels

CASES = {2: 8, 3: 3}
READ = {2: 4, 3: 2}
"""By dims: number of cases in the phantom, and how many of them are decoded."""


@dataclass(frozen=True, eq=False)
class DatasetSubject:
    """A data set with few, small cases. root: official files to check instead of the phantom, every case of them. data_root: the
    folder in which `root` was found. scale: of the phantom's size. named: how a run names a data set of one's own."""

    dataset: type[Dataset]
    card: DatasetCard
    root: Path | None = None
    scale: float = 0.25
    data_root: Path | None = None
    named: str = ""

    @property
    def dims(self) -> int:
        return self.card.dims

    def build(self, seed: int = 0, **options: Any) -> Dataset:
        """Returns the phantom, or the real data set if there is a root. options: of the data set."""
        parsed = self.dataset.Options(**({} if "size" in options or self.dims == 3 else {"size": (48, 48)}), **options)
        if self.root is not None:
            return self.dataset(self.root, parsed)
        number = max(CASES[self.dims], len(self.card.domains))
        return self.dataset.phantom(parsed, PhantomOptions(cases=number, seed=seed, scale=self.scale))

    @cached_property
    def refs(self) -> tuple[CaseRef, ...]:
        return tuple(self.build().index())

    @cached_property
    def cases(self) -> Sequence[Case]:
        """Some decoded cases of a phantom; every readable case of real files, decoded when it is looked at. Checks share them:
        don't modify them."""
        source = self.build()
        if self.root is not None:
            return Readable(source, self.refs)
        return tuple(source.read(ref) for ref in self.refs[: READ[self.dims]])


class Readable(Sequence[Case]):
    """The cases of real files that can be read, decoded one at a time: together they may not fit in memory."""

    def __init__(self, source: Dataset, refs: Sequence[CaseRef]) -> None:
        self.source, self.refs = source, refs

    def __len__(self) -> int:
        return len(self.refs)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [case for ref in self.refs[index] if (case := self._read(ref)) is not None]
        return self.source.read(self.refs[index])

    def __iter__(self) -> Iterator[Case]:
        return (case for ref in self.refs if (case := self._read(ref)) is not None)

    def _read(self, ref: CaseRef) -> Case | None:
        try:
            return self.source.read(ref)
        except Exception:  # `every_case_is_read` says so
            return None


def _every(items: Iterable[Any], examine: Callable[[Any], None]) -> None:
    """Examines all items; raises one AssertionError with the first fault and the number of the others."""
    faults = []
    for item in items:
        try:
            examine(item)
        except AssertionError as error:
            faults.append(str(error))
    if faults:
        raise AssertionError(faults[0] + (f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""))


Check = Callable[[DatasetSubject], None]


def check_index_keeps_the_contract(subject: DatasetSubject) -> None:
    """`index()` lists cases of this data set with unique, sorted ids, non-empty groups and domains of the card."""
    dataset = subject.build()
    try:
        keep_contract(dataset, dataset.index(), subject.card.name)
    except PluginError as error:
        raise AssertionError(str(error)) from error


def check_index_is_the_same_again(subject: DatasetSubject) -> None:
    """`index()` returns the same cases each time."""
    assert subject.build().index() == list(subject.refs), "index() returned different cases the second time"


DECODERS = (
    ("PIL.ImageFile", "ImageFile.load"),
    ("nibabel.arrayproxy", "ArrayProxy._get_scaled"),
    ("SimpleITK", "ReadImage"),
    ("h5py", "Dataset.__getitem__"),
    ("numpy.lib.npyio", "NpzFile.__getitem__"),
)
"""Functions in which the usual libraries decode pixels. Opening a file to read its header doesn't count as decoding."""


def check_index_decodes_no_pixels(subject: DatasetSubject) -> None:
    """`index()` calls neither `read` nor `truth`, nor any of the usual decoders of images and volumes."""
    dataset, calls = subject.build(), []

    def recording(name: str, real: Callable[..., Any] | None = None) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            calls.append(name)
            return real(*arguments, **keywords) if real is not None else None

        return call

    with contextlib.ExitStack() as stack:
        for name in ("read", "truth"):
            stack.enter_context(mock.patch.object(dataset, name, recording(name)))
        for module, path in DECODERS:
            holder: Any = importlib.import_module(module)
            *classes, attribute = path.split(".")
            for part in classes:
                holder = getattr(holder, part)
            real = getattr(holder, attribute)
            stack.enter_context(mock.patch.object(holder, attribute, recording(f"{module}.{path}", real)))
        dataset.index()
    assert not calls, f"index() calls {sorted(set(calls))}: it must read names, headers and small tables only"


def check_missing_files_are_said(subject: DatasetSubject) -> None:
    """For an empty folder, `index()` raises LayoutError, which shows the expected tree."""
    with tempfile.TemporaryDirectory() as empty:
        try:
            refs = subject.dataset(Path(empty), subject.dataset.Options()).index()
        except LayoutError as error:
            assert str(error).strip(), "the LayoutError has no message"
            return
    raise AssertionError(f"expected LayoutError for an empty folder; index() returned {len(refs)} cases")


def check_images_are_float_and_finite(subject: DatasetSubject) -> None:
    """Images are float32 (C, *spatial) and finite, and C is the card's number of channels."""

    def examine(read: Case) -> None:
        shape = tuple(read.image.shape)
        assert read.image.dtype == torch.float32, f"{read.ref.id}: expected float32, found {read.image.dtype}"
        assert len(shape) == subject.dims + 1 and shape[0] == subject.card.channels, (
            f"{read.ref.id}: expected ({subject.card.channels}, *{subject.dims} sides), found {shape}"
        )
        assert read.image.isfinite().all(), f"{read.ref.id}: NaN or infinity in the image"

    _every(subject.cases, examine)


def check_images_have_contrast_and_a_sane_range(subject: DatasetSubject) -> None:
    """No image is constant or holds values beyond 100; raw grey levels and Hounsfield units must be normalised."""

    def examine(read: Case) -> None:
        low, high = float(read.image.min()), float(read.image.max())
        assert high > low, f"{read.ref.id}: every voxel is {low:g}"
        assert max(abs(low), abs(high)) <= 100, f"{read.ref.id}: values from {low:g} to {high:g}; normalise in read()"

    _every(subject.cases, examine)


def check_labels_are_classes(subject: DatasetSubject) -> None:
    """Labels are uint8 (*spatial) in 0..K-1 on the image's grid, and exist exactly for cases whose `has_label` is true."""
    classes, dataset = len(subject.card.classes), subject.build()

    def examine(read: Case) -> None:
        assert (read.label is not None) == read.ref.has_label, f"{read.ref.id}: has_label is {read.ref.has_label}"
        if read.label is None:
            return
        assert read.label.dtype == torch.uint8, f"{read.ref.id}: expected uint8 labels, found {read.label.dtype}"
        assert read.label.shape == read.image.shape[1:], f"{read.ref.id}: label {tuple(read.label.shape)}"
        highest = highest_class(read.label, dataset)
        assert highest < classes, f"{read.ref.id}: label {highest} of {classes} classes"

    _every(subject.cases, examine)


def check_some_label_has_foreground(subject: DatasetSubject) -> None:
    """At least one of the decoded labeled cases has foreground."""
    labels = [read.label for read in subject.cases if read.label is not None]
    assert not labels or any(bool((label > 0).any()) for label in labels), "no decoded case has foreground"


def check_read_is_the_same_again(subject: DatasetSubject) -> None:
    """A second object reads exactly the same values."""
    dataset = subject.build()
    for first in subject.cases[:2]:
        again = dataset.read(first.ref)
        assert torch.equal(first.image, again.image), f"{first.ref.id}: the second read returned another image"
        if first.label is not None and again.label is not None:
            assert torch.equal(first.label, again.label), f"{first.ref.id}: the second read returned another label"


def _truths(subject: DatasetSubject) -> Iterator[tuple[Case, Any]]:
    dataset = subject.build()
    for read in subject.cases:
        truth = dataset.truth(read.ref)
        assert (truth is not None) == read.ref.has_label, f"{read.ref.id}: truth() and has_label disagree"
        if truth is not None:
            yield read, truth


def check_truth_is_on_the_native_grid(subject: DatasetSubject) -> None:
    """`truth()` returns uint8 labels of the card's classes, in the shape that `frame` states."""
    dataset = subject.build()

    def examine(pair: tuple[Case, Any]) -> None:
        read, truth = pair
        assert truth.label.dtype == torch.uint8, f"{read.ref.id}: expected uint8, found {truth.label.dtype}"
        assert tuple(truth.label.shape) == read.frame.shape, (
            f"{read.ref.id}: truth {tuple(truth.label.shape)}, frame {read.frame.shape}"
        )
        highest = highest_class(truth.label, dataset)
        assert highest < len(subject.card.classes), f"{read.ref.id}: label {highest}"
        if truth.spacing is not None:
            assert len(truth.spacing) == subject.dims and min(truth.spacing) > 0, (
                f"{read.ref.id}: spacing {truth.spacing}"
            )

    _every(_truths(subject), examine)


def check_frame_leads_back_to_the_truth(subject: DatasetSubject) -> None:
    """The working label, mapped back through the frame, matches the native truth: Dice of the foreground is above 0.6."""

    def examine(pair: tuple[Case, Any]) -> None:
        read, truth = pair
        if read.label is None or not (truth.label > 0).any() or not (read.label > 0).any():
            return
        assert len(read.frame.extent) == subject.dims
        hot = torch.stack([(read.label == 0).float(), (read.label > 0).float()])
        back = torch.from_numpy(native_labels(hot, read.frame)) > 0
        native = truth.label > 0
        dice = 2 * float((back & native).sum()) / float(back.sum() + native.sum())
        assert dice > 0.6, f"{read.ref.id}: Dice {dice:.2f} after the round trip; frame.box or shape is wrong"

    _every(_truths(subject), examine)


def check_options_refuse_unknown_keys(subject: DatasetSubject) -> None:
    """A misspelt option raises an error."""
    try:
        subject.dataset.Options.model_validate({"no_such_option": 1})
    except ValidationError:
        return
    raise AssertionError('Options accepts unknown keys: declare it with frozen=True, extra="forbid"')


def check_card_agrees(subject: DatasetSubject) -> None:
    """The class has the registered card, at least two classes and a domain; a slice axis is stated for volumes only."""
    assert subject.dataset.card == subject.card, f"{subject.dataset.__name__}.card isn't the registered card"
    assert len(subject.card.classes) >= 2 and subject.card.domains, "name the background, a class and a domain"
    axis = subject.card.slice_axis
    assert axis is None or (subject.dims == 3 and 0 <= axis < 3), f"slice_axis={axis} with dims={subject.dims}"


def check_phantom_stands_in(subject: DatasetSubject) -> None:
    """The phantom has a fingerprint, the card's dims and classes, and no files."""
    dataset = subject.build() if subject.root is None else None
    if dataset is None:
        return
    assert dataset.fingerprint, "a phantom must identify its content in `fingerprint`"
    assert dataset.card.dims == subject.card.dims and dataset.card.classes == subject.card.classes
    assert not any(dataset.files(ref) for ref in subject.refs), "a phantom must not list files"


def check_phantom_follows_its_seed(subject: DatasetSubject) -> None:
    """A different seed changes the phantom's pixels and fingerprint."""
    if subject.root is not None:
        return
    other = subject.build(seed=1)
    assert other.fingerprint != subject.build().fingerprint, "the fingerprint doesn't depend on the seed"
    same = [ref for ref in other.index() if ref.id == subject.cases[0].ref.id]
    assert not same or not torch.equal(other.read(same[0]).image, subject.cases[0].image), (
        "the pixels don't depend on the seed"
    )


def check_every_case_is_read(subject: DatasetSubject) -> None:
    """With real files, `read` and `truth` return every case that `index` lists."""
    if subject.root is None:
        return
    source = subject.build()

    def examine(ref: CaseRef) -> None:
        try:
            source.read(ref)
            source.truth(ref)
        except Exception as error:
            raise AssertionError(f"{ref.id}: {one_line(error)}") from error

    _every(subject.refs, examine)


def check_two_steps_are_trained(subject: DatasetSubject) -> None:
    """With real files in a named folder, a run of two iterations of the labels alone trains and scores."""
    if subject.data_root is None and not subject.named:
        return
    from semibench.discovery.registry import registry
    from semibench.run.execute import execute
    from semibench.run.prepare import prepare
    from semibench.run.request import Request

    dims = subject.card.network_dims or subject.dims
    methods = [
        item for item in registry().cards("methods") if item.card.reference == "labels alone" and dims in item.card.dims
    ]
    assert methods, f"no installed method trains on the labels alone in {dims}D"
    with tempfile.TemporaryDirectory() as folder:
        request = Request(
            protocol="self", dataset=subject.named or subject.card.name, method=methods[0].full_name, recipe="smoke",
            data_root=subject.data_root, settings=("iterations=2", "evaluate_every=2"), phantom="never", runs=Path(folder),
            device="cpu", threads=1, track=False, keep_predictions=False, pictures=False,
        )  # fmt: skip
        try:
            execute(prepare(request, estimate=False))
        except SemibenchError as error:
            raise AssertionError(str(error)) from error


DATASET_CHECKS: Mapping[str, Check] = {
    name.removeprefix("check_"): function for name, function in globals().items() if name.startswith("check_")
}
"""All checks of data sets, by name."""

OF_PLUGINS_ALONE = frozenset({"missing_files_are_said", "phantom_stands_in", "phantom_follows_its_seed"})
"""Checks that say nothing of a data set of one's own: its folder was found, and it has no phantom."""
