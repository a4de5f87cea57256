"""Published id lists, kept beside this file as plain facts (one id per line; sources in docs/datasets.md)."""

from __future__ import annotations

import csv
import io
from functools import cache
from importlib import resources


@cache
def read_ids(name: str) -> tuple[str, ...]:
    """The ids of a list, e.g. "la/train.list", in file order."""
    return tuple(line.strip() for line in _text(name).splitlines() if line.strip())


@cache
def read_rows(name: str) -> tuple[dict[str, str], ...]:
    """The rows of a small table, e.g. "mnms/frames.csv"."""
    return tuple(csv.DictReader(io.StringIO(_text(name))))


def _text(name: str) -> str:
    return resources.files("semibench_plugins.splits").joinpath(name).read_text(encoding="utf-8")
