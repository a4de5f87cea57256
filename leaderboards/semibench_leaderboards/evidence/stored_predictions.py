"""Scores stored predictions again, under the same or another convention."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from semibench.contracts.cases import Case, CaseRef, Frame
from semibench.contracts.errors import CaseError, UnknownNameError, UnsupportedError
from semibench.contracts.metric import Convention
from semibench.discovery.registry import registry
from semibench.evaluation.inference import resolve
from semibench.evaluation.run_scores import lengthen, one_grid, prediction_name, summary_records
from semibench.evaluation.scoring import COUNTS, KEYS, applicable, score_prediction
from semibench.evaluation.summary import check_table, summarise
from semibench.reporting import Reporter
from semibench.runfolder.format import PREDICTIONS
from semibench.runfolder.records import ScoreSummary
from semibench_leaderboards.evidence.containers import Container, ContainerError, read_labels, read_names, read_working
from semibench_leaderboards.evidence.opening import RunInputs

Labels = NDArray[Any]


@dataclass
class StoredPredictions:
    """The predictions in a container: predictions/<checkpoint>/<predictor>/<case>.npz.

    Each file has a label map on the native grid and, where that is another one, on the working grid.
    """

    container: Container

    @cached_property
    def folders(self) -> dict[tuple[str, str], dict[str, tuple[str, ...]]]:
        """(checkpoint, predictor) -> folder -> conventions whose inference made the predictions.

        A second inference of a predictor is stored in `<predictor>@<convention>`.
        """
        by_predictor: dict[tuple[str, str], dict[str, tuple[str, ...]]] = {}
        for name in self.container.names():
            parts = PurePosixPath(name).parts
            if len(parts) == 4 and parts[0] == PREDICTIONS and name.endswith(".npz"):
                folder = "/".join(parts[:3])
                folders = by_predictor.setdefault((parts[1], parts[2].split("@")[0]), {})
                if not folders.get(folder):  # a file that lacks them says nothing of the others
                    folders[folder] = self._conventions(name)
        return by_predictor

    def _conventions(self, name: str) -> tuple[str, ...]:
        return read_names(self.container.read(name), f"{self.container.path}: {name}", "conventions")

    def labels(self, folder: str, ref: CaseRef) -> Labels:
        """The label map of a case on the native grid. Raises ContainerError where there is none."""
        name = f"{folder}/{prediction_name(ref)}.npz"
        if not self.container.has(name):
            raise ContainerError(f"{self.container.path}: no prediction of case {ref.key}: {name} isn't there")
        return read_labels(self.container.read(name), name)

    def working(self, folder: str, ref: CaseRef) -> Labels | None:
        """The label map of a case on the working grid; None where it wasn't stored (one grid for both, or an older run)."""
        name = f"{folder}/{prediction_name(ref)}.npz"
        return read_working(self.container.read(name), name) if self.container.has(name) else None


@dataclass
class Rescored:
    """Scores of one (checkpoint, predictor) under some conventions."""

    table: pd.DataFrame | None = None
    """Long, as scores.parquet."""
    records: list[ScoreSummary] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    """Convention -> why it can't be computed from label maps."""


def conventions_by_name(names: Sequence[str]) -> dict[str, Convention]:
    """Name in tables of scores -> convention. Raises UnknownNameError for a convention that isn't installed."""
    plugins = registry()
    items = [plugins.get("conventions", name) for name in names]
    return {plugins.label(item): item.resolve()() for item in items}


def rescore_stored(
    stored: StoredPredictions, inputs: RunInputs, refs: Sequence[CaseRef], checkpoint: str, predictor: str,
    conventions: Mapping[str, Convention], reporter: Reporter | None = None,
) -> Rescored:  # fmt: skip
    """Scores a stored predictor under conventions, each from the predictions that its own inference made."""
    folders = stored.folders.get((checkpoint, predictor), {})
    rescored = Rescored()
    by_folder: dict[str, dict[str, Convention]] = {}
    for name, convention in conventions.items():
        folder, reason = _folder_for(name, convention, folders, inputs)
        if folder is None:
            rescored.skipped[name] = reason
        else:
            by_folder.setdefault(folder, {})[name] = convention
    for folder, members in by_folder.items():
        part = score_labels(
            partial(stored.labels, folder),
            inputs,
            refs,
            checkpoint,
            predictor,
            members,
            reporter,
            working=partial(stored.working, folder),
        )
        rescored.records += part.records
        rescored.skipped |= part.skipped
        tables = [table for table in (rescored.table, part.table) if table is not None]
        rescored.table = pd.concat(tables, ignore_index=True) if tables else None
    return rescored


def _folder_for(
    name: str, convention: Convention, folders: Mapping[str, tuple[str, ...]], inputs: RunInputs
) -> tuple[str | None, str]:
    """The folder with the predictions of a convention's inference, or None and the reason why there is none."""
    if not folders:
        return None, "no predictions are stored (the run was made with --no-predictions)"
    reason = applicable(convention, dims=inputs.dims, case_dims=inputs.card.dims)
    if reason is not None:
        return None, reason
    for folder, made_for in folders.items():
        if name in made_for:
            return folder, ""
    inference = resolve(convention.inference, dims=inputs.dims, case_dims=inputs.card.dims)
    for folder, made_for in folders.items():
        for other in made_for:
            try:
                (made,) = conventions_by_name([other]).values()
                if resolve(made.inference, dims=inputs.dims, case_dims=inputs.card.dims) == inference:
                    return folder, ""
            except (UnsupportedError, UnknownNameError):  # the second: in a file that nobody named
                continue
    stored_conventions = ", ".join(sorted({other for made_for in folders.values() for other in made_for}))
    return (
        None,
        f"no predictions of its inference ({inference.mode}) are stored, only those of {stored_conventions}; run again with it",
    )


def score_labels(
    labels: Callable[[CaseRef], Labels], inputs: RunInputs, refs: Sequence[CaseRef], checkpoint: str, predictor: str,
    conventions: Mapping[str, Convention], reporter: Reporter | None = None, *,
    working: Callable[[CaseRef], Labels | None] = lambda ref: None,
) -> Rescored:  # fmt: skip
    """Scores label maps on the native grid.

    A convention on the working grid uses `working`, label maps on that grid, or the native ones where both grids are the same. A
    convention that has neither is skipped with the reason.

    Raises CaseError, which names the case, for a wrong shape, an unknown label or a missing reference.
    """
    reporter = reporter or Reporter()
    rescored = Rescored()
    rows: list[dict[str, Any]] = []
    classes = inputs.card.classes
    reporter.phase(f"score {checkpoint} {predictor}", len(refs))
    left = dict(conventions)
    for done, ref in enumerate(refs, 1):
        dataset = inputs.datasets[ref.dataset]
        truth = dataset.truth(ref)
        if truth is None:
            raise CaseError(f"{ref.key} has no reference; it can't be scored")
        prediction = checked_labels(labels(ref), tuple(truth.label.shape), len(classes), ref)
        needed = any(convention.grid == "working" for convention in left.values())
        case = dataset.read(ref) if needed else Case(ref, torch.empty(0), None, None, Frame(prediction.shape))
        on_working = _on_working(case, prediction, working(ref), len(classes)) if needed else None
        for name, convention in list(left.items()):
            chosen = prediction if convention.grid == "native" else on_working
            if chosen is None:
                rescored.skipped[name] = (
                    "it scores on the working grid, but the stored label maps are on the native one (new runs store both)"
                )
                del left[name]
                continue
            for row in score_prediction(case, truth, chosen, convention, classes):
                rows.append({"predictor": predictor, "convention": name} | row)
        reporter.advance(done)
        if not left:
            break
    reporter.end()
    if left:
        metrics = list(dict.fromkeys(metric for convention in left.values() for metric in convention.metrics))
        wide = pd.DataFrame(rows, columns=[*KEYS, *COUNTS, *metrics])
        wide = wide[wide["convention"].isin(list(left))]
        check_table(wide, [ref.key for ref in refs], left)
        rescored.table = lengthen(wide, checkpoint, left)
        rescored.records = summary_records(summarise(wide, left), checkpoint, left, wide)
    return rescored


def _on_working(case: Case, native: Labels, stored: Labels | None, classes: int) -> Labels | None:
    """The label map on the working grid, or None where it isn't known. Raises CaseError for a wrong shape or label."""
    if one_grid(case):
        return native
    return None if stored is None else checked_labels(stored, tuple(case.image.shape[1:]), classes, case.ref)


def checked_labels(labels: Labels, shape: tuple[int, ...], classes: int, ref: CaseRef) -> NDArray[np.uint8]:
    """The labels as bytes. Raises CaseError for a shape that isn't the reference's, or a value that isn't a class."""
    if labels.shape != shape:
        hint = ""
        if tuple(reversed(labels.shape)) == shape:
            hint = "; its axes are in reverse order"
        elif labels.ndim == len(shape) + 1 and 1 in labels.shape:
            hint = "; it has an axis too many"
        raise CaseError(f"{ref.key}: expected a label map of shape {shape}, found {labels.shape}{hint}")
    low, high = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    if low < 0 or high >= classes:
        values = np.unique(labels)
        odd = [int(value) for value in values if not 0 <= value < classes][:5]
        hint = " (a mask of 0 and 255 must be divided by 255)" if set(values.tolist()) <= {0, 255} else ""
        raise CaseError(f"{ref.key}: labels are 0..{classes - 1}, found {', '.join(map(str, odd))}{hint}")
    return labels.astype(np.uint8, copy=False)
