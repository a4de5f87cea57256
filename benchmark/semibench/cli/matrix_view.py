"""Draws a matrix: a live table on a terminal, a line per finished cell elsewhere; its plan and its end as tables."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.text import Text

from semibench.cli.console import Output, duration, table
from semibench.matrix.driver import Progress, View

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
"""Running cells that the live table shows; more are counted."""


def view_for(console: Output, items: Sequence[Planned]) -> MatrixView:
    """A live table where `console` is a terminal, lines otherwise."""
    live = console.is_terminal and not console.is_dumb_terminal
    return LiveTable(console, items) if live else MatrixView(console, items)


class MatrixView(View):
    """One line per ended cell."""

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
        """Nothing more comes."""


class LiveTable(MatrixView):
    """Counts, bars and the running cells, redrawn in place; ended cells scroll above."""

    def __init__(self, console: Output, items: Sequence[Planned]) -> None:
        super().__init__(console, items)
        from rich.live import Live

        self.live: Live = Live(console=console, refresh_per_second=4, transient=True)
        self.live.start()

    def update(self, progress: Progress) -> None:
        self.live.update(picture(progress, self.items))

    def close(self) -> None:
        self.live.stop()


def picture(progress: Progress, items: Mapping[str, Planned]) -> RenderableType:
    """What the live table shows now."""
    counts = progress.counts()
    left = remaining(progress, items)
    words = [f"{len(progress.outcomes)}/{progress.total} ended"]
    words += [f"{number} {ending}" for ending, number in counts.items()]
    words += [f"{len(progress.running)} running", duration(time.monotonic() - progress.started)]
    words += [f"about {duration(left)} left"] if left is not None else []
    if progress.stopping:
        words.append("stopping: running cells save and end; Ctrl-C again kills them")
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
    """Seconds to the end at the speed so far, weighed by the cells' estimates where all have one; None before any ended."""
    ended = [name for name, outcome in progress.outcomes.items() if outcome.seconds > 0]
    if not ended:
        return None
    weight = {name: item.seconds if all(i.seconds for i in items.values()) else 1.0 for name, item in items.items()}
    behind = sum(weight[name] or 0.0 for name in ended)
    ahead = sum(value or 0.0 for name, value in weight.items() if name not in progress.outcomes)
    elapsed = time.monotonic() - progress.started
    return elapsed * ahead / behind if behind else None


def show_plan(console: Output, planned: Sequence[Planned]) -> None:
    """Every cell with its state, the reason, and the time it will take."""
    rows = [(item.short, item.state, _time(item), item.cell.label, item.reason) for item in planned]
    console.show(_wide(("run", "state", "time", "cell", "why"), rows, narrow=3))
    duplicates = sum(len(item.duplicates) for item in planned)
    if duplicates:
        console.show(
            f"{duplicates} cells are the same run as another one (an axis has no meaning there) and are run once"
        )
    console.show(totals(planned))


def _time(item: Planned) -> str:
    if item.state == "done":
        return ""
    return duration(item.seconds) if item.seconds else "unknown"


def _wide(columns: Sequence[str], rows: Sequence[Sequence[str]], narrow: int) -> RenderableType:
    """A table whose first columns are never broken and whose others share the rest of the width."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        made.add_column(column, no_wrap=number < narrow, overflow="fold", ratio=None if number < narrow else 1)
    for row in rows:
        made.add_row(*row)
    return made


def totals(planned: Sequence[Planned]) -> str:
    """One line: cells by state, and the time of what isn't done."""
    counts = Counter(item.state for item in planned)
    todo = [item for item in planned if item.state in ("missing", "interrupted", "stale")]
    known = [item.seconds for item in todo if item.seconds is not None]
    words = f"{len(planned)} cells: " + ", ".join(f"{number} {state}" for state, number in counts.items())
    if todo and known:
        more = f" (and {len(todo) - len(known)} whose time is unknown)" if len(known) < len(todo) else ""
        words += f"; to run: {duration(sum(known))} of one process in training{more}"
    return words


def show_end(
    console: Output, planned: Sequence[Planned], endings: Mapping[str, str], reasons: Mapping[str, str]
) -> None:
    """Cells by outcome, and why some are not done."""
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
    """A cell for --json."""
    return planned.record() | {"outcome": ending, "outcome_reason": reason, "seconds": seconds}
