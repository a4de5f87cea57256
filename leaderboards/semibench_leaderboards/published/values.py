"""Printed numbers of the papers, loaded from CSV files that are checked line by line."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from semibench_leaderboards.published.sources import PublishedDataError, text_of

FILES: Mapping[str, str] = {
    "mgcc": "mgcc.csv",
    "diff-cl": "diff_cl.csv",
    "csc-pa": "csc_pa.csv",
    "semsim": "semsim.csv",
    "dtlp": "dtlp.csv",
}
"""Paper -> its file, in the order in which papers are shown."""

COLUMNS = [
    "paper", "table", "task", "dataset", "setting", "labeled", "unlabeled", "method", "method_alias", "role", "group", "metric",
    "unit", "value", "std", "direction", "note",
]  # fmt: skip

NUMBER = re.compile(r"^\d+(\.\d+)?$")
DELTA = re.compile(r"^(?P<number>[+\-?]\d+(?:\.\d+)?)(?: \((?P<remark>[^)]+)\))?$")
ANOMALY = re.compile(r"^anomaly (?P<id>[a-z]+(?:-[a-z]+)*-\d{2}): (?P<text>.+)$")
GAP = "_"
"""Replaces an empty field in an id."""

Role = Literal["proposed", "baseline", "lower-bound", "upper-bound", "variant"]
Unit = Literal["percent", "fraction", "mm", "unspecified", "M", "G", "ms"]


class Value(BaseModel, frozen=True, extra="forbid"):
    """One cell of a published table."""

    paper: str
    table: str
    task: Literal["ssmis", "ablation", "efficiency", "umda", "semi-mdg"]
    dataset: str
    setting: str
    labeled: int | None
    """Number of labeled cases; None where the paper states none."""
    unlabeled: int | None
    """Number of unlabeled cases; None where the paper states none."""
    method: str
    alias: str
    """The method's name as printed."""
    role: Role
    group: str
    """ "mean", or the class or domain of the column."""
    metric: Literal[
        "iou", "dice", "f1", "recall", "precision", "hd95", "asd", "assd", "params", "gflops", "inference_time"
    ]
    unit: Unit
    printed: str
    """The printed digits."""
    value: float | None
    """None where the cell has no number; then `remarks` say why."""
    std: float | None
    """The printed spread."""
    printed_std: str = ""
    direction: Literal["higher", "lower"]
    """Which way is better."""
    protocol: str = ""
    """From the note: the block in which a supervised or ablation row is printed."""
    printed_delta: str = ""
    """From the note: the difference printed in the cell; "?" where its arrow is lost."""
    category: str = ""
    """From the note: group of rows."""
    anomalies: tuple[str, ...] = ()
    """From the note: ids of the anomalies that concern the value."""
    anomaly_texts: tuple[str, ...] = ()
    """From the note: a text for each of the anomalies."""
    remarks: tuple[str, ...] = ()
    """The rest of the note."""

    @property
    def id(self) -> str:
        """Name of the cell: paper/table/dataset/setting/labeled-unlabeled/method/group/metric, with "@block" where there is one."""
        counts = "-".join(GAP if count is None else str(count) for count in (self.labeled, self.unlabeled))
        dataset, setting = self.dataset or GAP, self.setting.replace("/", "|")
        parts = (self.paper, self.table, dataset, setting, counts, self.method, self.group, self.metric)
        return "/".join(parts) + (f"@{self.protocol}" if self.protocol else "")

    @property
    def block(self) -> str:
        """The block of the table in which the row is printed: its own setting, or the one in the note."""
        return self.protocol or self.setting

    @property
    def rounding(self) -> float:
        """Half a unit of the last printed digit."""
        decimals = len(self.printed.partition(".")[2])
        return 0.5 * 10.0**-decimals

    @property
    def overlap(self) -> bool:
        """Whether it is a ratio in 0..1, printed as percent or as fraction."""
        return self.unit in ("percent", "fraction")

    @property
    def share(self) -> float | None:
        """An overlap in 0..1, as the harness stores it; other values unchanged."""
        if self.value is None or self.unit != "percent":
            return self.value
        return round(self.value / 100, len(self.printed.partition(".")[2]) + 2)


@cache
def values() -> tuple[Value, ...]:
    """All published values, paper by paper in the order of their tables. Raises PublishedDataError with file and line."""
    return tuple(value for paper, name in FILES.items() for value in read(text_of(name), name, paper))


@cache
def by_id() -> Mapping[str, Value]:
    """All published values by their ids."""
    return {value.id: value for value in values()}


def read(text: str, name: str, paper: str) -> list[Value]:
    """The values of a CSV text.

    Args:
        text: content of the file.
        name: name of the file, for messages.
        paper: required content of the first column.
    """
    lines = csv.reader(io.StringIO(text))
    header = next(lines, [])
    if header != COLUMNS:
        raise PublishedDataError(f"{name}, line 1: expected the columns {','.join(COLUMNS)}; found {','.join(header)}")
    read_values: list[Value] = []
    seen: dict[str, int] = {}
    for cells in lines:
        number = lines.line_num
        if len(cells) != len(COLUMNS):
            raise PublishedDataError(f"{name}, line {number}: expected {len(COLUMNS)} cells, found {len(cells)}")
        row = dict(zip(COLUMNS, cells, strict=True))
        try:
            value = _value(row)
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
            raise PublishedDataError(f"{name}, line {number}: {problems}") from error
        except ValueError as error:
            raise PublishedDataError(f"{name}, line {number}: {error}") from error
        if value.paper != paper:
            raise PublishedDataError(f"{name}, line {number}: paper is {value.paper!r}, expected {paper!r}")
        if value.id in seen:
            raise PublishedDataError(f"{name}, line {number}: {value.id} is in line {seen[value.id]} too")
        seen[value.id] = number
        read_values.append(value)
    return read_values


def _value(row: Mapping[str, str]) -> Value:
    for column in ("value", "std"):
        if row[column] and not NUMBER.match(row[column]):
            raise ValueError(f"{column} is {row[column]!r}, expected a plain decimal or nothing")
    note = parse_note(row["note"])
    if not row["value"] and not note["remarks"]:
        raise ValueError("an empty value needs a note that explains it")
    fields = {
        key: row[key] for key in COLUMNS if key not in ("labeled", "unlabeled", "method_alias", "value", "std", "note")
    }
    return Value(
        **fields,
        labeled=int(row["labeled"]) if row["labeled"] else None,
        unlabeled=int(row["unlabeled"]) if row["unlabeled"] else None,
        alias=row["method_alias"],
        printed=row["value"],
        value=float(row["value"]) if row["value"] else None,
        std=float(row["std"]) if row["std"] else None,
        printed_std=row["std"],
        **note,
    )


def parse_note(note: str) -> dict[str, Any]:
    """Parses a note: protocol=, printed_delta=, category=, "anomaly ID: text" and remarks, separated by "; ".

    A remark may contain a semicolon. Raises ValueError for a tag that is malformed or repeated.
    """
    tags: dict[str, str] = {}
    anomalies: list[str] = []
    texts: list[str] = []
    remarks: list[str] = []
    for part in filter(None, note.split("; ")):
        head, equals, rest = part.partition("=")
        anomaly = ANOMALY.match(part)
        if equals and head in ("protocol", "printed_delta", "category"):
            if head in tags:
                raise ValueError(f"note: {head}= is repeated")
            if head == "printed_delta":
                delta = DELTA.match(rest)
                if delta is None:
                    raise ValueError(f"note: printed_delta={rest!r}, expected a sign (+, -, ?) and a decimal")
                rest = delta["number"]
                remarks += [delta["remark"]] if delta["remark"] else []
            tags[head] = rest
        elif anomaly:
            anomalies.append(anomaly["id"])
            texts.append(anomaly["text"])
        elif part.startswith("anomaly"):
            raise ValueError(f"note: {part!r}, expected 'anomaly ID: text'")
        else:
            remarks.append(part)
    return {**tags, "anomalies": tuple(anomalies), "anomaly_texts": tuple(texts), "remarks": tuple(remarks)}
