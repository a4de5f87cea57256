"""`bench rescore`: a finished run gets the numbers of another convention, from its stored predictions."""

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
from semibench.runfolder.reading import SCORES_FILE, RunFolder, read_object
from semibench.runfolder.records import Result, ScoreSummary, SplitRecord
from semibench.runfolder.state import LOCK
from semibench.runfolder.writing import write_table
from semibench_leaderboards.evidence.containers import Folder
from semibench_leaderboards.evidence.opening import open_inputs
from semibench_leaderboards.evidence.stored_predictions import StoredPredictions, conventions_by_name, rescore_stored

ON = ["checkpoint", "predictor", "convention", "dataset", "case", "class", "metric"]


@dataclass
class RescoreReport:
    """records: of what was computed. new: conventions the run didn't have; same: those whose digits agree with what it has,
    changed: those that differ, with the largest difference; skipped: why some couldn't be computed."""

    records: list[ScoreSummary] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    same: list[str] = field(default_factory=list)
    changed: dict[str, float] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    written: bool = False


def rescore(
    folder: Path, names: Sequence[str], *, data_root: Path | None = None, force: bool = False, reporter: Reporter | None = None
) -> RescoreReport:  # fmt: skip
    """Scores every stored predictor of both checkpoints under the conventions named, and adds them to the run.

    A convention that the run has already is compared: equal digits change nothing; others are an error unless `force`
    replaces them. Raises UsageError for a run that isn't done, other data than the run's, or where nothing could be computed;
    BusyError while another process works on the run."""
    run = RunFolder(folder)
    if run.state != "done":
        raise UsageError(f"{folder} is not a finished run: its state is {run.state}")
    run.check()
    conventions = conventions_by_name(names)
    inputs = open_inputs(run.spec, data_root)
    digest = inputs.digest(reporter)
    if digest != inputs.spec.track.data:
        raise UsageError(
            f"the data at hand have the digest {digest[:SHORT]}, those of the run {inputs.spec.track.data[:SHORT]}: the numbers "
            "would not be comparable"
        )
    refs = inputs.refs(read_object(folder, SplitRecord).test)
    stored = StoredPredictions(Folder(folder))
    if not stored.folders:
        raise UsageError(f"{folder.name} kept no predictions (--no-predictions); run it again to score it otherwise")
    report = RescoreReport()
    try:
        with FileLock(folder / LOCK, timeout=0):
            tables = []
            for checkpoint, predictor in stored.folders:
                made = rescore_stored(stored, inputs, refs, checkpoint, predictor, conventions, reporter)
                report.records += made.records
                report.skipped |= made.skipped
                if made.table is not None:
                    tables.append(made.table)
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
        apart = _largest_difference(before, part)
        if apart == 0.0:
            report.same.append(str(name))
        else:
            report.changed[str(name)] = apart
    if report.changed and not force:
        told = "; ".join(f"{name} by up to {apart:.3g}" for name, apart in report.changed.items())
        raise UsageError(f"run {folder.name} has other digits under {told}; --force replaces them")
    replaced = [*report.new, *report.changed]
    if not replaced:
        return
    result = read_object(folder, Result)
    kept = [score for score in result.scores if score.convention not in replaced]
    scores = (*kept, *(score for score in report.records if score.convention in replaced))
    table = pd.concat(
        [known[~known["convention"].isin(replaced)], fresh[fresh["convention"].isin(replaced)]], ignore_index=True
    )
    write_table(folder / SCORES_FILE, table)
    result.model_copy(update={"scores": scores}).to_disk(folder)
    report.written = True


def _largest_difference(before: pd.DataFrame, after: pd.DataFrame) -> float:
    """Infinite where a value is defined, or there, on one side only."""
    both = before.merge(after, on=ON, how="outer", suffixes=("_before", "_after"), indicator=True)
    there, here = (both[f"value_{name}"].to_numpy(dtype=float) for name in ("before", "after"))
    if (both["_merge"] != "both").any() or (np.isnan(there) != np.isnan(here)).any():
        return float("inf")
    apart = np.abs(there - here)
    return float(np.nanmax(apart)) if np.isfinite(apart).any() else 0.0
