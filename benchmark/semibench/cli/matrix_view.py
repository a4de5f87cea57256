"""Displays a matrix: its plan, its progress (a live table, or a line per finished cell) and its outcome."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.text import Text

from semibench.cli.console import Output, duration, table
from semibench.matrix.driver import MatrixDisplay, Progress

if TYPE_CHECKING:
    from rich.live import Live

    from semibench.contracts.engine import Outcome
    from semibench.matrix.planning import Planned

STYLES = {
    "done": "green",
    "failed": "red",
    "timeout": "red",
    "out-of-memory": "red",
    "skipped": "yellow",
    "interrupted": "yellow",
}
SHOWN = 12
"""Largest number of running cells in the live table; it counts the others."""


def display_for(console: Output, items: Sequence[Planned]) -> LineDisplay:
    """Returns a live table if `console` is a terminal, and otherwise a display that prints lines."""
    live = console.is_terminal and not console.is_dumb_terminal
    return LiveTable(console, items) if live else LineDisplay(console, items)


class LineDisplay(MatrixDisplay):
    """Prints one line for each cell that ended."""

    def __init__(self, console: Output, items: Sequence[Planned]) -> None:
        self.console = console
        self.items = {item.short: item for item in items}

    def ended(self, planned: Planned, outcome: Outcome, progress: Progress) -> None:
        number = len(progress.outcomes)
        words = [f"[{number}/{progress.total}]", outcome.ending, planned.cell.label, planned.short]
        if outcome.seconds:
            words.append(f"in {duration(outcome.seconds)}")
        if outcome.reason:
            words.append(f"- {outcome.reason}")
        left = remaining(progress, self.items)
        if left is not None and number < progress.total:
            words.append(f"({duration(left)} left)")
        self.console.show(" ".join(words), style=STYLES[outcome.ending], soft_wrap=True)

    def close(self) -> None:
        """Ends the display."""


class LiveTable(LineDisplay):
    """Redraws counts and the running cells in place; ended cells scroll above."""

    def __init__(self, console: Output, items: Sequence[Planned]) -> None:
        super().__init__(console, items)
        from rich.live import Live

        self.live: Live = Live(console=console, refresh_per_second=4, transient=True)
        self.live.start()

    def update(self, progress: Progress) -> None:
        self.live.update(live_table(progress, self.items))

    def close(self) -> None:
        self.live.stop()


def live_table(progress: Progress, items: Mapping[str, Planned]) -> RenderableType:
    """Returns the current content of the live table."""
    counts = progress.counts()
    left = remaining(progress, items)
    words = [f"{len(progress.outcomes)}/{progress.total} ended"]
    words += [f"{number} {ending}" for ending, number in counts.items()]
    words += [f"{len(progress.running)} running", duration(time.monotonic() - progress.started)]
    words += [f"about {duration(left)} left"] if left is not None else []
    if progress.stopping:
        words.append("stopping: cells save and exit; Ctrl-C again kills them")
    rows = []
    for name, record in list(progress.running.items())[:SHOWN]:
        share = f"{record['done']}/{record['total']}" if record.get("total") else ""
        seconds = record.get("seconds_left")
        rows.append((items[name].cell.label, record.get("phase"), share, duration(seconds) if seconds else None))
    parts: list[RenderableType] = [Text(" · ".join(words), style="bold")]
    if rows:
        parts.append(table(("cell", "phase", "done", "left"), rows))
    if len(progress.running) > SHOWN:
        parts.append(Text(f"and {len(progress.running) - SHOWN} more"))
    return Group(*parts)


def remaining(progress: Progress, items: Mapping[str, Planned]) -> float | None:
    """Estimates the remaining seconds from the speed so far, weighted by the cells' estimates if all have one.

    Returns None before any cell has ended."""
    ended = [name for name, outcome in progress.outcomes.items() if outcome.seconds > 0]
    if not ended:
        return None
    weight = {name: item.seconds if all(i.seconds for i in items.values()) else 1.0 for name, item in items.items()}
    completed = sum(weight[name] or 0.0 for name in ended)
    outstanding = sum(value or 0.0 for name, value in weight.items() if name not in progress.outcomes)
    elapsed = time.monotonic() - progress.started
    return elapsed * outstanding / completed if completed else None


def show_plan(console: Output, planned: Sequence[Planned]) -> None:
    """Prints every cell with its state, the reason and its estimated time."""
    rows = [(item.short, item.state, _time(item), item.cell.label, item.reason) for item in planned]
    console.show(_wide(("run", "state", "time", "cell", "why"), rows, narrow=3))
    duplicates = sum(len(item.duplicates) for item in planned)
    if duplicates:
        console.show(
            f"{duplicates} cells are the same run as another cell, because an axis has no effect on them; each run is executed once"
        )
    console.show(totals(planned))


def _time(item: Planned) -> str:
    if item.state == "done":
        return ""
    return duration(item.seconds) if item.seconds else "unknown"


def _wide(columns: Sequence[str], rows: Sequence[Sequence[str]], narrow: int) -> RenderableType:
    """Returns a table whose first `narrow` columns are never wrapped and whose other columns share the remaining width."""
    from rich.table import Table

    content = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        content.add_column(column, no_wrap=number < narrow, overflow="fold", ratio=None if number < narrow else 1)
    for row in rows:
        content.add_row(*row)
    return content


def totals(planned: Sequence[Planned]) -> str:
    """Returns one line: the number of cells by state, and the estimated time of those to run."""
    counts = Counter(item.state for item in planned)
    todo = [item for item in planned if item.state in ("missing", "interrupted", "stale")]
    estimates = [item.seconds for item in todo if item.seconds is not None]
    words = f"{len(planned)} cells: " + ", ".join(f"{number} {state}" for state, number in counts.items())
    if todo and estimates:
        more = f" (and {len(todo) - len(estimates)} whose time is unknown)" if len(estimates) < len(todo) else ""
        words += f"; to run: {duration(sum(estimates))} of training in one process{more}"
    return words


def show_end(
    console: Output, planned: Sequence[Planned], endings: Mapping[str, str], reasons: Mapping[str, str]
) -> None:
    """Prints the number of cells by outcome, and why some are not done."""
    rows = [
        (item.short, endings[item.key], item.cell.label, reasons.get(item.key, ""))
        for item in planned
        if endings[item.key] != "done"
    ]
    if rows:
        console.show(_wide(("run", "outcome", "not done", "why"), rows, narrow=2))
    counts = Counter(endings.values())
    words = ", ".join(f"{number} {ending}" for ending, number in counts.most_common())
    console.show(f"{len(planned)} cells: {words}", style="green" if set(counts) <= {"done"} else "yellow")


def record_of(planned: Planned, ending: str, reason: str, seconds: float | None) -> dict[str, Any]:
    """Returns the record of a cell for --json."""
    return planned.record() | {"outcome": ending, "outcome_reason": reason, "seconds": seconds}
