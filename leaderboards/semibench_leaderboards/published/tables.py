"""Published values as tables for terminals, Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from semibench.tracking.tables import markdown_table
from semibench_leaderboards.published.marks import RECOMPUTED, Mark, impossible, marks
from semibench_leaderboards.published.papers import papers
from semibench_leaderboards.published.values import Value

UNITS = {
    "percent": "%",
    "fraction": "0-1",
    "mm": "mm",
    "unspecified": "no unit",
    "M": "M",
    "G": "G",
    "ms": "ms",
}
NAMES = {
    "iou": "IoU", "dice": "Dice", "f1": "F1", "recall": "recall", "precision": "precision", "hd95": "HD95", "asd": "ASD",
    "assd": "ASSD", "params": "parameters", "gflops": "GFLOPs", "inference_time": "inference time",
}  # fmt: skip
WORST = ("impossible", "inconsistent", "doubtful")
"""Severities whose marks are shown in the cell itself."""

ROW_HEADS = ("data", "setting", "method")

SIGNS = {"impossible": "✗", "inconsistent": "!", "doubtful": "?"}


@dataclass
class PrintedTable:
    """One published table as text."""

    paper: str
    table: str
    title: str
    columns: list[str]
    """Columns after the first three, which are `ROW_HEADS`."""
    rows: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Numbered notes that the signs in the cells refer to."""

    @property
    def heads(self) -> list[str]:
        """All columns."""
        return [*ROW_HEADS, *self.columns]


def printed_tables(values: Iterable[Value]) -> list[PrintedTable]:
    """Lays the values out as in the papers: a row for each data set, setting and method, a column for each metric and class."""
    by_table: dict[tuple[str, str], list[Value]] = defaultdict(list)
    for value in values:
        by_table[value.paper, value.table].append(value)
    return [_printed_table(paper, number, members) for (paper, number), members in by_table.items()]


def heading(paper: str, table: str) -> str:
    """ "MGCC, Table I: self-domain ..." """
    known = papers()[paper]
    return f"{known.title}, Table {table}: {known.tables[table]}"


def cell_text(value: Value) -> str:
    """The value as printed, with its spread; a dash where the cell has no number."""
    if value.value is None:
        return "–"
    spread = f" ± {value.printed_std}" if value.printed_std else ""
    return f"{value.printed}{spread}"


def column_name(value: Value) -> str:
    """Metric and unit, after the class or domain where there is one."""
    group = "" if value.group == "mean" else f"{value.group} "
    return f"{group}{NAMES[value.metric]} [{UNITS[value.unit]}]"


def row_name(value: Value) -> tuple[str, str, str]:
    """Data set, setting with the labeled and unlabeled cases, and method with its role unless it is a baseline."""
    counts = "/".join("?" if count is None else str(count) for count in (value.labeled, value.unlabeled))
    known = value.labeled is not None or value.unlabeled is not None
    setting = value.setting if value.setting == value.block else f"{value.block}: {value.setting}"
    role = {"proposed": " *", "lower-bound": " (lower bound)", "upper-bound": " (upper bound)"}.get(value.role, "")
    return value.dataset or "–", f"{setting} [{counts}]" if known else setting, value.alias + role


def _printed_table(paper: str, number: str, values: Sequence[Value]) -> PrintedTable:
    columns = list(dict.fromkeys(column_name(value) for value in values))
    table = PrintedTable(paper, number, heading(paper, number), columns)
    numbers: dict[tuple[str, str], int] = {}
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for value in values:
        text = cell_text(value)
        for mark in _shown(value):
            key = (mark.source, mark.reason)
            if key not in numbers:
                numbers[key] = len(numbers) + 1
            text += f" {SIGNS.get(mark.severity, '')}[{numbers[key]}]"
        rows.setdefault(row_name(value), {})[column_name(value)] = text
    table.rows = [[*name, *(cells.get(column, "") for column in columns)] for name, cells in rows.items()]
    table.notes = [f"[{index}] {source}: {reason}" for (source, reason), index in numbers.items()]
    return table


def _shown(value: Value) -> list[Mark]:
    """The marks that a reader must see. A recomputed one is left out where an anomaly has the same severity."""
    worst = [mark for mark in marks(value) if mark.severity in WORST]
    known = {mark.severity for mark in worst if mark.source != RECOMPUTED}
    return [mark for mark in worst if mark.source != RECOMPUTED or mark.severity not in known]


FIELDS = (
    "id", "paper", "table", "task", "dataset", "setting", "block", "labeled", "unlabeled", "method", "alias", "role", "group",
    "metric", "unit", "value", "std", "direction", "printed_delta", "category", "anomalies", "remarks", "marks", "impossible",
)  # fmt: skip


def record(value: Value) -> dict[str, Any]:
    """Everything known about a value, as plain types."""
    fields = value.model_dump(mode="json", exclude={"anomaly_texts", "printed", "printed_std", "protocol"})
    fields |= {"id": value.id, "block": value.block}
    fields["marks"] = [mark.model_dump(mode="json") for mark in marks(value)]
    fields["impossible"] = impossible(value)
    return {name: fields[name] for name in FIELDS}


def as_csv(values: Iterable[Value]) -> str:
    """A line for each value, with the printed digits; lists are joined by "; "."""
    out = io.StringIO()
    writer = csv.DictWriter(out, FIELDS, lineterminator="\n")
    writer.writeheader()
    for value in values:
        row = record(value) | {"value": value.printed, "std": value.printed_std}
        row["marks"] = [f"{mark['severity']} ({mark['source']}): {mark['reason']}" for mark in row["marks"]]
        writer.writerow({key: "; ".join(item) if isinstance(item, list) else item for key, item in row.items()})
    return out.getvalue()


def pieces(table: PrintedTable, most: int) -> list[tuple[list[str], list[list[str]]]]:
    """Splits a table for a terminal into (columns, rows) with at most `most` columns after the three names."""
    parts = []
    for start in range(0, len(table.columns), most):
        part = slice(start, start + most)
        parts.append(([*ROW_HEADS, *table.columns[part]], [[*row[:3], *row[3:][part]] for row in table.rows]))
    return parts


def as_markdown(tables: Iterable[PrintedTable]) -> str:
    """The tables as Markdown, each with its notes below."""
    parts = []
    for table in tables:
        lines = [f"### {table.title}", "", markdown_table(table.heads, table.rows, right_aligned=len(table.columns))]
        if table.notes:
            lines += ["", *(f"- {note}" for note in table.notes)]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"
