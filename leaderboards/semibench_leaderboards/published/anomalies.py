"""The known inconsistencies of the published tables, as data."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ValidationError, field_validator

from semibench_leaderboards.published.sources import PublishedDataError, text_of

ID = re.compile(r"^[a-z]+(?:-[a-z]+)*-\d{2}$")
Severity = Literal["impossible", "inconsistent", "doubtful", "text", "extraction", "remark"]

MEANINGS: Mapping[str, str] = {
    "impossible": "cannot be right as printed",
    "inconsistent": "two printed numbers that should agree don't",
    "doubtful": "values repeated where they should not be",
    "text": "a sentence of the paper disagrees with its table",
    "extraction": "damage or ambiguity of the extracted text, and how it was read",
    "remark": "possible, but a reader should know",
}
"""Severity -> what it means, worst first."""


class Anomaly(BaseModel, frozen=True, extra="forbid"):
    """An inconsistency of a paper."""

    id: str
    """As in the notes of the values: paper-NN."""
    paper: str
    where: str
    """Tables or text."""
    kind: str
    """Sort of inconsistency."""
    severity: Severity
    what: str
    """Description."""
    found: tuple[str, ...] = ()
    """The rows or sentences as printed."""

    @field_validator("id")
    @classmethod
    def _id(cls, value: str) -> str:
        if not ID.match(value):
            raise ValueError(f"expected paper-NN, got {value!r}")
        return value

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables named in `where`: ("I", "II") for "Table I, II". A range with Roman ends is expanded."""
        if not self.where.startswith("Table"):
            return ()
        tables: list[str] = []
        for part in re.split(r"[,;] *", self.where.removeprefix("Table ")):
            first, to, last = part.partition(" to ")
            tables += _between(first.strip(), last.strip()) if to else [part.strip()]
        return tuple(tables)


ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII")


def _between(first: str, last: str) -> list[str]:
    return list(ROMAN[ROMAN.index(first) : ROMAN.index(last) + 1])


@cache
def anomalies() -> Mapping[str, Anomaly]:
    """All anomalies by id, in the order of the papers. Raises PublishedDataError."""
    return {anomaly.id: anomaly for anomaly in read(text_of("anomalies.yaml"), "anomalies.yaml")}


def read(text: str, name: str) -> list[Anomaly]:
    """The anomalies of a YAML text. name: of the file, for messages."""
    records: list[dict[str, Any]] = yaml.safe_load(text)
    read_anomalies = []
    for number, record in enumerate(records, start=1):
        try:
            read_anomalies.append(Anomaly(**record))
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
            raise PublishedDataError(f"{name}, entry {number} ({record.get('id')}): {problems}") from error
    repeated = [name for name, count in Counter(anomaly.id for anomaly in read_anomalies).items() if count > 1]
    if repeated:
        raise PublishedDataError(f"{name}: these ids occur twice: {', '.join(repeated)}")
    return read_anomalies
