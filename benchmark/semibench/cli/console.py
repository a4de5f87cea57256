"""Output of the command line: results and tables go to standard output, everything else to standard error."""

from __future__ import annotations

import io
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
from semibench.untrusted import CONTROL, printable, without_secrets

PIPE_WIDTH = 140
"""Width in columns if the output isn't a terminal and COLUMNS isn't set."""


class Output(Console):
    """A rich console."""

    def show(self, *content: RenderableType, **style: Any) -> None:
        """Prints texts and tables. Texts come from anybody: control characters are written out, and passwords left out."""
        self.print(*(safe(item) if isinstance(item, str) else item for item in content), **style)


def safe(text: str) -> str:
    """Returns a text that a terminal shows as it is, without passwords and tokens."""
    return printable(without_secrets(text))


def _console(file: TextIO) -> Output:
    has_width = file.isatty() or "COLUMNS" in os.environ
    return Output(file=file, width=None if has_width else PIPE_WIDTH, highlight=False, markup=False, emoji=False)


def stdout() -> Output:
    """Returns the console for results."""
    return _console(sys.stdout)


def stderr() -> Output:
    """Returns the console for progress, plans, warnings and errors."""
    return _console(sys.stderr)


def tolerant_streams() -> None:
    """Lets both streams replace the letters that their encoding lacks, such as a dash on a terminal that only knows ASCII.

    What is written to a closed stream is lost, as its user wants it."""
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


_results: TextIO | None = None
"""The stream for results once `reserve_stdout` has been called; None: sys.stdout."""


def reserve_stdout() -> None:
    """Keeps standard output for `emit`, in this process: whatever else writes to it goes to standard error.

    It covers the prints of plug-ins, of C libraries and of child processes. A stdout that is no longer the process's own, as
    in a test, stays as it is."""
    global _results
    output, errors = sys.__stdout__, sys.__stderr__
    if _results is not None or output is None or errors is None or sys.stdout is not output:
        return
    output.flush()
    own = os.dup(output.fileno())
    _results = open(own, "w", encoding=output.encoding, errors="replace", closefd=True)  # noqa: SIM115
    os.dup2(errors.fileno(), output.fileno())


def emit(record: Any) -> None:
    """Prints one JSON document on standard output. NaN becomes null, which every JSON reader accepts.

    Where the output can't hold a letter, all letters beyond ASCII are written as JSON escapes: nothing is lost."""
    text = json.dumps(jsonable(record), indent=2, ensure_ascii=False, allow_nan=False)
    text = CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", without_secrets(text))
    stream = _results or sys.stdout
    try:
        text.encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        text = json.dumps(json.loads(text), indent=2, allow_nan=False)
    stream.write(text + "\n")
    stream.flush()


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "") -> RenderableType:
    """Returns a table that reads well in a terminal, a log file and a bug report. title: printed above it."""
    content = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        content.add_column(safe(column), overflow="fold", no_wrap=number == 0)
    for row in rows:
        content.add_row(*[cell(value) for value in row])
    return Group(Text(safe(title), style="bold"), content) if title else content


def cell(value: Any) -> str:
    """Formats a value for readers: lists with commas, yes and no, a dash for an empty value."""
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
            f"{safe(str(key))}=({cell(inner)})"
            if isinstance(inner, (list, tuple, dict))
            else f"{safe(str(key))}={cell(inner)}"
            for key, inner in value.items()
        )
    return safe(str(value))


def duration(seconds: float) -> str:
    """Formats a duration for readers: 42 s, 3 min 05 s, 2 h 10 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
