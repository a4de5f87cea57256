"""Run folders as records, read through an index beside them, so that ten thousand runs are listed at once.

failed = [record.name for record in read_runs(Path("runs"), dataset="tus") if record.state == "failed"]
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from semibench.contracts.errors import UsageError
from semibench.contracts.identity import SHORT, RunSpec
from semibench_leaderboards.reading.index import Index, Listed

__all__ = ["DrawFold", "RunRecord", "chosen_run", "read_runs"]

DrawFold = tuple[int | None, int | None]
"""(draw, fold) of a run; None where the protocol has no such axis."""


@dataclass(frozen=True)
class RunRecord:
    """One run as its folder says it.

    key, row, track: digests in full. state: done, failed, running, interrupted; a run said to be running whose process is gone
    is interrupted. plugins: role -> {name, distribution, version, source}; code: digest of their sources and the
    harness's numerics. stale: the row has a newer run made with other code, so this one doesn't count. recipe: label, `name*`
    where values were changed. machine: device, device_name, threads ... of provenance. label_budget: labeled and
    validation cases. training, model, inference: as in result.json, empty where the run isn't done.
    """

    key: str
    row: str
    track: str
    folder: Path
    spec: RunSpec
    state: str
    error: str | None
    started: str | None
    ended: str | None
    phantom: bool
    recipe: str
    code: str
    plugins: Mapping[str, Mapping[str, str]]
    versions: Mapping[str, str]
    machine: Mapping[str, Any]
    training: Mapping[str, Any]
    model: Mapping[str, Any]
    inference: Mapping[str, Any]
    label_budget: int | None
    study: str | None = None
    stale: bool = False
    packed_scores: bytes = field(default=b"", repr=False, compare=False)

    @cached_property
    def scores(self) -> list[dict[str, Any]]:
        """The records under "scores" of result.json: one per checkpoint, predictor, convention and metric."""
        return list(json.loads(zlib.decompress(self.packed_scores))) if self.packed_scores else []

    @property
    def counts(self) -> bool:
        """Whether this run enters the mean of its row: done, and with the row's present code."""
        return self.state == "done" and not self.stale

    @property
    def method(self) -> str:
        return self.spec.entry.method.short

    @property
    def backbone(self) -> str:
        return self.spec.entry.backbone.short

    @property
    def protocol(self) -> str:
        return self.spec.track.protocol.short

    @property
    def dataset(self) -> str:
        return self.spec.track.dataset.short

    @property
    def tuning(self) -> str:
        return self.spec.track.tuning

    @property
    def device(self) -> str:
        """What computed: the processor's or the accelerator's name; empty where it wasn't recorded."""
        return str(self.machine.get("device_name") or self.machine.get("device") or "")

    @property
    def replicate(self) -> tuple[int | None, int | None, int]:
        """(draw, fold, seed)."""
        axes = self.spec.replicate
        return axes.draw, axes.fold, axes.seed

    @property
    def draw_fold(self) -> DrawFold:
        """(draw, fold): runs with equal ones have the same test cases."""
        return self.spec.replicate.draw, self.spec.replicate.fold

    @property
    def name(self) -> str:
        """ "mgcc · mgcc-net · draw 0 · seed 0"."""
        axes = zip(("draw", "fold", "seed"), self.replicate, strict=True)
        return " · ".join(
            [self.method, self.backbone, *(f"{axis} {value}" for axis, value in axes if value is not None)]
        )


def read_runs(
    runs: Path,
    *,
    protocol: str | None = None,
    dataset: str | None = None,
    recipe: str | None = None,
    method: str | None = None,
    backbone: str | None = None,
    track: str | None = None,
    row: str | None = None,
    key: str | None = None,
    phantom: bool | None = None,
    scores: bool = True,
) -> list[RunRecord]:
    """All runs under a folder, or those of some protocol, data set ... (short or full names); ordered by track, row and
    replicate. track, row, key: beginnings of digests. scores: also load the summary of the scores.

    The index is refreshed first: only folders whose status, result or spec file changed are read. Raises UsageError
    where there is no such folder. A folder that can't be read (broken JSON, no run spec) is a record of
    `unreadable(runs)` and not in the list.
    """
    index = _refreshed(runs)
    where = {
        "protocol": protocol, "dataset": dataset, "recipe": recipe, "method": method, "backbone": backbone,
        "track": track, "row": row, "key": key, "phantom": phantom,
    }  # fmt: skip
    with index:
        listed = index.listed(where, scores=scores)
        newest = index.newest_codes(where)
    records = [_record(runs, item, newest) for item in listed]
    return sorted(records, key=_order)


def unreadable(runs: Path) -> dict[str, str]:
    """Folders with a spec.json that can't be read: name -> why."""
    with _refreshed(runs) as index:
        return index.broken()


def chosen_run(records: Sequence[RunRecord], key: str) -> RunRecord:
    """The one run whose key, or folder name, begins so. Raises UsageError where none or several do."""
    found = [record for record in records if record.key.startswith(key) or record.folder.name == key]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(
            f"no run has a key that begins with {key!r} (among {len(records)} runs); list them: bench runs"
        )
    raise UsageError(f"{len(found)} runs begin with {key!r}: {', '.join(record.key[:SHORT] for record in found[:8])}")


def _refreshed(runs: Path) -> Index:
    if not runs.is_dir():
        raise UsageError(
            f"there is no folder {runs} with runs; make one with `bench run`, or name the folder with --runs"
        )
    index = Index.beside(runs)
    index.refresh()
    return index


def _record(runs: Path, item: Listed, newest: Mapping[str, str]) -> RunRecord:
    facts = item.facts
    folder = runs / item.folder
    record = RunRecord(
        key=item.key,
        row=item.row,
        track=item.track,
        folder=folder,
        spec=item.spec,
        state=item.state,
        error=facts["error"],
        started=facts["started"],
        ended=facts["ended"],
        phantom=item.phantom,
        recipe=item.spec.recipe.short,
        code=item.code,
        plugins=facts["plugins"],
        versions=facts["versions"],
        machine=facts["machine"],
        training=facts["training"],
        model=facts["model"],
        inference=facts["inference"],
        label_budget=facts["label_budget"],
        study=facts["study"],
        stale=newest.get(item.row, item.code) != item.code,
        packed_scores=item.scores,
    )
    if record.state == "running" and _abandoned(folder, facts["process"]):
        return replace(record, state="interrupted", error="its process is gone; run the same command again to go on")
    return record


def _abandoned(folder: Path, process: Any) -> bool:
    """Whether nobody works on a run that says it is running: its process isn't there and its lock is free."""
    from filelock import FileLock, Timeout

    if isinstance(process, int):
        try:
            os.kill(process, 0)
            return False
        except ProcessLookupError:
            pass
        except OSError:
            return False  # another user's process
    lock = folder / ".lock"
    if not lock.is_file():
        return True
    try:
        with FileLock(lock, timeout=0):
            return True
    except (Timeout, OSError):
        return False


def _order(record: RunRecord) -> tuple[Any, ...]:
    draw, fold, seed = record.replicate
    return record.track, record.method, record.row, -1 if draw is None else draw, -1 if fold is None else fold, seed


def by_row(records: Iterable[RunRecord]) -> dict[str, list[RunRecord]]:
    """Runs by row digest, in order."""
    found: dict[str, list[RunRecord]] = {}
    for record in records:
        found.setdefault(record.row, []).append(record)
    return found
