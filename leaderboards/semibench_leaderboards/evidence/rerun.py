"""`bench rerun`: a run made once more from its spec alone, and its digits compared."""

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

if TYPE_CHECKING:
    from semibench.run.prepare import Plan

KEYS = {STEPS_FILE: [*STEP_KEY], SCORES_FILE: [*SCORE_KEY]}
BY = {STEPS_FILE: "name", SCORES_FILE: "metric"}


@dataclass(frozen=True)
class ColumnAgreement:
    """One quantity of both runs. values: compared; unpaired: in one run only; largest: difference, relative: to the larger of
    the two; where: it was found."""

    file: str
    column: str
    values: int
    unpaired: int
    differing: int
    largest: float
    relative: float
    where: str = ""

    @property
    def same(self) -> bool:
        return not self.unpaired and not self.differing


@dataclass
class Agreement:
    """Two runs of one spec. reasons: what differed in what made them (code, versions, device, threads)."""

    columns: list[ColumnAgreement] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """Digit for digit."""
        return bool(self.columns) and all(column.same for column in self.columns)

    def within(self, tolerance: float) -> bool:
        """Whether every final score agrees within a tolerance (what is logged while training may drift further)."""
        scores = [column for column in self.columns if column.file == SCORES_FILE]
        return bool(scores) and all(not column.unpaired and column.largest <= tolerance for column in scores)


def request_of(folder: Path, runs: Path, execution: RerunExecution | None = None) -> Request:
    """The request that a finished run answers, with nothing left to a default.

    runs: folder for the new run. execution: where and how it is repeated (default: as the run was made). Raises RunFolderError for
    a folder without a spec, UsageError for predictions that were made elsewhere, since there is nothing to run."""
    run = RunFolder(folder)
    spec = run.spec
    if spec.entry.method.name.startswith("submitted:"):
        raise UsageError(f"{folder.name} holds predictions that were made elsewhere; there is nothing to run again")
    machine = run.provenance.machine
    of_run = {"device": machine.device, "threads": machine.threads}
    chosen = of_run | (execution or RerunExecution()).model_dump(exclude_none=True)
    scores = run.result.scores if run.result is not None else ()
    conventions = tuple(dict.fromkeys(score.convention for score in scores))
    return Request.from_spec(
        spec, runs=runs, resume=False, conventions=conventions, track=False,
        keep_predictions=(folder / PREDICTIONS).is_dir(), **{name: value for name, value in chosen.items() if value},
    )  # fmt: skip


def plan_again(folder: Path, request: Request, reporter: Reporter | None = None) -> Plan:
    """A plan for the same run key. Raises UsageError that lists what differs where this installation, these options or these data
    make another run of it."""
    from semibench.run.prepare import prepare

    run = RunFolder(folder)
    spec = run.spec
    plan = prepare(request, reporter, estimate=False)
    made = plan.spec
    if (
        made.track.tuning != spec.track.tuning
    ):  # weights that a study found are given as they are; the study isn't needed
        made = made.model_copy(update={"track": made.track.model_copy(update={"tuning": spec.track.tuning})})
    if made.key != spec.key:
        first, second = (json.loads(item.model_dump_json()) for item in (spec, made))
        told = "; ".join(
            f"{name}: {there!r} then, {here!r} now" for name, there, here in differences(first, second)[:8]
        )
        raise UsageError(f"run {folder.name} can't be made again here, its spec would differ in {told}")
    if plan.spec.key != spec.key:
        tuning = run.result.tuning if run.result is not None else None
        plan.resolved = replace(plan.resolved, spec=made, tuning=tuning.model_dump() if tuning is not None else None)
        plan.folder, plan.state = request.runs / spec.key[:SHORT], "new"
    return plan


def compare_runs(first: Path, second: Path) -> Agreement:
    """What two folders of one spec logged and scored, value by value."""
    found = Agreement(reasons=_reasons(first, second))
    for file, keys in KEYS.items():
        if not ((first / file).is_file() and (second / file).is_file()):
            continue
        one, other = (pd.read_parquet(folder / file) for folder in (first, second))
        if file == STEPS_FILE:
            one, other = (_numbered(table) for table in (one, other))
            keys = [*keys, "turn"]
        both = one[[*keys, "value"]].merge(
            other[[*keys, "value"]], on=keys, how="outer", suffixes=("_first", "_second"), indicator=True
        )
        for column, part in both.groupby(BY[file], sort=False):
            found.columns.append(_column(file, str(column), part, keys))
    return found


def _numbered(table: pd.DataFrame) -> pd.DataFrame:
    """A quantity may be logged several times in a step: the turn tells them apart."""
    return table.assign(turn=table.groupby([*STEP_KEY]).cumcount())


def _column(file: str, column: str, part: pd.DataFrame, keys: list[str]) -> ColumnAgreement:
    there, here = (part[f"value_{name}"].to_numpy(dtype=float) for name in ("first", "second"))
    paired = (part["_merge"] == "both").to_numpy()
    same = (there == here) | (np.isnan(there) & np.isnan(here))
    differing = paired & ~same
    apart = np.where(differing, np.abs(there - here), 0.0)
    apart = np.where(np.isnan(apart), np.inf, apart)
    size = np.maximum(np.abs(there), np.abs(here))
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = np.where(differing & (size > 0), apart / size, 0.0)
    worst = int(apart.argmax()) if len(apart) else 0
    where = (
        ", ".join(f"{key} {part.iloc[worst][key]}" for key in keys if key not in (BY[file], "turn"))
        if differing.any()
        else ""
    )
    return ColumnAgreement(
        file, column, int(paired.sum()), int((~paired).sum()), int(differing.sum()),
        float(apart.max()) if len(apart) else 0.0, float(np.nanmax(relative)) if len(relative) else 0.0, where,
    )  # fmt: skip


def _reasons(first: Path, second: Path) -> list[str]:
    kept = {"plugins", "versions", "machine"}
    one, other = (
        RunFolder(folder).provenance.model_dump(mode="json", include=kept, exclude_none=True)
        for folder in (first, second)
    )
    return [f"{name}: {_short(there)} / {_short(here)}" for name, there, here in differences(one, other)]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{text[:SHORT]}…"
