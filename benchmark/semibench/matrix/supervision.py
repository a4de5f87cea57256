"""Supervise the process of a cell: enforce time-out and memory limit, and infer a reason if it dies without writing one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import psutil

from semibench.contracts.engine import Ending, Job, Outcome
from semibench.files import read_cached_json, write_json
from semibench.runfolder.format import RunFolderError
from semibench.runfolder.records import Status
from semibench.runfolder.writing import now

GRACE = 30.0
"""Seconds between SIGTERM (save and end) and SIGKILL."""

MEMORY_EVERY = 0.5
"""Seconds between two measurements of memory."""


class Handle(Protocol):
    """A started process."""

    @property
    def pid(self) -> int: ...

    def exit_code(self) -> int | None:
        """Return None while it runs; a negative number is the signal that ended it."""


class Spawned:
    """A new Python process that runs `semibench.matrix.worker`."""

    def __init__(self, job: Job, environment: Mapping[str, str]) -> None:
        command = [sys.executable, "-m", "semibench.matrix.worker", str(job.folder), job.attempt]
        with (job.folder / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **environment},
                start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        return self.process.pid

    def exit_code(self) -> int | None:
        return self.process.poll()


class Supervised:
    """A running job. Call `poll` until it returns the outcome."""

    def __init__(self, job: Job, launch: Callable[[Job], Handle]) -> None:
        self.job = job
        self.started = time.monotonic()
        self.kills_before = _memory_kills()
        self.handle = launch(job)
        self.measured_at = 0.0
        self.asked_to_stop_at: float | None = None
        self.limit_passed: tuple[Ending, str] | None = None

    def poll(self) -> Outcome | None:
        """Return the outcome if the process has ended, else None; send signals if a limit is exceeded."""
        code = self.handle.exit_code()
        if code is not None:
            return self._outcome(code)
        now_ = time.monotonic()
        if self.job.timeout is not None and self.limit_passed is None and now_ - self.started > self.job.timeout:
            self._end("timeout", f"exceeded the time-out of {self.job.timeout:g} s")
        if self.job.memory is not None and now_ - self.measured_at >= MEMORY_EVERY:
            self.measured_at = now_
            used = _resident(self.handle.pid)
            if used > self.job.memory and self.limit_passed is None:
                self.limit_passed = ("out-of-memory", f"used {used:.0f} MB, the limit is {self.job.memory:.0f} MB")
                self._signal(signal.SIGKILL)
        if self.asked_to_stop_at is not None and now_ - self.asked_to_stop_at > GRACE:
            self._signal(signal.SIGKILL)
        return None

    def stop(self) -> None:
        """Ask the process to save and end; a second call kills it."""
        if self.asked_to_stop_at is not None:
            self.kill()
        else:
            self._end("interrupted", "stopped")

    def kill(self) -> None:
        """End the process at once."""
        self._signal(signal.SIGKILL)

    def _end(self, ending: Ending, reason: str) -> None:
        self.limit_passed = self.limit_passed or (ending, reason)
        self.asked_to_stop_at = time.monotonic()
        self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.kill(self.handle.pid, number)
        except ProcessLookupError:
            return

    def _outcome(self, code: int) -> Outcome:
        """Return what the worker wrote, unless a limit ended it; otherwise infer the outcome from outside."""
        record = read_cached_json(self.job.folder / "outcome.json")
        seconds = time.monotonic() - self.started
        if record.get("attempt") == self.job.attempt and (self.limit_passed is None or record["ending"] == "done"):
            return Outcome(self.job.name, record["ending"], record["reason"], seconds)
        if self._is_done(code):
            settle(self.job, "done", "", seconds)
            return Outcome(self.job.name, "done", "", seconds)
        ending, reason = self.limit_passed or self._infer(code)
        settle(self.job, ending, reason, seconds)
        return Outcome(self.job.name, ending, reason, seconds)

    def _is_done(self, code: int) -> bool:
        """Return whether the run's own status is done.

        Another matrix with the same cell may have overwritten our outcome, or the process was killed after the run had ended
        and before it wrote the outcome.
        """
        try:
            status = Status.from_disk(self.job.folder.parents[1] / self.job.folder.name)
        except RunFolderError:
            return False
        return status is not None and status.state == "done" and (code == 0 or status.process == self.handle.pid)

    def _infer(self, code: int) -> tuple[Ending, str]:
        """Infer ending and reason from the exit code."""
        log = self.job.folder / "log.txt"
        if code == -signal.SIGKILL and _memory_kills() > self.kills_before:
            return "out-of-memory", "killed by the kernel, which was out of memory"
        if code < 0:
            name = signal.Signals(-code).name
            if name in ("SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGABRT"):
                return "failed", f"the process crashed with {name}; see {log}"
            return "interrupted", f"the process was ended by {name} from outside"
        return "failed", f"the process ended with exit code {code} and wrote no outcome; see {log}"


def settle(job: Job, ending: Ending, reason: str, seconds: float) -> None:
    """Write the outcome of a job whose process could not."""
    write_json(
        job.folder / "outcome.json",
        {"attempt": job.attempt, "ending": ending, "reason": reason, "seconds": seconds, "ended": now()},
    )


def supervise(job: Job, environment: Mapping[str, str] | None = None) -> Outcome:
    """Run a job in its own process on this machine and wait for its end.

    KeyboardInterrupt in the caller (a cancelled task) makes the job save and end; the outcome is then "interrupted".
    """
    return watch(Supervised(job, lambda item: Spawned(item, environment or {})))


def watch(running: Supervised, every: float = 0.2) -> Outcome:
    """Wait for a started job; see `supervise`."""
    try:
        while True:
            try:
                outcome = running.poll()
                if outcome is not None:
                    return outcome
                time.sleep(every)
            except KeyboardInterrupt:
                running.stop()
    finally:
        if running.handle.exit_code() is None:
            running.kill()


def _resident(pid: int) -> float:
    """Return the resident memory of a process and its children in MB (10^6 bytes); 0 if it has just ended."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    total = 0
    for member in family:
        try:
            total += member.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total / 1e6


def _memory_kills() -> int:
    """Return how often the kernel has killed a process for lack of memory since boot (Linux; 0 elsewhere)."""
    path = Path("/proc/vmstat")
    if not path.is_file():
        return 0
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("oom_kill "):
            return int(line.split()[1])
    return 0
