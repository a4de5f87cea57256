"""Pictures of test cases with truth and stored predictions. The data set is opened from the run's spec."""

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
from semibench.data.declared.naming import find_dataset, place_of
from semibench.discovery.registry import registry
from semibench.evaluation.run_scores import prediction_name
from semibench.pictures import Overlay, overlays, slice_of
from semibench.runfolder.format import PREDICTIONS
from semibench_leaderboards.reading.records import RunRecord


class NoPictureError(SemibenchError):
    """A case can't be shown because its files or its stored prediction are missing."""


@dataclass(frozen=True)
class CaseView:
    """A case on the working grid."""

    ref: CaseRef
    image: NDArray[np.float32]
    """(C, *spatial)."""
    truth: NDArray[np.uint8] | None
    """(*spatial)."""
    predictions: Mapping[str, NDArray[np.uint8]]
    """Name of the row -> (*spatial)."""


class Viewer:
    """Reads cases of the main data set of a track. Raises NoPictureError where the files of the data set aren't found."""

    def __init__(self, record: RunRecord, data_root: Path | None = None) -> None:
        part = record.spec.track.dataset
        item = find_dataset(registry(), part.name)
        cls: type[Dataset] = item.resolve()
        options = {name: value for name, value in part.options.items() if name != "phantom"}
        dataset_options = cls.Options.model_validate(options)
        phantom = part.options.get("phantom")
        self.card: DatasetCard = item.card
        if phantom is not None:
            self.dataset = cls.phantom(dataset_options, PhantomOptions.model_validate(phantom))
        else:
            location = place_of(item, data_root)
            if location.path is None:
                raise NoPictureError(f"no pictures: {location.explain()}")
            self.dataset = cls(location.path, dataset_options)
        self.refs = {ref.key: ref for ref in self.dataset.index()}

    def view(self, key: str, predictions: Mapping[str, tuple[RunRecord, str, str]]) -> CaseView:
        """A case with stored predictions.

        Args:
            key: "dataset/id" of the case.
            predictions: name of the row -> (run, checkpoint, predictor).

        Raises:
            NoPictureError: the case belongs to another data set, or a run kept no prediction of it.
        """
        if key not in self.refs:
            raise NoPictureError(f"case {key} isn't one of data set {self.card.name!r}")
        ref = self.refs[key]
        case = self.dataset.read(ref)
        image = np.asarray(case.image, dtype=np.float32)
        truth = None if case.label is None else np.asarray(case.label, dtype=np.uint8)
        label_maps = {
            name: on_working(stored_prediction(record, checkpoint, predictor, ref), case.frame, image.shape[1:])
            for name, (record, checkpoint, predictor) in predictions.items()
        }
        return CaseView(ref, image, truth, label_maps)


def stored_prediction(record: RunRecord, checkpoint: str, predictor: str, ref: CaseRef) -> NDArray[np.uint8]:
    """The label map that a run kept of a case, on the native grid. Raises NoPictureError where it kept none."""
    file = record.folder / PREDICTIONS / checkpoint / predictor / f"{prediction_name(ref)}.npz"
    if not file.is_file():
        raise NoPictureError(f"run {record.folder.name} kept no prediction of {ref.key}: {file} is missing")
    with np.load(file, allow_pickle=False) as stored:
        return np.asarray(stored["label"], dtype=np.uint8)


def on_working(labels: NDArray[np.uint8], frame: Frame, size: Sequence[int]) -> NDArray[np.uint8]:
    """Resamples a label map from the native to the working grid, (*size), by the nearest native voxel."""
    indices = []
    for (start, stop), sides, length in zip(frame.extent, labels.shape, size, strict=True):
        index = start + np.floor((np.arange(length) + 0.5) * (stop - start) / length).astype(int)
        indices.append(np.clip(index, 0, sides - 1))
    return labels[np.ix_(*indices)]


def draw_cases(views: Sequence[tuple[CaseView, Mapping[str, str]]], card: DatasetCard, path: Path, title: str) -> Path:
    """Draws a panel for each prediction of each case, with the contours of truth and prediction, into one PNG.

    views: cases, each with the titles of its panels by name of the row.
    """
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
