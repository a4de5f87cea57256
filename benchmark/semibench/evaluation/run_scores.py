"""Score a trained run: both checkpoints, every predictor, several conventions; for each case, and in one record."""

from __future__ import annotations

import copy
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from semibench.blocks.datasets.phantom_dataset import PhantomDataset
from semibench.contracts.cases import Case, CaseRef, Dataset, Truth
from semibench.contracts.errors import PluginError, UsageError
from semibench.contracts.metric import Convention
from semibench.data.cache import CaseStore
from semibench.data.drawn_truths import DrawnTruths
from semibench.discovery.guard import calling, returned, returned_mapping, wrong_return
from semibench.discovery.registry import Registry
from semibench.evaluation.network import Network
from semibench.evaluation.scoring import COUNTS, applicable, score_cases, validate
from semibench.evaluation.summary import MEAN, check_table, summarise
from semibench.evaluation.validation_cases import validation_cases
from semibench.evaluation.weight_layout import lay_out
from semibench.files import write_atomically
from semibench.reporting import Reporter
from semibench.runfolder.records import ScoreSummary

if TYPE_CHECKING:
    from semibench.contracts.method import Method

Prediction = np.ndarray
IDENTITY = ["case", "group", "domain", "predictor", "convention", "class", "label"]


def conventions_for(
    plugins: Registry, names: Sequence[str], *, dims: int, case_dims: int, dataset: str
) -> tuple[dict[str, Convention], list[str]]:
    """Return the requested conventions, or all that apply and are made for the data set; and why others were skipped.

    Raise UsageError if a requested one cannot be used.
    """
    conventions: dict[str, Convention] = {}
    skipped: list[str] = []
    items = [plugins.get("conventions", name) for name in names] if names else plugins.cards("conventions")
    for item in items:
        label = plugins.label(item)
        try:
            cls = item.resolve()
        except PluginError as error:
            if names:
                raise
            skipped.append(f"{label}: {error}")
            continue
        with calling(cls, "__init__"):
            convention: Convention = cls()
        reason = applicable(convention, dims=dims, case_dims=case_dims)
        if reason is None and not names and not item.card.default:
            reason = f"ask for it with --convention {label}"
        if reason is None and not names and item.card.datasets and dataset not in item.card.datasets:
            reason = f"made for {', '.join(item.card.datasets)}; ask for it with --convention {label}"
        if reason is None:
            conventions[label] = convention
        elif names:
            raise UsageError(f"convention {label!r}: {reason}")
        else:
            skipped.append(f"{label}: {reason}")
    return conventions, skipped


def divisor_of(method: Method) -> int:
    """Return the number that every side of the input must be a multiple of, for all backbones of a method."""
    from semibench.contracts.backbone import Backbone

    return math.lcm(1, *(module.divisor for module in method.modules() if isinstance(module, Backbone)))


def predictors_of(method: Method) -> Mapping[str, Any]:
    """Return what a method says can be scored; raise PluginError unless it is names and functions, at least one."""
    with calling(method, "predictors"):
        predictors = returned_mapping(method, "predictors", method.predictors(), "name -> function, at least one")
    if not predictors or not all(map(callable, predictors.values())):
        raise wrong_return(method, "predictors", "name -> function, at least one", predictors)
    return predictors


class Truths:
    """References on the native grid. They are cached up to a budget in bytes; the rest is read each time.

    Those of phantoms are drawn once on a machine: `keep` writes them to the cache."""

    def __init__(self, datasets: Mapping[str, Dataset], budget: int = 2**30) -> None:
        self._datasets, self._bytes_left = datasets, budget
        self._cached: dict[CaseRef, Truth | None] = {}
        self._drawn = {
            name: DrawnTruths(dataset) for name, dataset in datasets.items() if isinstance(dataset, PhantomDataset)
        }

    def __getitem__(self, ref: CaseRef) -> Truth | None:
        if ref in self._cached:
            return self._cached[ref]
        dataset, drawn = self._datasets[ref.dataset], self._drawn.get(ref.dataset)
        with calling(dataset, "truth"):
            truth = dataset.truth(ref) if drawn is None else drawn.truth(ref)
        if truth is not None:
            returned(dataset, "truth", truth, Truth, "a Truth or None")
        size = 0 if truth is None else truth.label.nbytes
        if size <= self._bytes_left:
            self._cached[ref] = truth
            self._bytes_left -= size
        return truth

    def keep(self) -> None:
        """Writes the references of phantoms that were drawn."""
        for drawn in self._drawn.values():
            drawn.write()


def pairs(store: CaseStore, truths: Truths, refs: Sequence[CaseRef]) -> Iterator[tuple[Case, Truth | None]]:
    """Yield cases with their reference on the native grid."""
    for ref in refs:
        yield store.case(ref), truths[ref]


def validator(
    method: Method, store: CaseStore, datasets: Mapping[str, Dataset], refs: Sequence[CaseRef], classes: Sequence[str],
    network: Network, most: int,
) -> Callable[[Method], float] | None:  # fmt: skip
    """Return a function that measures the default predictor's mean foreground Dice on validation cases; None without cases.

    It uses the convention `semibench-1` and `most` evenly spaced cases (0: all).
    """
    if not refs:
        return None
    truths = Truths(datasets)
    loaded = list(pairs(store, truths, validation_cases(refs, most)))
    truths.keep()

    def measure(trained: Method) -> float:
        name, predictor = next(iter(predictors_of(trained).items()))
        return validate({name: predictor}, loaded, classes=classes, network=network, model=trained)[name]

    return measure


def score_run(
    method: Method, load: Callable[[str], bool], store: CaseStore, datasets: Mapping[str, Dataset], refs: Sequence[CaseRef],
    *, classes: Sequence[str], network: Network, conventions: Mapping[str, Convention], reporter: Reporter,
    predictions: Path | None,
) -> tuple[pd.DataFrame, list[ScoreSummary], float]:  # fmt: skip
    """Score all checkpoints of a run. Where the best weights are the last ones, they are scored once.

    Args:
        method: receives the weights.
        load: loads the weights of a checkpoint ("last", "best") into the method; returns False if there is none.
        store: decoded cases.
        datasets: data sets by name, for the references.
        refs: the cases to score.
        classes: names of the classes; the first is the background.
        network: what inference needs to know.
        conventions: conventions by their name in the table.
        reporter: receives progress.
        predictions: folder for label maps on the native grid, <checkpoint>/<predictor>/<case>.npz; None: none are written.

    Returns:
        The long table of scores, its summary records, and the seconds for each case and predictor.
    """
    truths = Truths(datasets)
    scored: _Scored | None = None
    tables, records = [], []
    seconds = float("nan")
    for checkpoint in ("last", "best"):
        if not load(checkpoint):
            continue
        reporter.phase(f"score {checkpoint}", len(refs))
        if scored is not None and same_weights(scored.weights, method.state_dict()):
            reporter.advance(len(refs))
            if predictions is not None:
                shutil.copytree(predictions / scored.checkpoint, predictions / checkpoint, dirs_exist_ok=True)
            table = scored.table.assign(checkpoint=checkpoint)
            summary = [record.model_copy(update={"checkpoint": checkpoint}) for record in scored.summary]
        else:
            predictors = dict(predictors_of(method))
            if scored is None and refs:
                lay_out(method, predictors, network, store.shape(refs[0])[0])
            keep = _keeper(predictions / checkpoint) if predictions is not None else None
            start = time.perf_counter()
            wide = score_cases(
                predictors, pairs(store, truths, refs), conventions, classes=classes, network=network, model=method,
                keep=keep, progress=reporter.advance,
            )  # fmt: skip
            if checkpoint == "last":
                seconds = (time.perf_counter() - start) / max(1, len(refs) * len(predictors))
                truths.keep()
            check_table(wide, [ref.key for ref in refs], conventions)
            table = lengthen(wide, checkpoint, conventions)
            summary = summary_records(summarise(wide, conventions), checkpoint, conventions, wide)
            scored = _Scored(checkpoint, copy.deepcopy(method.state_dict()), table, summary)
        reporter.end()
        tables.append(table)
        records += summary
    return pd.concat(tables, ignore_index=True), records, seconds


@dataclass(frozen=True)
class _Scored:
    """A checkpoint that was scored: its weights, and what came out."""

    checkpoint: str
    weights: Mapping[str, Any]
    table: pd.DataFrame
    summary: list[ScoreSummary]


def same_weights(first: Any, second: Any) -> bool:
    """Return whether two states of a method hold equal values under equal names; a NaN equals nothing."""
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        return first.dtype == second.dtype and first.device == second.device and torch.equal(first, second)
    if type(first) is not type(second):
        return False
    if isinstance(first, Mapping):
        return list(first) == list(second) and all(same_weights(first[name], second[name]) for name in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same_weights, first, second))
    return isinstance(first, bool | int | float | str | bytes | None) and first == second


def lengthen(wide: pd.DataFrame, checkpoint: str, conventions: Mapping[str, Convention]) -> pd.DataFrame:
    """Reshape a table to one row for each case, class and metric.

    Columns: checkpoint, predictor, convention, dataset, case, group, domain, class, label, metric, value, unit, empty_truth,
    empty_prediction ...
    """
    parts = []
    for name, part in wide.groupby("convention", sort=False):
        convention = conventions[str(name)]
        long = part.melt([*IDENTITY, *COUNTS], list(convention.metrics), "metric", "value")
        long["unit"] = [convention.metrics[str(metric)].unit for metric in long["metric"]]
        parts.append(long)
    table = pd.concat(parts, ignore_index=True)
    table.insert(0, "checkpoint", checkpoint)
    table.insert(1, "dataset", table["case"].str.split("/").str[0])
    table["case"] = table["case"].str.split("/", n=1).str[1]
    return table


def summary_records(
    summary: pd.DataFrame, checkpoint: str, conventions: Mapping[str, Convention], wide: pd.DataFrame
) -> list[ScoreSummary]:
    """Return one record for each predictor, convention and metric; it contains the class means."""
    records = []
    for (predictor, name, metric), part in summary.groupby(["predictor", "convention", "metric"], sort=False):
        rows = part.to_dict("records")
        overall = next(row for row in rows if row["class"] == MEAN)
        convention = conventions[str(name)]
        records.append(
            ScoreSummary(
                checkpoint=checkpoint,
                predictor=str(predictor),
                convention=str(name),
                metric=str(metric),
                unit=convention.metrics[str(metric)].unit,
                main=metric == convention.main,
                higher=convention.metrics[str(metric)].higher,
                own_mean=type(convention).aggregate is not Convention.aggregate,
                mean=_defined(overall["mean"]),
                std_over_cases=_defined(overall["std"]),
                per_class={str(row["class"]): _defined(row["mean"]) for row in rows if row["class"] != MEAN},
                n=int(overall["n"]),
                defined=int(overall["defined"]),
                empty_truth=int(overall["empty_truth"]),
                empty_prediction=int(overall["empty_prediction"]),
                missing=0,
            )
        )
    return records


def _defined(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None


def _keeper(folder: Path) -> Callable[[Case, str, tuple[str, ...], Prediction, Prediction], None]:
    """Return a function that writes predictions: `label` on the native grid, and `working` if the working grid differs.

    Both are needed to compute conventions of both grids again.
    """
    written: set[tuple[str, str]] = set()

    def keep(case: Case, predictor: str, conventions: tuple[str, ...], native: Prediction, working: Prediction) -> None:
        # conventions with the same inference share one call; a second inference of the same case goes to its own folder
        base = (
            folder / predictor if (predictor, case.ref.key) not in written else folder / f"{predictor}@{conventions[0]}"
        )
        written.add((predictor, case.ref.key))
        arrays: dict[str, Any] = {"label": native, "conventions": np.array(conventions)}
        if not one_grid(case):
            arrays["working"] = working

        def write(draft: Path) -> None:
            with draft.open("wb") as handle:
                np.savez_compressed(handle, **arrays)

        write_atomically(base / f"{prediction_name(case.ref)}.npz", write)

    return keep


def one_grid(case: Case) -> bool:
    """Return whether the working grid of a case is its native grid."""
    shape = tuple(case.image.shape[1:])
    return shape == tuple(case.frame.shape) and case.frame.extent == tuple((0, side) for side in shape)


def prediction_name(ref: CaseRef) -> str:
    """Return a file name for a case: its id, made safe; a short digest is appended if that changed the id."""
    from semibench.contracts.identity import sha256

    safe = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in ref.id)
    return safe if safe == ref.id else f"{safe}-{sha256(ref.key)[:6]}"
