"""Where the command line writes: results and tables on standard output, all that is said on the way on standard error."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from semibench.files import jsonable

PIPE_WIDTH = 140
"""Columns where the output is no terminal and COLUMNS isn't set."""


class Output(Console):
    """A rich console; `show` writes texts and tables."""

    show = Console.print


def _console(file: TextIO) -> Output:
    known = file.isatty() or "COLUMNS" in os.environ
    return Output(file=file, width=None if known else PIPE_WIDTH, highlight=False, markup=False, emoji=False)


def stdout() -> Output:
    """Results."""
    return _console(sys.stdout)


def stderr() -> Output:
    """Progress, plans, warnings, errors."""
    return _console(sys.stderr)


def emit(record: Any) -> None:
    """One JSON document on standard output; NaN becomes null, so that any JSON reader takes it."""
    text = json.dumps(jsonable(record), indent=2, ensure_ascii=False, allow_nan=False)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "") -> RenderableType:
    """A table that reads well in a terminal, a log file and a bug report; the title is a line of its own."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        made.add_column(column, overflow="fold", no_wrap=number == 0)
    for row in rows:
        made.add_row(*[cell(value) for value in row])
    return Group(Text(title, style="bold"), made) if title else made


def cell(value: Any) -> str:
    """A value as people read it: lists with commas, yes and no, a dash for nothing."""
    if value is None or value == "" or (isinstance(value, (tuple, list, dict)) and not value):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{value:g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(cell(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(
            f"{key}=({cell(inner)})" if isinstance(inner, (list, tuple, dict)) else f"{key}={cell(inner)}"
            for key, inner in value.items()
        )
    return str(value)


def duration(seconds: float) -> str:
    """A time for people: 42 s, 3 min 05 s, 2 h 10 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
