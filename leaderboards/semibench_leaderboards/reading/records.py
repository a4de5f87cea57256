"""Run folders as records, read through an index so that ten thousand runs are listed at once.

failed = [record.name for record in read_runs(Path("runs"), RunFilter(dataset="tus")) if record.state == "failed"]
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from semibench.contracts.errors import UsageError
from semibench.contracts.identity import SHORT, Entry, Replicate, RunSpec, Track
from semibench.runfolder.reading import ABANDONED, state_of
from semibench.runfolder.records import (
    InferenceFigures,
    ModelFigures,
    Provenance,
    Result,
    ScoreSummary,
    Status,
    TrainingFigures,
)
from semibench.runfolder.state import State
from semibench_leaderboards.reading.index import Index, Listed
from semibench_leaderboards.reading.indexed_folder import Figures, unpacked
from semibench_leaderboards.reading.run_filter import RunFilter

__all__ = ["DrawFold", "RunRecord", "chosen_run", "left_out", "read_runs", "related_runs"]

DrawFold = tuple[int | None, int | None]
"""(draw, fold) of a run; None where the protocol has no such axis."""


@dataclass(frozen=True)
class RunRecord:
    """One run, as recorded in its folder."""

    key: str
    """Digest in full, as `row` and `track`."""
    row: str
    track: str
    folder: Path
    of_track: Track
    entry: Entry
    axes: Replicate
    state: State
    """A run that is recorded as running but whose process is gone is interrupted."""
    status_json: str = field(repr=False)
    provenance: Provenance
    split: str
    """Digest of the drawn split; empty where none is recorded."""
    result_json: str = field(repr=False)
    stale: bool = False
    """Whether the row has a newer run made with other code, so that this one doesn't count."""
    packed_scores: bytes = field(default=b"", repr=False, compare=False)

    @cached_property
    def spec(self) -> RunSpec:
        return RunSpec.model_construct(track=self.of_track, entry=self.entry, replicate=self.axes)

    @cached_property
    def status(self) -> Status | None:
        return Status.model_validate_json(self.status_json) if self.status_json else None

    @cached_property
    def result(self) -> Result | None:
        """The result without its scores, which are in `scores`."""
        return Figures.model_validate_json(self.result_json) if self.result_json else None

    @cached_property
    def scores(self) -> tuple[ScoreSummary, ...]:
        """The score summaries: one for each checkpoint, predictor, convention and metric."""
        return unpacked(self.packed_scores)

    @property
    def error(self) -> str | None:
        """Why the run failed or was stopped."""
        if self.status is None:
            return None
        return self.status.error if self.state == self.status.state else ABANDONED

    @property
    def started(self) -> str | None:
        return self.status.started if self.status is not None else None

    @property
    def ended(self) -> str | None:
        return self.status.ended if self.status is not None else None

    @property
    def code(self) -> str:
        """Digest of the code that made the run; see `Provenance.code`."""
        return self.provenance.code

    @property
    def phantom(self) -> bool:
        return self.of_track.is_phantom

    @property
    def recipe(self) -> str:
        """Label of the recipe, `name*` where values were changed."""
        return self.spec.recipe.short

    @property
    def training(self) -> TrainingFigures:
        """Costs of training; empty where the run isn't done."""
        return self.result.training if self.result is not None else TrainingFigures()

    @property
    def model(self) -> ModelFigures:
        """Size of the networks; empty where the run isn't done."""
        return self.result.model if self.result is not None else ModelFigures()

    @property
    def inference(self) -> InferenceFigures:
        """Costs of inference; empty where the run isn't done."""
        return self.result.inference if self.result is not None else InferenceFigures()

    @property
    def label_budget(self) -> int | None:
        """Labeled and validation cases."""
        return self.result.label_budget if self.result is not None else None

    @property
    def study(self) -> str | None:
        """The study of a tuned run: "NAME/ID, 30 trials, 12 min"."""
        tuning = self.result.tuning if self.result is not None else None
        return tuning.label if tuning is not None else None

    @property
    def counts(self) -> bool:
        """Whether this run enters the mean of its row: it is done and has the row's current code."""
        return self.state == "done" and not self.stale

    @property
    def method(self) -> str:
        return self.entry.method.short

    @property
    def backbone(self) -> str:
        return self.entry.backbone.short

    @property
    def protocol(self) -> str:
        return self.of_track.protocol.short

    @property
    def dataset(self) -> str:
        return self.of_track.dataset.short

    @property
    def tuning(self) -> str:
        return self.of_track.tuning

    @property
    def device(self) -> str:
        """Name of the processor or accelerator that computed the run; empty where it wasn't recorded."""
        return self.provenance.machine.label

    @property
    def replicate(self) -> tuple[int | None, int | None, int]:
        """(draw, fold, seed)."""
        return self.axes.draw, self.axes.fold, self.axes.seed

    @property
    def draw_fold(self) -> DrawFold:
        """(draw, fold). Runs of one track with the same one have the same test cases."""
        return self.axes.draw, self.axes.fold

    @property
    def name(self) -> str:
        """ "mgcc · mgcc-net · draw 0 · seed 0"."""
        return self.spec.name


def read_runs(
    runs: Path, run_filter: RunFilter | None = None, *, scores: bool = True, refresh: bool = True
) -> list[RunRecord]:
    """The runs under a folder that match a filter, ordered by track, row and replicate.

    The index is refreshed first, so only folders with changed records are read. Folders that can't be read and copies of other
    folders are not in the list; `left_out(runs)` names them.

    Args:
        runs: folder of the run folders.
        run_filter: which of them; None: all.
        scores: also load the score summaries.
        refresh: False: the caller has just read runs of this folder, so its index isn't refreshed again.

    Raises:
        UsageError: there is no such folder.
    """
    return _read(runs, run_filter or RunFilter(), scores=scores, refresh=refresh)


def _read(
    runs: Path, wanted: RunFilter, *, methods: Collection[str] | None = None, scores: bool = True, refresh: bool
) -> list[RunRecord]:
    with _index(runs, refresh) as index:
        listed = index.listed(wanted, methods=methods, scores=scores)
        newest = index.newest_codes(wanted) if listed else {}
    records = [_record(runs, item, newest) for item in listed]
    return sorted(records, key=_order)


def related_runs(
    runs: Path, records: Iterable[RunRecord], *, methods: Collection[str] | None = None
) -> list[RunRecord]:
    """The runs of all tracks with the protocols and data sets of some runs, which were just read; among them are references with
    all labels.

    methods: full names of the methods to which the answer is limited; None: all.
    """
    pairs = dict.fromkeys((record.protocol, record.dataset) for record in records)
    return [
        record
        for protocol, dataset in pairs
        for record in _read(runs, RunFilter(protocol=protocol, dataset=dataset), methods=methods, refresh=False)
    ]


def left_out(runs: Path, *, refresh: bool = True) -> list[str]:
    """A line for each folder that isn't in the list of runs: folders that can't be read, with the reason, and copies.

    refresh: as in `read_runs`.
    """
    with _index(runs, refresh) as index:
        broken, copies = index.broken(), index.copies()
    lines = [f"left out: {runs / name}: {why}" for name, why in broken.items()]
    return lines + [
        f"left out: {runs / name} holds the same run as {runs / other}, which counts once"
        for name, other in copies.items()
    ]


def damaged_among(records: Sequence[RunRecord]) -> list[str]:
    """The lines of `left_out` for runs that were in the list and turned out to be damaged when their cases were read."""
    lines: list[str] = []
    for runs in dict.fromkeys(record.folder.parent for record in records):
        names = {record.folder.name for record in records}
        with Index.of(runs) as index:
            lines += [f"left out: {runs / name}: {why}" for name, why in index.broken().items() if name in names]
    return lines


def chosen_run(records: Sequence[RunRecord], key: str) -> RunRecord:
    """The run whose key begins with `key`, or whose folder is called so. Raises UsageError where none or several match."""
    matching = [record for record in records if record.key.startswith(key) or record.folder.name == key]
    if len(matching) == 1:
        return matching[0]
    if not matching:
        raise UsageError(
            f"no run has a key that begins with {key!r} (among {len(records)} runs); list them: bench runs"
        )
    listed = ", ".join(record.key[:SHORT] for record in matching[:8])
    raise UsageError(f"{len(matching)} runs have a key that begins with {key!r}: {listed}")


def _index(runs: Path, refresh: bool) -> Index:
    if not runs.is_dir():
        raise UsageError(f"there is no folder {runs}; make runs with `bench run`, or name their folder with --runs")
    index = Index.of(runs)
    if refresh or index.file is None:
        index.refresh()
    return index


def _record(runs: Path, item: Listed, newest: Mapping[str, str]) -> RunRecord:
    folder = runs / item.folder
    state = cast(State, item.state)
    if state == "running":
        state = state_of(folder, Status.model_validate_json(item.status))
    return RunRecord(
        key=item.key, row=item.row, track=item.track, folder=folder, of_track=item.of_track, entry=item.entry, axes=item.replicate,
        state=state, status_json=item.status, provenance=item.provenance, split=item.split, result_json=item.result,
        stale=newest.get(item.row, item.code) != item.code, packed_scores=item.scores,
    )  # fmt: skip


def _order(record: RunRecord) -> tuple[Any, ...]:
    draw, fold, seed = record.replicate
    return record.track, record.method, record.row, -1 if draw is None else draw, -1 if fold is None else fold, seed


def by_row(records: Iterable[RunRecord]) -> dict[str, list[RunRecord]]:
    """Groups runs by the digest of their row, in order."""
    rows: dict[str, list[RunRecord]] = {}
    for record in records:
        rows.setdefault(record.row, []).append(record)
    return rows
