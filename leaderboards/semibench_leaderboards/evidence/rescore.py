"""`bench rescore`: scores a finished run under another convention, from its stored predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout

from semibench.contracts.errors import BusyError, UsageError
from semibench.contracts.identity import SHORT
from semibench.reporting import Reporter
from semibench.runfolder.reading import RunFolder, read_object
from semibench.runfolder.records import Result, ScoreSummary, SplitRecord
from semibench.runfolder.state import LOCK
from semibench.runfolder.tables import SCORE_KEY, SCORES_FILE
from semibench.runfolder.writing import write_table
from semibench_leaderboards.evidence.containers import Folder
from semibench_leaderboards.evidence.opening import open_inputs
from semibench_leaderboards.evidence.stored_predictions import (
    StoredPredictions,
    conventions_by_name,
    rescore_stored,
)


@dataclass
class RescoreReport:
    """What was computed, and how it compares with what the run had."""

    records: list[ScoreSummary] = field(default_factory=list)
    """Summaries of the computed scores."""
    new: list[str] = field(default_factory=list)
    """Conventions that the run didn't have."""
    same: list[str] = field(default_factory=list)
    """Conventions whose digits agree with those of the run."""
    changed: dict[str, float] = field(default_factory=dict)
    """Conventions whose digits differ -> largest difference."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Conventions that couldn't be computed -> reason."""
    written: bool = False
    """Whether the run folder was changed."""


def rescore(
    folder: Path, names: Sequence[str], *, data_root: Path | None = None, force: bool = False, reporter: Reporter | None = None
) -> RescoreReport:  # fmt: skip
    """Scores every stored predictor of both checkpoints under the named conventions, and adds the scores to the run.

    A convention that the run has already is compared: equal digits change nothing; different digits are an error, unless `force`
    replaces them.

    Raises:
        UsageError: the run isn't done, the local data differ from the run's, or nothing could be computed.
        BusyError: another process is working on the run.
    """
    run = RunFolder(folder)
    if run.state != "done":
        raise UsageError(f"{folder} is not a finished run: its state is {run.state}")
    run.check()
    conventions = conventions_by_name(names)
    inputs = open_inputs(run.spec, data_root)
    digest = inputs.digest(reporter)
    if digest != inputs.spec.track.data:
        raise UsageError(
            f"the local data have the digest {digest[:SHORT]}, those of the run {inputs.spec.track.data[:SHORT]}; the numbers "
            "would not be comparable"
        )
    refs = inputs.refs(read_object(folder, SplitRecord).test)
    stored = StoredPredictions(Folder(folder))
    if not stored.folders:
        raise UsageError(
            f"{folder.name} stored no predictions (--no-predictions); run it again to score it under another convention"
        )
    report = RescoreReport()
    try:
        with FileLock(folder / LOCK, timeout=0):
            tables = []
            for checkpoint, predictor in stored.folders:
                rescored = rescore_stored(stored, inputs, refs, checkpoint, predictor, conventions, reporter)
                report.records += rescored.records
                report.skipped |= rescored.skipped
                if rescored.table is not None:
                    tables.append(rescored.table)
            if not tables:
                raise UsageError("; ".join(f"convention {name}: {why}" for name, why in report.skipped.items()))
            _merge(folder, pd.concat(tables, ignore_index=True), report, force=force)
    except Timeout as error:
        raise BusyError(f"another process is working on run {folder.name}; wait for it") from error
    return report


def _merge(folder: Path, fresh: pd.DataFrame, report: RescoreReport, *, force: bool) -> None:
    known = pd.read_parquet(folder / SCORES_FILE)
    for name, part in fresh.groupby("convention", sort=False):
        before = known[known["convention"] == name]
        if before.empty:
            report.new.append(str(name))
            continue
        difference = _largest_difference(before, part)
        if difference == 0.0:
            report.same.append(str(name))
        else:
            report.changed[str(name)] = difference
    if report.changed and not force:
        listed = "; ".join(f"{name} by up to {difference:.3g}" for name, difference in report.changed.items())
        raise UsageError(f"the digits differ from those of run {folder.name}: {listed}; --force replaces them")
    replaced = [*report.new, *report.changed]
    if not replaced:
        return
    result = read_object(folder, Result)
    unchanged = [score for score in result.scores if score.convention not in replaced]
    scores = (*unchanged, *(score for score in report.records if score.convention in replaced))
    table = pd.concat(
        [known[~known["convention"].isin(replaced)], fresh[fresh["convention"].isin(replaced)]], ignore_index=True
    )
    write_table(folder / SCORES_FILE, table)
    result.model_copy(update={"scores": scores}).to_disk(folder)
    report.written = True


def _largest_difference(before: pd.DataFrame, after: pd.DataFrame) -> float:
    """Largest difference of a value; infinite where a value is missing or undefined on one side only."""
    both = before.merge(after, on=[*SCORE_KEY], how="outer", suffixes=("_before", "_after"), indicator=True)
    old, new = (both[f"value_{name}"].to_numpy(dtype=float) for name in ("before", "after"))
    if (both["_merge"] != "both").any() or (np.isnan(old) != np.isnan(new)).any():
        return float("inf")
    difference = np.abs(old - new)
    return float(np.nanmax(difference)) if np.isfinite(difference).any() else 0.0
