"""`bench rerun`: repeats a run from its spec alone and compares the digits."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from semibench.contracts.errors import UsageError
from semibench.contracts.identity import SHORT
from semibench.reporting import Reporter
from semibench.run.request import Request
from semibench.runfolder.format import PREDICTIONS
from semibench.runfolder.reading import RunFolder
from semibench.runfolder.tables import SCORE_KEY, SCORES_FILE, STEP_KEY, STEPS_FILE
from semibench_leaderboards.evidence.requests import RerunExecution
from semibench_leaderboards.reading.differences import differences
from semibench_leaderboards.reading.recorded_files import references_to_repeat

if TYPE_CHECKING:
    from semibench.run.plan import Plan

VALUE_KEYS = {STEPS_FILE: [*STEP_KEY], SCORES_FILE: [*SCORE_KEY]}
"""File -> columns that identify a value."""

QUANTITY = {STEPS_FILE: "name", SCORES_FILE: "metric"}
"""File -> column that names the quantity."""


@dataclass(frozen=True)
class ColumnAgreement:
    """How one quantity of two runs compares."""

    file: str
    column: str
    """Name of the quantity."""
    values: int
    """Values that both runs have."""
    unpaired: int
    """Values that only one of the runs has."""
    differing: int
    largest: float
    """Largest difference."""
    relative: float
    """Largest difference relative to the larger of the two values."""
    where: str = ""
    """Where the largest difference is."""

    @property
    def same(self) -> bool:
        return not self.unpaired and not self.differing


@dataclass
class Agreement:
    """How two runs of one spec compare."""

    columns: list[ColumnAgreement] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    """Differences in code, versions, device and threads that may explain different digits."""

    @property
    def same(self) -> bool:
        """Whether all values agree digit for digit."""
        return bool(self.columns) and all(column.same for column in self.columns)

    def within(self, tolerance: float) -> bool:
        """Whether every final score agrees within a tolerance. Values logged during training may differ more."""
        scores = [column for column in self.columns if column.file == SCORES_FILE]
        return bool(scores) and all(not column.unpaired and column.largest <= tolerance for column in scores)


def request_of(folder: Path, runs: Path, execution: RerunExecution | None = None) -> Request:
    """The request that repeats a finished run, with every field given.

    Args:
        folder: of the run.
        runs: folder for the new run.
        execution: where and how it is repeated; None: as the run was made.

    Raises:
        RunFolderError: the folder has no spec.
        UsageError: the run consists of predictions that were made elsewhere, so nothing can be repeated.
    """
    run = RunFolder(folder)
    spec = run.spec
    if spec.entry.method.name.startswith("submitted:"):
        raise UsageError(f"the predictions of {folder.name} were made elsewhere; there is nothing to run again")
    machine = run.provenance.machine
    of_run = {"device": machine.device, "threads": machine.threads, "memory_format": machine.memory_format}
    chosen = of_run | (execution or RerunExecution()).model_dump(exclude_none=True)
    scores = run.result.scores if run.result is not None else ()
    conventions = tuple(dict.fromkeys(score.convention for score in scores))
    chosen |= references_to_repeat(folder.name, run.provenance)
    return Request.from_spec(
        spec, runs=runs, resume=False, conventions=conventions, track=False,
        keep_predictions=(folder / PREDICTIONS).is_dir(), **{name: value for name, value in chosen.items() if value},
    )  # fmt: skip


def plan_again(folder: Path, request: Request, reporter: Reporter | None = None) -> Plan:
    """A plan with the same run key.

    Raises UsageError, which lists the differences, where this installation, the options or the data would make another run.
    """
    from semibench.run.prepare import prepare

    run = RunFolder(folder)
    spec = run.spec
    plan = prepare(request, reporter, estimate=False)
    new_spec = plan.spec
    if new_spec.track.tuning != spec.track.tuning:
        # the weights that a study found are given explicitly, so the study itself isn't needed
        track = new_spec.track.model_copy(update={"tuning": spec.track.tuning})
        new_spec = new_spec.model_copy(update={"track": track})
    if new_spec.key != spec.key:
        first, second = (json.loads(item.model_dump_json()) for item in (spec, new_spec))
        changes = differences(first, second)[:8]
        listed = "; ".join(f"{name}: {old!r} then, {new!r} now" for name, old, new in changes)
        raise UsageError(f"run {folder.name} can't be repeated here, its spec would differ in {listed}")
    if plan.spec.key != spec.key:
        tuning = run.result.tuning if run.result is not None else None
        plan.resolved = replace(
            plan.resolved, spec=new_spec, tuning=tuning.model_dump() if tuning is not None else None
        )
        plan.folder, plan.state = request.runs / spec.key[:SHORT], "new"
    return plan


def compare_runs(first: Path, second: Path) -> Agreement:
    """Compares what two runs of one spec logged and scored, value by value."""
    agreement = Agreement(reasons=_reasons(first, second))
    for file, keys in VALUE_KEYS.items():
        if not ((first / file).is_file() and (second / file).is_file()):
            continue
        one, other = (pd.read_parquet(folder / file) for folder in (first, second))
        if file == STEPS_FILE:
            one, other = (_numbered(table) for table in (one, other))
            keys = [*keys, "turn"]
        both = one[[*keys, "value"]].merge(
            other[[*keys, "value"]], on=keys, how="outer", suffixes=("_first", "_second"), indicator=True
        )
        for column, part in both.groupby(QUANTITY[file], sort=False):
            agreement.columns.append(_column(file, str(column), part, keys))
    return agreement


def _numbered(table: pd.DataFrame) -> pd.DataFrame:
    """Numbers the values of a quantity that was logged several times in a step."""
    return table.assign(turn=table.groupby([*STEP_KEY]).cumcount())


def _column(file: str, column: str, part: pd.DataFrame, keys: list[str]) -> ColumnAgreement:
    first, second = (part[f"value_{name}"].to_numpy(dtype=float) for name in ("first", "second"))
    paired = (part["_merge"] == "both").to_numpy()
    same = (first == second) | (np.isnan(first) & np.isnan(second))
    differing = paired & ~same
    difference = np.where(differing, np.abs(first - second), 0.0)
    difference = np.where(np.isnan(difference), np.inf, difference)
    size = np.maximum(np.abs(first), np.abs(second))
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = np.where(differing & (size > 0), difference / size, 0.0)
    worst = int(difference.argmax()) if len(difference) else 0
    where = (
        ", ".join(f"{key} {part.iloc[worst][key]}" for key in keys if key not in (QUANTITY[file], "turn"))
        if differing.any()
        else ""
    )
    return ColumnAgreement(
        file, column, int(paired.sum()), int((~paired).sum()), int(differing.sum()),
        float(difference.max()) if len(difference) else 0.0, float(np.nanmax(relative)) if len(relative) else 0.0, where,
    )  # fmt: skip


def _reasons(first: Path, second: Path) -> list[str]:
    parts = {"plugins", "versions", "machine"}
    one, other = (
        RunFolder(folder).provenance.model_dump(mode="json", include=parts, exclude_none=True)
        for folder in (first, second)
    )
    return [f"{name}: {_short(old)} / {_short(new)}" for name, old, new in differences(one, other)]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{text[:SHORT]}…"
