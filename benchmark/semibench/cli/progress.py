"""Displays progress: bars on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from semibench.cli.console import Output, duration, safe
from semibench.reporting import Reporter

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

EVERY = 5.0
"""Seconds between plain lines."""

HIDDEN = ("weight/", "lr/", "note/", "seconds left", "scale")


def reporter_for(console: Output) -> Screen:
    """Returns bars if `console` is a terminal, and plain lines otherwise (CI, pipes, log files)."""
    return Bars(console) if console.is_terminal and not console.is_dumb_terminal else Lines(console)


def figures(values: Mapping[str, float] | None, most: int = 7) -> str:
    """Formats the latest values: `sup 0.412 · consistency 0.0031 · validation/dice 0.71 · it/s 4.2`.

    Loss terms come first; weights, learning rates and the remaining time are left out. At most `most` values are shown, and
    the others are counted."""
    if not values:
        return ""
    shown = {name: value for name, value in values.items() if not name.startswith(HIDDEN)}
    names = sorted(shown, key=lambda name: not name.startswith("loss/"))
    texts = [f"{name.removeprefix('loss/')} {shown[name]:.3g}" for name in names[:most]]
    if len(names) > most:
        texts.append(f"+{len(names) - most}")
    return safe(" · ".join(texts))


@dataclass
class Phase:
    """A piece of work in progress."""

    name: str
    total: int
    began: float
    last_line: float
    """Time of the last plain line."""
    done: int = 0
    task: TaskID | None = None

    first: tuple[int, float] | None = None
    """Units and time of the first report; a resumed phase starts with units that took no time now."""

    def left(self, now: float) -> float | None:
        """Estimates the remaining seconds from the speed so far; returns None before the first progress."""
        done, since = self.first if self.first is not None and self.first[0] < self.done else (0, self.began)
        return (now - since) / (self.done - done) * (self.total - self.done) if self.done > done else None


class Screen(Reporter):
    """Base of bars and lines. Phases may be nested, such as a validation within the training."""

    def __init__(self, console: Output) -> None:
        self.console = console
        self.open: list[Phase] = []
        self.warned: set[str] = set()

    def phase(self, name: str, total: int) -> None:
        now = time.monotonic()
        self.open.append(Phase(safe(name), total, now, now))
        self.begun(self.open[-1])

    def advance(self, done: int, values: Mapping[str, float] | None = None) -> None:
        if self.open:
            self.open[-1].done = done
            self.open[-1].first = self.open[-1].first or (done, time.monotonic())
            self.moved(self.open[-1], figures(values))

    def end(self) -> None:
        if self.open:
            self.finished(self.open.pop())

    def note(self, message: str) -> None:
        self.console.show(message)

    def warn(self, message: str) -> None:
        """Prints a warning once, since the replicates of one command repeat it."""
        if message in self.warned:
            return
        self.warned.add(message)
        self.console.show(f"WARNING: {message}", style="bold yellow")

    def close(self) -> None:
        """Ends phases that are still open, as after an error."""
        while self.open:
            self.end()

    def begun(self, phase: Phase) -> None:
        """Called when a phase was opened."""

    def moved(self, phase: Phase, text: str) -> None:
        """Called when the innermost phase advanced. text: the formatted figures."""

    def finished(self, phase: Phase) -> None:
        """Called when a phase was closed."""


class Lines(Screen):
    """Prints a line every few seconds within a phase, and one at its end."""

    def moved(self, phase: Phase, text: str) -> None:
        now = time.monotonic()
        if now - phase.last_line < EVERY or phase.done >= phase.total:
            return
        phase.last_line = now
        left = phase.left(now)
        parts = [f"{phase.name} {phase.done}/{phase.total}", text, f"{duration(left)} left" if left is not None else ""]
        self.console.show("  " + " | ".join(part for part in parts if part))

    def finished(self, phase: Phase) -> None:
        self.console.show(f"  {phase.name}: {phase.done}/{phase.total} in {duration(time.monotonic() - phase.began)}")


class Bars(Screen):
    """Draws bars with the latest figures and the remaining time; the bars are removed or stopped as their phases end."""

    def __init__(self, console: Output) -> None:
        super().__init__(console)
        self.drawing: Progress | None = None

    def begun(self, phase: Phase) -> None:
        if self.drawing is None:
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )

            self.drawing = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(compact=True),
                TextColumn("{task.fields[figures]}", markup=False),
                console=self.console,
                refresh_per_second=5,
            )
            self.drawing.start()
        phase.task = self.drawing.add_task(phase.name, total=max(phase.total, 1), figures="")

    def moved(self, phase: Phase, text: str) -> None:
        if self.drawing is None or phase.task is None:
            return
        if text:
            self.drawing.update(phase.task, completed=phase.done, figures=text)
        else:
            self.drawing.update(phase.task, completed=phase.done)

    def finished(self, phase: Phase) -> None:
        if self.drawing is not None and not self.open:
            self.drawing.stop()
            self.drawing = None
        elif self.drawing is not None and phase.task is not None:
            self.drawing.remove_task(phase.task)
