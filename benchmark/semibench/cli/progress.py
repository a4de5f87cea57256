"""Draws what the harness reports: bars on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from semibench.cli.console import Output, duration
from semibench.reporting import Reporter

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

EVERY = 5.0
"""Seconds between plain lines."""

HIDDEN = ("weight/", "lr/", "note/", "seconds left", "scale")


def reporter_for(console: Output) -> Screen:
    """Bars where `console` is a terminal, plain lines otherwise (CI, pipes, log files)."""
    return Bars(console) if console.is_terminal and not console.is_dumb_terminal else Lines(console)


def figures(values: Mapping[str, float] | None, most: int = 7) -> str:
    """`sup 0.412 · consistency 0.0031 · validation/dice 0.71 · it/s 4.2`: loss terms first, without weights, learning
    rates and the time left (the clock is drawn anyway); what doesn't fit is counted."""
    if not values:
        return ""
    wanted = {name: value for name, value in values.items() if not name.startswith(HIDDEN)}
    names = sorted(wanted, key=lambda name: not name.startswith("loss/"))
    shown = [f"{name.removeprefix('loss/')} {wanted[name]:.3g}" for name in names[:most]]
    if len(names) > most:
        shown.append(f"+{len(names) - most}")
    return " · ".join(shown)


@dataclass
class Phase:
    """A piece of work under way."""

    name: str
    total: int
    began: float
    said: float
    done: int = 0
    task: TaskID | None = None

    first: tuple[int, float] | None = None
    """Units and time of the first report: a resumed phase begins with units that cost nothing now."""

    def left(self, now: float) -> float | None:
        """Seconds to the end at the speed so far, or None before there is one."""
        done, since = self.first if self.first is not None and self.first[0] < self.done else (0, self.began)
        return (now - since) / (self.done - done) * (self.total - self.done) if self.done > done else None


class Screen(Reporter):
    """What bars and lines share: phases may lie in each other (a validation within the training)."""

    def __init__(self, console: Output) -> None:
        self.console = console
        self.open: list[Phase] = []
        self.warned: set[str] = set()

    def phase(self, name: str, total: int) -> None:
        now = time.monotonic()
        self.open.append(Phase(name, total, now, now))
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
        """Once: the replicates of one command say the same."""
        if message in self.warned:
            return
        self.warned.add(message)
        self.console.show(f"WARNING: {message}", style="bold yellow")

    def close(self) -> None:
        """Ends what is still open, as after an error."""
        while self.open:
            self.end()

    def begun(self, phase: Phase) -> None:
        """A phase was opened."""

    def moved(self, phase: Phase, text: str) -> None:
        """The innermost phase went on."""

    def finished(self, phase: Phase) -> None:
        """A phase was closed."""


class Lines(Screen):
    """One line when a phase begins to take time, then one every few seconds, and one at its end."""

    def moved(self, phase: Phase, text: str) -> None:
        now = time.monotonic()
        if now - phase.said < EVERY or phase.done >= phase.total:
            return
        phase.said = now
        left = phase.left(now)
        parts = [f"{phase.name} {phase.done}/{phase.total}", text, f"{duration(left)} left" if left is not None else ""]
        self.console.show("  " + " | ".join(part for part in parts if part))

    def finished(self, phase: Phase) -> None:
        self.console.show(f"  {phase.name}: {phase.done}/{phase.total} in {duration(time.monotonic() - phase.began)}")


class Bars(Screen):
    """rich bars with the latest figures and the time left; a finished phase leaves its line."""

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
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(compact=True),
                TextColumn("{task.fields[figures]}"),
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
