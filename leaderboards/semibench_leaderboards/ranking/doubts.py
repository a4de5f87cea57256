"""What a reader must know before trusting a row or a board."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from semibench_leaderboards.reading.cases import CaseScores
from semibench_leaderboards.reading.records import RunRecord

if TYPE_CHECKING:
    from semibench_leaderboards.ranking.boards import Row


def row_notes(
    runs: Sequence[RunRecord], fresh: Sequence[RunRecord], counted: Sequence[RunRecord], tables: Sequence[CaseScores],
    devices: Sequence[str],
) -> list[str]:  # fmt: skip
    """Doubts about a row. runs: all of it; fresh: those that aren't stale; counted: done and scored, with their tables."""
    found = []
    states = Counter(record.state for record in fresh)
    for state in ("failed", "interrupted", "running"):
        if states[state]:
            found.append(f"{states[state]} of {len(fresh)} runs {state}")
    stale = len(runs) - len(fresh)
    if stale:
        found.append(f"{stale} runs made with other code are left out")
    unscored = states["done"] - len(counted)
    if unscored:
        found.append(f"{unscored} finished runs don't have this score")
    study = next((record.study for record in runs if record.study), None)
    if study:
        found.append(f"tuned ({runs[0].tuning}) by study {study}")
    if len(devices) > 1:
        found.append(f"mixed devices: {', '.join(devices)}")
    missing = sum(len(table.cases.missing) for table in tables)
    if missing:
        found.append(f"{missing} test cases without a score")
    sets: dict[tuple[int | None, int | None], set[str]] = {}
    for record, table in zip(counted, tables, strict=True):
        sets.setdefault(record.place, set()).add(table.cases.digest)
    if any(len(digests) > 1 for digests in sets.values()):
        found.append("runs of one draw and fold have different test cases")
    return found


def board_warnings(runs: Sequence[RunRecord], rows: Sequence[Row]) -> list[str]:
    """Doubts about a whole board."""
    found = []
    if runs[0].phantom:
        found.append("PHANTOM DATA: procedural stand-ins, not patients; never compare with results on real files")
    for role in ("dataset", "protocol"):
        codes = {
            record.provenance.plugins[role].source
            for record in runs
            if record.counts and role in record.provenance.plugins
        }
        if len(codes) > 1:
            found.append(
                f"the code of the {role} differs between rows ({len(codes)} versions): run the older rows again"
            )
    if len({record.provenance.numerics for record in runs if record.counts and record.provenance.versions}) > 1:
        found.append("rows were made with different numerics of the harness: run the older ones again")
    splits: dict[tuple[int | None, int | None], set[str]] = {}
    for record in runs:
        if record.counts and record.split:
            splits.setdefault(record.place, set()).add(record.split)
    if any(len(digests) > 1 for digests in splits.values()):
        found.append("runs of one draw and fold were made on different splits: run the older ones again")
    if len({row.devices for row in rows if row.n}) > 1:
        found.append("rows were computed on different devices: times and memory can't be compared")
    return found
