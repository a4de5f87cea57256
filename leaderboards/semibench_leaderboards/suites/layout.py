"""The status of a suite as tables and records."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from semibench_leaderboards.published.marks import impossible
from semibench_leaderboards.published.tables import Sheet, column_name, heading, row_name
from semibench_leaderboards.suites.coverage import coverage
from semibench_leaderboards.suites.expansion import SuiteCell
from semibench_leaderboards.suites.schema import Suite
from semibench_leaderboards.suites.status import LEFT_OUT, Entry, Status

DASH = "–"


def entry_text(entry: Entry) -> str:
    """ "68.06 | 65.10 | -2.96": published, reproduced, difference; "(2/3)" where runs are missing; "✗" behind what can't be
    right as printed."""
    value = entry.value
    printed = DASH if value.value is None else value.printed + (" ✗" if impossible(value) else "")
    if entry.reproduced is None:
        return f"{printed} | {DASH} | {DASH}"
    decimals = len(value.printed.partition(".")[2]) if value.printed else 2
    spread = "" if entry.std is None else f" ± {entry.std:.{decimals}f}"
    partly = "" if entry.complete else f" ({entry.n}/{entry.wanted})"
    difference = DASH if entry.difference is None else f"{entry.difference:+.{decimals}f}"
    return f"{printed} | {entry.reproduced:.{decimals}f}{spread}{partly} | {difference}"


def sheet(found: Status) -> Sheet:
    """A row per row of the published table, a column per metric; notes: why rows have no number."""
    place = found.suite.published
    assert place is not None
    columns = list(dict.fromkeys(column_name(entry.value) for entry in found.entries if entry.reason != LEFT_OUT))
    title = heading(place.paper, place.table) + ": published | reproduced | difference"
    rows: dict[tuple[str, str, str], dict[str, Entry]] = {}
    for entry in found.entries:
        if entry.reason == LEFT_OUT:
            continue
        rows.setdefault(row_name(entry.value), {})[column_name(entry.value)] = entry
    made = Sheet(place.paper, place.table, title, [*columns, "runs"])
    reasons: dict[str, int] = {}
    for name, cells in rows.items():
        texts = [entry_text(cells[column]) if column in cells else "" for column in columns]
        wanted = max((entry.wanted for entry in cells.values()), default=0)
        n = max((entry.n for entry in cells.values()), default=0)
        numbers = []
        for entry in cells.values():
            if entry.reason:
                numbers.append(reasons.setdefault(entry.reason, len(reasons) + 1))
        marks = "".join(f" [{number}]" for number in dict.fromkeys(numbers))
        made.rows.append([*name, *texts, (f"{n}/{wanted}" if wanted else DASH) + marks])
    made.notes = [f"[{number}] {reason}" for reason, number in reasons.items()]
    return made


def records(found: Status) -> dict[str, Any]:
    """The status as plain types."""
    return {
        "suite": found.suite.name,
        "phantom": found.phantom,
        "warnings": list(found.warnings),
        "values": [
            {
                "id": entry.value.id, "method": entry.value.method, "metric": entry.value.metric, "group": entry.value.group,
                "unit": entry.value.unit, "published": entry.value.value, "published_std": entry.value.std,
                "impossible": impossible(entry.value), "reproduced": entry.reproduced, "std": entry.std,
                "difference": entry.difference, "runs": entry.n, "wanted": entry.wanted, "reason": entry.reason,
            }
            for entry in found.entries
        ],
        "rows": [
            {
                "grid": row.grid, "name": row.name, "states": dict(row.states),
                "runs": [run.key for run in row.runs],
            }
            for row in found.rows
        ],
        "missing": [item.cell.to_command() for item in found.missing],
        "absent": found.absent,
    }  # fmt: skip


def overview(suite: Suite, cells: Iterable[SuiteCell]) -> tuple[str, str, int, int, int, int, str, str]:
    """One line of `bench suite list`: name, subject, values, those no run can fill, cells, of them runnable, what isn't in
    the harness, on what the paper selected."""
    listed = list(cells)
    known = coverage(suite)
    absent = sorted({name.split("'")[1] for cell in listed for name in cell.missing})
    by = suite.selection.by if suite.selection is not None else ""
    subject = suite.title.partition("— ")[2] or suite.title
    runnable = sum(cell.runnable for cell in listed)
    return suite.name, subject, len(known.owners), len(known.reasons), len(listed), runnable, ", ".join(absent), by
