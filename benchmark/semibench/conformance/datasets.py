"""What every data set must do, one fact for each check, on its phantom (or on files, where a root is given). A check raises
AssertionError with what is wrong."""

from __future__ import annotations

import contextlib
import importlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from pydantic import ValidationError

from semibench.contracts.cards import DatasetCard
from semibench.contracts.cases import Case, CaseRef, Dataset, PhantomOptions
from semibench.contracts.errors import LayoutError, PluginError
from semibench.data.catalog import check_index as keep_contract
from semibench.evaluation.inference import native_labels

CASES = {2: 8, 3: 3}
READ = {2: 4, 3: 2}
"""Cases of the phantom, and how many of them are decoded."""


@dataclass(frozen=True, eq=False)
class DatasetCase:
    """A data set in a small setting. root: official files in place of the phantom. scale: of the phantom's native size."""

    dataset: type[Dataset]
    card: DatasetCard
    root: Path | None = None
    scale: float = 0.25

    @property
    def dims(self) -> int:
        return self.card.dims

    def build(self, seed: int = 0, **options: Any) -> Dataset:
        """The phantom, or the real set where there is a root; options of the data set."""
        chosen = self.dataset.Options(**({} if "size" in options or self.dims == 3 else {"size": (48, 48)}), **options)
        if self.root is not None:
            return self.dataset(self.root, chosen)
        number = max(CASES[self.dims], len(self.card.domains))
        return self.dataset.phantom(chosen, PhantomOptions(cases=number, seed=seed, scale=self.scale))

    @cached_property
    def refs(self) -> tuple[CaseRef, ...]:
        return tuple(self.build().index())

    @cached_property
    def cases(self) -> tuple[Case, ...]:
        """Some decoded cases; look at them, don't change them."""
        source = self.build()
        return tuple(source.read(ref) for ref in self.refs[: READ[self.dims]])


Check = Callable[[DatasetCase], None]


def check_index_keeps_the_contract(case: DatasetCase) -> None:
    """Cases are of this data set, ids unique and sorted, groups non-empty, domains those of the card."""
    dataset = case.build()
    try:
        keep_contract(dataset, dataset.index(), case.card.name)
    except PluginError as error:
        raise AssertionError(str(error)) from error


def check_index_is_the_same_again(case: DatasetCase) -> None:
    """Two indexes of the same files are equal."""
    assert case.build().index() == list(case.refs), "index() gives other cases the second time"


DECODERS = (
    ("PIL.ImageFile", "ImageFile.load"),
    ("nibabel.arrayproxy", "ArrayProxy._get_scaled"),
    ("SimpleITK", "ReadImage"),
    ("h5py", "Dataset.__getitem__"),
    ("numpy.lib.npyio", "NpzFile.__getitem__"),
)
"""Where the usual libraries decode pixels. Opening a file to read its header is no decoding."""


def check_index_decodes_no_pixels(case: DatasetCase) -> None:
    """index() calls neither read nor truth, and none of the usual decoders of images and volumes."""
    dataset, touched = case.build(), []

    def noted(name: str, real: Callable[..., Any] | None = None) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            touched.append(name)
            return real(*arguments, **keywords) if real is not None else None

        return call

    with contextlib.ExitStack() as stack:
        for name in ("read", "truth"):
            stack.enter_context(mock.patch.object(dataset, name, noted(name)))
        for module, path in DECODERS:
            holder: Any = importlib.import_module(module)
            *classes, attribute = path.split(".")
            for part in classes:
                holder = getattr(holder, part)
            real = getattr(holder, attribute)
            stack.enter_context(mock.patch.object(holder, attribute, noted(f"{module}.{path}", real)))
        dataset.index()
    assert not touched, f"index() calls {sorted(set(touched))}: it must read names, headers and small tables only"


def check_missing_files_are_said(case: DatasetCase) -> None:
    """Where the folder is empty, index() raises LayoutError, which shows the expected tree."""
    with tempfile.TemporaryDirectory() as empty:
        try:
            found = case.dataset(Path(empty), case.dataset.Options()).index()
        except LayoutError as error:
            assert str(error).strip(), "the LayoutError has no message"
            return
    raise AssertionError(f"expected LayoutError for an empty folder; index() returned {len(found)} cases")


def check_images_are_float_and_finite(case: DatasetCase) -> None:
    """Images are float32 (C, *spatial), finite, with the card's channels."""
    for read in case.cases:
        shape = tuple(read.image.shape)
        assert read.image.dtype == torch.float32, f"{read.ref.id}: expected float32, found {read.image.dtype}"
        assert len(shape) == case.dims + 1 and shape[0] == case.card.channels, (
            f"{read.ref.id}: expected ({case.card.channels}, *{case.dims} sides), found {shape}"
        )
        assert read.image.isfinite().all(), f"{read.ref.id}: NaN or infinity in the image"


def check_images_have_contrast_and_a_sane_range(case: DatasetCase) -> None:
    """No image is constant, and none holds values beyond 100: raw grey levels and Hounsfield units are not normalised."""
    for read in case.cases:
        low, high = float(read.image.min()), float(read.image.max())
        assert high > low, f"{read.ref.id}: every voxel is {low:g}"
        assert max(abs(low), abs(high)) <= 100, f"{read.ref.id}: values from {low:g} to {high:g}; normalise in read()"


def check_labels_are_classes(case: DatasetCase) -> None:
    """Labels are uint8 (*spatial) in 0..K-1, on the image's grid, and present exactly where has_label says so."""
    classes = len(case.card.classes)
    for read in case.cases:
        assert (read.label is not None) == read.ref.has_label, f"{read.ref.id}: has_label is {read.ref.has_label}"
        if read.label is None:
            continue
        assert read.label.dtype == torch.uint8, f"{read.ref.id}: expected uint8 labels, found {read.label.dtype}"
        assert read.label.shape == read.image.shape[1:], f"{read.ref.id}: label {tuple(read.label.shape)}"
        assert int(read.label.max()) < classes, f"{read.ref.id}: label {int(read.label.max())} of {classes} classes"


def check_some_label_has_foreground(case: DatasetCase) -> None:
    """Among the decoded labeled cases at least one holds foreground."""
    labels = [read.label for read in case.cases if read.label is not None]
    assert not labels or any(bool((label > 0).any()) for label in labels), "no decoded case holds foreground"


def check_read_is_the_same_again(case: DatasetCase) -> None:
    """Another object reads the same digits."""
    dataset = case.build()
    for first in case.cases[:2]:
        again = dataset.read(first.ref)
        assert torch.equal(first.image, again.image), f"{first.ref.id}: another image the second time"
        if first.label is not None and again.label is not None:
            assert torch.equal(first.label, again.label), f"{first.ref.id}: another label the second time"


def _truths(case: DatasetCase) -> Iterator[tuple[Case, Any]]:
    dataset = case.build()
    for read in case.cases:
        truth = dataset.truth(read.ref)
        assert (truth is not None) == read.ref.has_label, f"{read.ref.id}: truth() and has_label disagree"
        if truth is not None:
            yield read, truth


def check_truth_is_on_the_native_grid(case: DatasetCase) -> None:
    """truth() gives uint8 labels of the card's classes on the shape that `frame` names."""
    for read, truth in _truths(case):
        assert truth.label.dtype == torch.uint8, f"{read.ref.id}: expected uint8, found {truth.label.dtype}"
        assert tuple(truth.label.shape) == read.frame.shape, (
            f"{read.ref.id}: truth {tuple(truth.label.shape)}, frame {read.frame.shape}"
        )
        assert int(truth.label.max()) < len(case.card.classes), f"{read.ref.id}: label {int(truth.label.max())}"
        if truth.spacing is not None:
            assert len(truth.spacing) == case.dims and min(truth.spacing) > 0, f"{read.ref.id}: spacing {truth.spacing}"


def check_frame_leads_back_to_the_truth(case: DatasetCase) -> None:
    """The working label, put back through the frame, covers the native truth: Dice of the foreground above 0.6."""
    for read, truth in _truths(case):
        if read.label is None or not (truth.label > 0).any() or not (read.label > 0).any():
            continue
        assert len(read.frame.extent) == case.dims
        hot = torch.stack([(read.label == 0).float(), (read.label > 0).float()])
        back = torch.from_numpy(native_labels(hot, read.frame)) > 0
        native = truth.label > 0
        dice = 2 * float((back & native).sum()) / float(back.sum() + native.sum())
        assert dice > 0.6, f"{read.ref.id}: Dice {dice:.2f} after the round trip; frame.box or shape is wrong"


def check_options_refuse_unknown_keys(case: DatasetCase) -> None:
    """A misspelt option is an error."""
    try:
        case.dataset.Options.model_validate({"no_such_option": 1})
    except ValidationError:
        return
    raise AssertionError('Options accepts unknown keys: declare it with frozen=True, extra="forbid"')


def check_card_agrees(case: DatasetCase) -> None:
    """The class has the card that is registered, K >= 2 classes, and an axis for slices where it holds volumes."""
    assert case.dataset.card == case.card, f"{case.dataset.__name__}.card isn't the registered card"
    assert len(case.card.classes) >= 2 and case.card.domains, "name the background, a class and a domain"
    axis = case.card.slice_axis
    assert axis is None or (case.dims == 3 and 0 <= axis < 3), f"slice_axis={axis} with dims={case.dims}"


def check_phantom_stands_in(case: DatasetCase) -> None:
    """The phantom has a fingerprint, the asked number of cases, all domains of the card, and no file."""
    dataset = case.build() if case.root is None else None
    if dataset is None:
        return
    assert dataset.fingerprint, "a phantom names its content in `fingerprint`"
    assert dataset.card.dims == case.card.dims and dataset.card.classes == case.card.classes
    assert not any(dataset.files(ref) for ref in case.refs), "a phantom has no files"


def check_phantom_follows_its_seed(case: DatasetCase) -> None:
    """Another phantom seed gives other pixels and another fingerprint."""
    if case.root is not None:
        return
    other = case.build(seed=1)
    assert other.fingerprint != case.build().fingerprint, "the fingerprint doesn't depend on the seed"
    same = [ref for ref in other.index() if ref.id == case.cases[0].ref.id]
    assert not same or not torch.equal(other.read(same[0]).image, case.cases[0].image), "another seed, the same pixels"


DATASET_CHECKS: Mapping[str, Check] = {
    name.removeprefix("check_"): function for name, function in globals().items() if name.startswith("check_")
}
"""All checks by name."""
