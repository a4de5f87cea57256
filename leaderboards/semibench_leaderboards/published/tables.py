"""Published values as tables for people, spreadsheets and programs."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from semibench_leaderboards.published.marks import RECOMPUTED, Mark, marks
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
"""Severities whose marks stand in the cell itself."""

SIGNS = {"impossible": "✗", "inconsistent": "!", "doubtful": "?"}


@dataclass
class Sheet:
    """One published table. columns: after the first three ("data", "setting", "method"); notes: what the signs in cells refer
    to, each with its number."""

    paper: str
    table: str
    title: str
    columns: list[str]
    rows: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def sheets(values: Iterable[Value]) -> list[Sheet]:
    """The values laid out as in the papers: a row per data set, setting and method, a column per metric (and class)."""
    by_table: dict[tuple[str, str], list[Value]] = defaultdict(list)
    for value in values:
        by_table[value.paper, value.table].append(value)
    return [_sheet(paper, number, chosen) for (paper, number), chosen in by_table.items()]


def heading(paper: str, table: str) -> str:
    """ "MGCC, Table I: self-domain ..." """
    known = papers()[paper]
    return f"{known.title}, Table {table}: {known.tables[table]}"


def cell_text(value: Value) -> str:
    """As printed, with the spread; a dash where the cell holds no number."""
    if value.value is None:
        return "–"
    spread = f" ± {value.printed_std}" if value.printed_std else ""
    return f"{value.printed}{spread}"


def column_name(value: Value) -> str:
    """Metric, class or domain where it is one, and unit."""
    group = "" if value.group == "mean" else f"{value.group} "
    return f"{group}{NAMES[value.metric]} [{UNITS[value.unit]}]"


def row_name(value: Value) -> tuple[str, str, str]:
    """Data set, setting with its labeled and unlabeled cases, and method with its role where it is a special one."""
    counts = "/".join("?" if count is None else str(count) for count in (value.labeled, value.unlabeled))
    known = value.labeled is not None or value.unlabeled is not None
    setting = value.setting if value.setting == value.block else f"{value.block}: {value.setting}"
    role = {"proposed": " *", "lower-bound": " (lower bound)", "upper-bound": " (upper bound)"}.get(value.role, "")
    return value.dataset or "–", f"{setting} [{counts}]" if known else setting, value.alias + role


def _sheet(paper: str, table: str, values: Sequence[Value]) -> Sheet:
    columns = list(dict.fromkeys(column_name(value) for value in values))
    sheet = Sheet(paper, table, heading(paper, table), columns)
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
    sheet.rows = [[*name, *(cells.get(column, "") for column in columns)] for name, cells in rows.items()]
    sheet.notes = [f"[{number}] {source}: {reason}" for (source, reason), number in numbers.items()]
    return sheet


def _shown(value: Value) -> list[Mark]:
    """The marks that a reader of the number must see; a recomputed one only where no anomaly tells it already."""
    found = [mark for mark in marks(value) if mark.severity in WORST]
    told = {mark.severity for mark in found if mark.source != RECOMPUTED}
    return [mark for mark in found if mark.source != RECOMPUTED or mark.severity not in told]


FIELDS = (
    "id", "paper", "table", "task", "dataset", "setting", "block", "labeled", "unlabeled", "method", "alias", "role", "group",
    "metric", "unit", "value", "std", "direction", "printed_delta", "category", "anomalies", "remarks", "marks", "impossible",
)  # fmt: skip


def record(value: Value) -> dict[str, Any]:
    """Everything known of a value, as plain types."""
    found = value.model_dump(mode="json", exclude={"anomaly_texts", "printed", "printed_std", "protocol"})
    found |= {"id": value.id, "block": value.block}
    found["marks"] = [mark.model_dump(mode="json") for mark in marks(value)]
    found["impossible"] = next((mark.reason for mark in marks(value) if mark.severity == "impossible"), None)
    return {name: found[name] for name in FIELDS}


def as_csv(values: Iterable[Value]) -> str:
    """One line per value, with the printed digits; lists are joined by "; "."""
    out = io.StringIO()
    writer = csv.DictWriter(out, FIELDS, lineterminator="\n")
    writer.writeheader()
    for value in values:
        row = record(value) | {"value": value.printed, "std": value.printed_std}
        row["marks"] = [f"{mark['severity']} ({mark['source']}): {mark['reason']}" for mark in row["marks"]]
        writer.writerow({key: "; ".join(item) if isinstance(item, list) else item for key, item in row.items()})
    return out.getvalue()


def pieces(sheet: Sheet, most: int) -> list[tuple[list[str], list[list[str]]]]:
    """The sheet in (columns, rows) of at most `most` columns behind the three names, for a terminal."""
    found = []
    for start in range(0, len(sheet.columns), most):
        part = slice(start, start + most)
        head = ["data", "setting", "method", *sheet.columns[part]]
        found.append((head, [[*row[:3], *row[3:][part]] for row in sheet.rows]))
    return found


def as_markdown(found: Iterable[Sheet]) -> str:
    """The sheets as Markdown, notes below each."""
    parts = []
    for sheet in found:
        head = ["data", "setting", "method", *sheet.columns]
        lines = [f"### {sheet.title}", "", _line(head), _line(["---"] * 3 + ["---:"] * len(sheet.columns))]
        lines += [_line(row) for row in sheet.rows]
        if sheet.notes:
            lines += ["", *(f"- {note}" for note in sheet.notes)]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
