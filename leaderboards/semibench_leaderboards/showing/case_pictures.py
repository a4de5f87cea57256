"""Image, truth and stored prediction of a test case, for pictures: the data set is opened from the run's spec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semibench.contracts.cards import DatasetCard
from semibench.contracts.cases import CaseRef, Dataset, Frame, PhantomOptions
from semibench.contracts.errors import SemibenchError, UsageError
from semibench.data.roots import locate
from semibench.evaluation.run_scores import prediction_name
from semibench.pictures import Overlay, overlays, slice_of
from semibench.registry import registry
from semibench_leaderboards.reading.records import RunRecord


class NoPictureError(SemibenchError):
    """A case can't be shown: its files or its stored prediction aren't there."""


@dataclass(frozen=True)
class View:
    """A case on the working grid. image (C, *spatial); truth and predictions (*spatial), by name of the row."""

    ref: CaseRef
    image: NDArray[np.float32]
    truth: NDArray[np.uint8] | None
    predictions: Mapping[str, NDArray[np.uint8]]


class Viewer:
    """Opens cases of the main data set of a track. Raises NoPictureError where its files aren't found."""

    def __init__(self, record: RunRecord, data_root: Path | None = None) -> None:
        part = record.spec.track.dataset
        item = registry().get("datasets", part.name)
        cls: type[Dataset] = item.resolve()
        options = {name: value for name, value in part.options.items() if name != "phantom"}
        chosen = cls.Options.model_validate(options)
        phantom = part.options.get("phantom")
        self.card: DatasetCard = item.card
        if phantom is not None:
            self.dataset = cls.phantom(chosen, PhantomOptions.model_validate(phantom))
        else:
            place = locate(item.name, data_root, aliases=item.card.folders)
            if place.path is None:
                raise NoPictureError(f"no pictures: {place.explain()}")
            self.dataset = cls(place.path, chosen)
        self.refs = {ref.key: ref for ref in self.dataset.index()}

    def view(self, key: str, predictions: Mapping[str, tuple[RunRecord, str, str]]) -> View:
        """A case with predictions: name -> (run, checkpoint, predictor). Raises NoPictureError for a case of another data
        set and where a run kept no predictions."""
        if key not in self.refs:
            raise NoPictureError(f"case {key} isn't one of data set {self.card.name!r}")
        ref = self.refs[key]
        case = self.dataset.read(ref)
        image = np.asarray(case.image, dtype=np.float32)
        truth = None if case.label is None else np.asarray(case.label, dtype=np.uint8)
        found = {
            name: on_working(stored_prediction(record, checkpoint, predictor, ref), case.frame, image.shape[1:])
            for name, (record, checkpoint, predictor) in predictions.items()
        }
        return View(ref, image, truth, found)


def stored_prediction(record: RunRecord, checkpoint: str, predictor: str, ref: CaseRef) -> NDArray[np.uint8]:
    """The label map on the native grid that a run kept. Raises NoPictureError where it kept none."""
    file = record.folder / "predictions" / checkpoint / predictor / f"{prediction_name(ref)}.npz"
    if not file.is_file():
        raise NoPictureError(f"run {record.folder.name} kept no prediction of {ref.key}: {file} isn't there")
    with np.load(file, allow_pickle=False) as stored:
        return np.asarray(stored["label"], dtype=np.uint8)


def on_working(labels: NDArray[np.uint8], frame: Frame, size: Sequence[int]) -> NDArray[np.uint8]:
    """A label map of the native grid on the working grid, (*size): the nearest native voxel of each."""
    picked = []
    for (start, stop), sides, wanted in zip(frame.extent, labels.shape, size, strict=True):
        index = start + np.floor((np.arange(wanted) + 0.5) * (stop - start) / wanted).astype(int)
        picked.append(np.clip(index, 0, sides - 1))
    return labels[np.ix_(*picked)]


def draw_pairs(views: Sequence[tuple[View, Mapping[str, str]]], card: DatasetCard, path: Path, title: str) -> Path:
    """One PNG: for each case a panel by prediction, truth and prediction as contours, titled by the texts given."""
    panels: list[Overlay] = []
    columns = max((len(view.predictions) for view, _ in views), default=0)
    for view, titles in views:
        for name, prediction in view.predictions.items():
            image: Any = view.image
            text = titles[name]
            if image.ndim == 4:
                panels.append(slice_of(text, image, view.truth, prediction, axis=card.slice_axis or 0))
            else:
                panels.append(Overlay(text, image, view.truth, prediction))
    if path.suffix != ".png":
        raise UsageError(f"pictures are PNG files, found {path}")
    return overlays(panels, path, classes=card.classes, title=title, columns=2 * columns if columns < 3 else columns)
