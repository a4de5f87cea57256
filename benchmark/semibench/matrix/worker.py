"""The process of one cell: read `cell.json`, run it as `bench run` does, write `outcome.json`.

A worker never writes the tracking store: the process that drives the matrix mirrors the finished run folder, so that a dying
worker cannot leave a partial write there.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semibench.contracts.engine import Ending
from semibench.contracts.errors import BusyError, LayoutError, UnsupportedError, one_line
from semibench.files import read_json, write_json
from semibench.process import STOP, die_with_parent, environment, interrupt, on_signals
from semibench.reporting import Reporter
from semibench.run.request import Cell
from semibench.runfolder.state import host_digest
from semibench.runfolder.writing import now

if TYPE_CHECKING:
    from semibench.run.execute import Result

log = logging.getLogger("semibench")

BUSY = 60.0
"""Seconds to wait for another process that works on the same run."""

PROGRESS_EVERY = 1.0
"""Seconds between two writes of progress.json."""

LONGEST_REASON = 600
"""Largest number of characters of an error message in the outcome of a cell."""


class ProgressFile(Reporter):
    """Writes progress.json to the cell's folder: phase, progress, seconds left."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.phases: list[tuple[str, int]] = []
        self.written = 0.0

    def phase(self, name: str, total: int) -> None:
        self.phases.append((name, total))
        log.info("%s (%d)", name, total)
        self._write(0, {})

    def advance(self, done: int, values: Mapping[str, float] | None = None) -> None:
        if time.monotonic() - self.written >= PROGRESS_EVERY:
            self._write(done, values or {})

    def end(self) -> None:
        if self.phases:
            self.phases.pop()

    def _write(self, done: int, values: Mapping[str, float]) -> None:
        self.written = time.monotonic()
        name, total = self.phases[-1] if self.phases else ("", 0)
        left = values.get("seconds left")
        write_json(self.path, {"phase": name, "done": done, "total": total, "seconds_left": left, "at": now()})


def work(folder: Path, attempt: str | None = None) -> Ending:
    """Run the cell of a folder and write its outcome; return how it ended.

    Exceptions raised by the cell are recorded, not propagated.

    Args:
        folder: folder with `cell.json`.
        attempt: the attempt that this process belongs to; another matrix with the same cell may have rewritten the task.
    """
    started, clock = now(), time.monotonic()
    task = read_json(folder / "cell.json")
    ending, reason, more = _attempt(task, ProgressFile(folder / "progress.json"))
    record = {
        "attempt": attempt or task["attempt"], "ending": ending, "reason": reason, "seconds": time.monotonic() - clock,
        "started": started, "ended": now(), "host": host_digest(), "process": os.getpid(), **more,
    }  # fmt: skip
    write_json(folder / "outcome.json", record)
    return ending


def _attempt(task: Mapping[str, Any], reporter: Reporter) -> tuple[Ending, str, dict[str, Any]]:
    """Run the cell, and return (ending, reason, more to record) for every way it can end."""
    more: dict[str, Any] = {}
    try:
        from semibench.run.execute import execute
        from semibench.run.prepare import prepare

        request = Cell(**task["cell"]).request(track=False, **task["execution"])
        plan = prepare(request, reporter, estimate=False)
        more = {"key": plan.key, "run": str(plan.folder)}
        more["new"] = _patiently(lambda: execute(plan, reporter)).new
    except (UnsupportedError, LayoutError, BusyError) as error:
        return "skipped", one_line(error)[:LONGEST_REASON], more
    except KeyboardInterrupt:
        return "interrupted", "stopped by a signal; the next attempt continues from the last checkpoint", more
    except Exception as error:
        log.error("%s", traceback.format_exc())
        if _out_of_memory(error):
            return "out-of-memory", one_line(error)[:LONGEST_REASON], more
        return "failed", f"{type(error).__name__}: {one_line(error)[:LONGEST_REASON]}", more
    return "done", "", more


def _patiently(execute: Callable[[], Result]) -> Result:
    """Wait for an earlier attempt of the same cell that is about to end: it was given up and is saving."""
    deadline = time.monotonic() + BUSY
    while True:
        try:
            return execute()
        except BusyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def _out_of_memory(error: BaseException) -> bool:
    """Return whether it is a MemoryError, CUDA's out-of-memory error, or the RuntimeError of torch's CPU allocator."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def begin(folder: Path, *, session: bool = True) -> None:
    """Set up this process.

    It gets its own session (Ctrl-C in the terminal reaches the driver only), writes output to the cell's log, prints tracebacks
    of crashes, treats SIGTERM as an interruption, and ends when its parent dies (Linux).
    """
    if session and os.getsid(0) != os.getpid():
        os.setsid()
    die_with_parent()
    target = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream, descriptor in ((sys.stdout, 1), (sys.stderr, 2)):
        stream.flush()
        os.dup2(target, descriptor)
    os.close(target)
    faulthandler.enable()

    on_signals(interrupt, *STOP)
    for warning in (
        signal.SIGUSR1,
        signal.SIGUSR2,
    ):  # Slurm warns every process of a task; the supervisor of this one reacts
        signal.signal(warning, signal.SIG_IGN)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr, force=True
    )


def run_in_process(folder: Path, attempt: str, variables: Mapping[str, str]) -> None:
    """The whole life of a cell's process, for engines that fork it. variables: of the environment, set before anything
    reads them."""
    os.environ.update(variables)
    begin(folder)
    work(folder, attempt)


def main(arguments: list[str]) -> None:
    """`python -m semibench.matrix.worker FOLDER [ATTEMPT]`"""
    folder, attempt = Path(arguments[0]), arguments[1] if len(arguments) > 1 else None
    environment()
    begin(folder, session=False)
    work(folder, attempt)


if __name__ == "__main__":
    main(sys.argv[1:])
