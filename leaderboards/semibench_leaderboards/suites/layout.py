"""Lays the status of a suite out as tables and records."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from semibench_leaderboards.published.marks import impossible
from semibench_leaderboards.published.tables import PrintedTable, column_name, heading, row_name
from semibench_leaderboards.suites.coverage import coverage
from semibench_leaderboards.suites.expansion import SuiteCell
from semibench_leaderboards.suites.schema import Suite
from semibench_leaderboards.suites.status import NOT_CHOSEN, SuiteStatus, ValueStatus

DASH = "–"


def value_text(entry: ValueStatus) -> str:
    """ "68.06 | 65.10 | -2.96": published, reproduced, difference; with "(2/3)" where runs are missing and "✗" after a value that
    can't be right as printed."""
    value = entry.value
    printed = DASH if value.value is None else value.printed + (" ✗" if impossible(value) else "")
    if entry.reproduced is None:
        return f"{printed} | {DASH} | {DASH}"
    decimals = len(value.printed.partition(".")[2]) if value.printed else 2
    spread = "" if entry.std is None else f" ± {entry.std:.{decimals}f}"
    progress = "" if entry.complete else f" ({entry.n}/{entry.wanted})"
    difference = DASH if entry.difference is None else f"{entry.difference:+.{decimals}f}"
    return f"{printed} | {entry.reproduced:.{decimals}f}{spread}{progress} | {difference}"


def status_table(status: SuiteStatus) -> PrintedTable:
    """A row for each row of the published table, a column for each metric; the notes say why rows have no number."""
    published = status.suite.published
    assert published is not None
    columns = list(dict.fromkeys(column_name(entry.value) for entry in status.entries if entry.reason != NOT_CHOSEN))
    title = heading(published.paper, published.table) + ": published | reproduced | difference"
    rows: dict[tuple[str, str, str], dict[str, ValueStatus]] = {}
    for entry in status.entries:
        if entry.reason == NOT_CHOSEN:
            continue
        rows.setdefault(row_name(entry.value), {})[column_name(entry.value)] = entry
    printed = PrintedTable(published.paper, published.table, title, [*columns, "runs"])
    reasons: dict[str, int] = {}
    for name, cells in rows.items():
        texts = [value_text(cells[column]) if column in cells else "" for column in columns]
        wanted = max((entry.wanted for entry in cells.values()), default=0)
        n = max((entry.n for entry in cells.values()), default=0)
        numbers = []
        for entry in cells.values():
            if entry.reason:
                numbers.append(reasons.setdefault(entry.reason, len(reasons) + 1))
        marks = "".join(f" [{number}]" for number in dict.fromkeys(numbers))
        printed.rows.append([*name, *texts, (f"{n}/{wanted}" if wanted else DASH) + marks])
    printed.notes = [f"[{number}] {reason}" for reason, number in reasons.items()]
    return printed


def records(status: SuiteStatus) -> dict[str, Any]:
    """The status of a suite as plain types."""
    return {
        "suite": status.suite.name,
        "phantom": status.phantom,
        "warnings": list(status.warnings),
        "values": [
            {
                "id": entry.value.id, "method": entry.value.method, "metric": entry.value.metric, "group": entry.value.group,
                "unit": entry.value.unit, "published": entry.value.value, "published_std": entry.value.std,
                "impossible": impossible(entry.value), "reproduced": entry.reproduced, "std": entry.std,
                "difference": entry.difference, "runs": entry.n, "wanted": entry.wanted, "reason": entry.reason,
            }
            for entry in status.entries
        ],
        "rows": [
            {
                "grid": row.grid, "name": row.name, "states": dict(row.states),
                "runs": [run.key for run in row.runs],
            }
            for row in status.rows
        ],
        "missing": [item.cell.to_command() for item in status.missing],
        "absent": status.absent,
    }  # fmt: skip


def overview(suite: Suite, cells: Iterable[SuiteCell]) -> tuple[str, str, int, int, int, int, str, str]:
    """A line of `bench suite list`.

    Name, subject, the numbers of values, of values that no run can fill, of cells and of runnable cells, what isn't in the
    harness, and what the paper selected on.
    """
    listed = list(cells)
    covered = coverage(suite)
    absent = sorted({name.split("'")[1] for cell in listed for name in cell.missing})
    by = suite.selection.by if suite.selection is not None else ""
    subject = suite.title.partition("— ")[2] or suite.title
    runnable = sum(cell.runnable for cell in listed)
    return suite.name, subject, len(covered.owners), len(covered.reasons), len(listed), runnable, ", ".join(absent), by
