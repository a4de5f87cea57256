"""Per-case scores of runs as arrays. They are checked when they are read, and stored in the index."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from semibench.contracts.errors import SemibenchError
from semibench.contracts.identity import Score, sha256
from semibench.evaluation.overlap_check import violates_dice_of_iou
from semibench.runfolder.format import RunFolderError
from semibench.runfolder.reading import reason_of
from semibench.runfolder.records import Result, ScoreSummary, SplitRecord
from semibench.runfolder.tables import SCORES_FILE
from semibench_leaderboards.reading.index import Index
from semibench_leaderboards.reading.records import RunRecord

TOLERANCE = 1e-6


class CasesError(SemibenchError):
    """Tables of per-case scores contradict themselves, their split or their summary; the message names the run folders."""

    def __init__(self, faults: Mapping[Path, str]) -> None:
        """faults: run folder -> what is wrong."""
        super().__init__("; ".join(f"{folder}: {why}" for folder, why in faults.items()))
        self.faults = dict(faults)


class _Fault(Exception):
    """The scores of one run are wrong."""


class ScoredMetric(NamedTuple):
    """One metric of one score of a run. The score names its predictor."""

    score: Score
    metric: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        """(checkpoint, predictor, convention, metric), as in result.json and scores.parquet."""
        return self.score.checkpoint, str(self.score.predictor), self.score.convention, self.metric

    def __str__(self) -> str:
        return "/".join(self.key)


@dataclass(frozen=True)
class CaseSet:
    """Test cases in the order of their keys."""

    keys: tuple[str, ...]
    """ "dataset/id" of each case."""
    groups: tuple[str, ...]
    """ "dataset/group" of each case."""
    domains: tuple[str, ...]
    missing: tuple[str, ...] = ()
    """Keys of test cases without a score."""

    @cached_property
    def digest(self) -> str:
        """Equal for equal case sets."""
        return sha256(json.dumps([self.keys, self.groups, self.domains, self.missing]))

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True)
class CaseScores:
    """One metric of one run by case and class."""

    cases: CaseSet
    """N cases."""
    classes: tuple[str, ...]
    """K foreground classes."""
    values: NDArray[np.float64] = field(repr=False)
    """(N, K); NaN where undefined."""
    empty_truth: NDArray[np.bool_] = field(repr=False)
    """(N, K): the truth doesn't have the class."""
    empty_prediction: NDArray[np.bool_] = field(repr=False)
    """(N, K): the prediction doesn't have the class."""

    @property
    def per_case(self) -> NDArray[np.float64]:
        """Mean over the defined classes of each case, (N,); NaN where none is defined."""
        return nan_mean(self.values, axis=1)


def nan_mean(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Mean of the defined values; NaN, without a warning, where there are none."""
    defined = ~np.isnan(values)
    count = defined.sum(axis)
    total = np.where(defined, values, 0.0).sum(axis)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(total / count)


def case_scores(requested: Iterable[tuple[RunRecord, ScoredMetric]]) -> list[CaseScores]:
    """Per-case scores of finished runs, in the order given.

    Scores that the index doesn't have yet are read from scores.parquet and stored.

    Raises CasesError where a table is missing, has a case twice, has cases outside its split, a Dice that contradicts its IoU, or
    a mean that contradicts result.json. The index then leaves these runs out until their folders change.
    """
    requests = list(requested)
    loaded: dict[tuple[Path, ScoredMetric], CaseScores] = {}
    faults: dict[Path, str] = {}
    by_folder = sorted(requests, key=lambda pair: pair[0].folder)
    for runs, pairs in groupby(by_folder, key=lambda pair: pair[0].folder.parent):
        with Index.of(runs) as index:
            tables = _CaseTables(index)
            for record, name in pairs:
                try:
                    loaded[record.folder, name] = tables.get(record, name)
                except (
                    _Fault,
                    RunFolderError,
                    ValueError,
                    TypeError,
                ) as error:  # the last two: columns of another kind
                    faults[record.folder] = reason_of(error, record.folder)
            tables.store_new()
            index.mark_damaged({folder.name: why for folder, why in faults.items() if folder.parent == runs})
    if faults:
        raise CasesError(faults)
    return [loaded[record.folder, name] for record, name in requests]


class _CaseTables:
    """The tables of per-case scores of one folder of runs, from the index or else from the run folders."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self.case_sets: dict[str, CaseSet] = {}
        self.classes: dict[str, tuple[str, ...]] = {}
        self.new_rows: list[tuple[Any, ...]] = []
        self.last_table: tuple[Path | None, Any] = (None, None)

    def get(self, record: RunRecord, name: ScoredMetric) -> CaseScores:
        row = self.index.stored_cases(record.folder.name, name.key)
        if row is not None:
            return self._unpacked(*row)
        if self.last_table[0] != record.folder:
            self.last_table = (record.folder, _read_table(record.folder))
        scores = _from_table(record, self.last_table[1], name)
        self.new_rows.append((record.folder.name, *name.key, *self._packed(scores)))
        return scores

    def _case_set(self, digest: str) -> CaseSet:
        if digest not in self.case_sets:
            parts = json.loads(self.index.stored_case_set(digest))
            self.case_sets[digest] = CaseSet(*(tuple(part) for part in parts))
        return self.case_sets[digest]

    def _unpacked(self, case_set: str, classes: str, figures: bytes) -> CaseScores:
        cases = self._case_set(case_set)
        names = self.classes.setdefault(classes, tuple(json.loads(classes)))
        shape = (len(cases), len(names))
        size = shape[0] * shape[1]
        values = np.frombuffer(figures, dtype="<f8", count=size).reshape(shape)
        flags = np.frombuffer(figures, dtype=np.uint8, offset=8 * size).reshape(shape)
        return CaseScores(cases, names, values, (flags & 1).astype(bool), (flags & 2).astype(bool))

    def _packed(self, scores: CaseScores) -> tuple[str, str, bytes]:
        self.case_sets.setdefault(scores.cases.digest, scores.cases)
        flags = scores.empty_truth.astype(np.uint8) | (scores.empty_prediction.astype(np.uint8) << 1)
        figures = scores.values.astype("<f8").tobytes() + flags.tobytes()
        return scores.cases.digest, json.dumps(scores.classes), figures

    def store_new(self) -> None:
        """Writes the scores that were read from run folders to the index."""
        if not self.new_rows:
            return
        texts = {
            digest: json.dumps([cases.keys, cases.groups, cases.domains, cases.missing])
            for digest, cases in self.case_sets.items()
        }
        self.index.store_cases(texts, self.new_rows)
        self.new_rows = []


COLUMNS = (
    "checkpoint", "predictor", "convention", "dataset", "case", "group", "domain", "class", "label", "metric", "value",
    "empty_truth", "empty_prediction",
)  # fmt: skip


def _read_table(folder: Path) -> dict[str, NDArray[Any]]:
    """The columns of scores.parquet; texts as arrays of Python strings."""
    import pyarrow.parquet as parquet

    file = folder / SCORES_FILE
    try:
        table = parquet.read_table(file, columns=list(COLUMNS), partitioning=None)
    except (OSError, ValueError, KeyError) as error:  # pyarrow's errors are of these kinds
        reason = str(error).splitlines()[0]
        raise _Fault(f"{file} can't be read ({reason}); run it again with --force, or delete the folder") from error
    return {name: table.column(name).to_numpy(zero_copy_only=False) for name in COLUMNS}


def _from_table(record: RunRecord, table: Mapping[str, NDArray[Any]], name: ScoredMetric) -> CaseScores:
    of_score = np.ones(len(table["value"]), dtype=bool)
    for column in ("checkpoint", "predictor", "convention"):
        of_score &= table[column] == getattr(name.score, column)
    part = of_score & (table["metric"] == name.metric)
    if not part.any():
        raise _Fault(f"{record.folder}/{SCORES_FILE} has no rows for {name}, which {Result.FILE} lists")
    _check_dice(record, table, of_score)
    scored = {column: values[part] for column, values in table.items()}
    keys = np.array([f"{dataset}/{case}" for dataset, case in zip(scored["dataset"], scored["case"], strict=True)])
    labels = scored["label"].astype(int)
    names = {int(label): str(text) for label, text in zip(labels, scored["class"], strict=True)}
    order = sorted(names)
    unique, where = np.unique(keys, return_inverse=True)
    column = np.searchsorted(order, labels)
    shape = (len(unique), len(order))
    if len(keys) != shape[0] * shape[1] or len(set(zip(where.tolist(), column.tolist(), strict=True))) != len(keys):
        raise _Fault(
            f"{record.folder}/{SCORES_FILE}, {name}: {len(keys)} rows for {shape[0]} cases and {shape[1]} "
            "classes; each case and class must occur once"
        )
    values = np.full(shape, np.nan)
    values[where, column] = scored["value"].astype(float)
    empties = []
    for flag in ("empty_truth", "empty_prediction"):
        marked = np.zeros(shape, dtype=bool)
        marked[where, column] = scored[flag].astype(bool)
        empties.append(marked)
    first = np.zeros(len(unique), dtype=int)
    first[where] = np.arange(len(where))
    missing = _missing(record, set(unique.tolist()))
    groups = tuple(f"{scored['dataset'][i]}/{scored['group'][i]}" for i in first)
    cases = CaseSet(tuple(unique.tolist()), groups, tuple(str(scored["domain"][i]) for i in first), missing)
    scores = CaseScores(cases, tuple(names[label] for label in order), values, empties[0], empties[1])
    _check_mean(record, name, scores)
    return scores


def _missing(record: RunRecord, scored: set[str]) -> tuple[str, ...]:
    """Test cases of the run's split without a score. Raises _Fault for a score of a case that isn't in the split."""
    split = SplitRecord.from_disk(record.folder)
    if split is None:
        return ()
    test_cases = {row.key for row in split.test}
    unexpected = sorted(scored - test_cases)
    if unexpected:
        raise _Fault(
            f"{record.folder}: {len(unexpected)} scored cases are not test cases of its split, e.g. {unexpected[0]}"
        )
    return tuple(sorted(test_cases - scored))


def _check_dice(record: RunRecord, table: Mapping[str, NDArray[Any]], of_score: NDArray[np.bool_]) -> None:
    """Checks Dice = 2 IoU / (1 + IoU), where a convention has both."""
    parts = [of_score & (table["metric"] == metric) for metric in ("dice", "iou")]
    dice, iou = (table["value"][part].astype(float) for part in parts)
    cases = [table["case"][part] for part in parts]
    if len(dice) != len(iou) or not len(dice) or (cases[0] != cases[1]).any():
        return
    wrong = np.flatnonzero(violates_dice_of_iou(dice, iou))
    if len(wrong):
        raise _Fault(
            f"{record.folder}: Dice = 2 IoU / (1 + IoU) is violated in case {cases[0][wrong[0]]!r}: "
            f"Dice {dice[wrong[0]]}, IoU {iou[wrong[0]]}"
        )


def stored_mean(scores: Sequence[ScoreSummary], name: ScoredMetric) -> ScoreSummary | None:
    """The summary of a score in result.json; None where there is none."""
    for score in scores:
        if (score.checkpoint, score.predictor, score.convention, score.metric) == name.key:
            return score
    return None


def plain_mean(scores: CaseScores) -> float:
    """Mean over the cases of each class, then over the classes."""
    return float(nan_mean(nan_mean(scores.values, axis=0), axis=0))


def _check_mean(record: RunRecord, name: ScoredMetric, scores: CaseScores) -> None:
    """Checks that the mean agrees with result.json, unless the convention computes its mean in its own way."""
    stored = stored_mean(record.scores, name)
    if stored is None or stored.own_mean or scores.cases.missing:
        return
    derived, stated = plain_mean(scores), np.nan if stored.mean is None else stored.mean
    both_undefined = np.isnan(derived) and np.isnan(stated)
    if not both_undefined and not abs(derived - stated) <= TOLERANCE * max(1.0, abs(derived)):
        raise _Fault(
            f"{record.folder}: the cases of {name} have the mean {derived:.6f}, result.json says {stated:.6f}; the "
            "folder was changed by hand, or cut off"
        )
