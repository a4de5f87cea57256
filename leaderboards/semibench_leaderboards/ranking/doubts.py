"""Caveats: what a reader must know before trusting a row or a board."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from semibench_leaderboards.ranking.rows import Row
from semibench_leaderboards.reading.cases import CaseScores
from semibench_leaderboards.reading.records import DrawFold, RunRecord


def row_notes(
    runs: Sequence[RunRecord], current: Sequence[RunRecord], counted: Sequence[RunRecord], tables: Sequence[CaseScores],
    devices: Sequence[str], code_changes: Sequence[str] = (),
) -> list[str]:  # fmt: skip
    """Caveats of a row, a sentence each.

    Args:
        runs: all runs of the row.
        current: those that aren't stale.
        counted: those that are done and scored.
        tables: values by case of the counted runs.
        devices: names of the devices that computed them.
        code_changes: why the row's code differs from the code installed here.
    """
    notes = [f"stale, run it again: {', '.join(code_changes)} since"] if code_changes else []
    states = Counter(record.state for record in current)
    for state in ("failed", "interrupted", "running"):
        if states[state]:
            notes.append(f"{states[state]} of {len(current)} runs {state}")
    stale = len(runs) - len(current)
    if stale:
        notes.append(f"{stale} runs made with other code are left out")
    unscored = states["done"] - len(counted)
    if unscored:
        notes.append(f"{unscored} finished runs don't have this score")
    study = next((record.study for record in runs if record.study), None)
    if study:
        notes.append(f"tuned ({runs[0].tuning}) by study {study}")
    if len(devices) > 1:
        notes.append(f"mixed devices: {', '.join(devices)}")
    missing = sum(len(table.cases.missing) for table in tables)
    if missing:
        notes.append(f"{missing} test cases without a score")
    case_sets: dict[DrawFold, set[str]] = {}
    for record, table in zip(counted, tables, strict=True):
        case_sets.setdefault(record.draw_fold, set()).add(table.cases.digest)
    if any(len(digests) > 1 for digests in case_sets.values()):
        notes.append("runs of one draw and fold have different test cases")
    return notes


def board_warnings(runs: Sequence[RunRecord], rows: Sequence[Row]) -> list[str]:
    """Caveats of a whole board, a sentence each."""
    warnings = []
    if runs[0].phantom:
        warnings.append("PHANTOM DATA: procedural stand-ins, not patients; never compare with results on real files")
    for role in ("dataset", "protocol"):
        codes = {
            record.provenance.plugins[role].source
            for record in runs
            if record.counts and role in record.provenance.plugins
        }
        if len(codes) > 1:
            warnings.append(
                f"the code of the {role} differs between rows ({len(codes)} versions): run the older rows again"
            )
    stale = sum(row.doubts.stale for row in rows)
    if stale:
        warnings.append(
            f"{stale} of {len(rows)} rows are stale, made with other code than is installed here: run them again"
        )
    if len({record.provenance.numerics for record in runs if record.counts and record.provenance.versions}) > 1:
        warnings.append("rows were made with different numerics of the harness: run the older ones again")
    splits: dict[tuple[DrawFold, bool], set[str]] = {}  # a control's unlabeled pool is another one
    for record in runs:
        if record.counts and record.split:
            splits.setdefault((record.draw_fold, record.spec.entry.is_control), set()).add(record.split)
    if any(len(digests) > 1 for digests in splits.values()):
        warnings.append("runs of one draw and fold were made on different splits: run the older ones again")
    if len({row.costs.devices for row in rows if row.n}) > 1:
        warnings.append("rows were computed on different devices: times and memory can't be compared")
    return warnings
