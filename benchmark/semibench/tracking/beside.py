"""Mirror run folders beside the run, in a process of its own: a store that is slow, hangs or goes away never holds a run.

with mirroring(uri, reporter) as mirror:
    mirror.put(folder)                  # when the run starts
    mirror.put(folder, ended=True)
# the end of the block waits for what is left, as long as something moves
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from semibench.reporting import Reporter
from semibench.tracking.answering import why_unreachable
from semibench.tracking.store import store_uri
from semibench.tracking.unmirrored import remember, unmirrored

log = logging.getLogger("semibench")

SLOW = 10.0
"""Seconds after which the user is told what the command waits for."""

PATIENCE = 30.0
"""Seconds without a sign of life after which the mirror's process is ended. It gives one every few seconds, also while MLflow
works, and gives up by itself when MLflow hangs."""

INTERRUPTED = 2.0
"""Seconds to wait for the mirror after Ctrl-C or SIGTERM; then it goes on without this process."""


class MirrorBeside:
    """Mirrors run folders in another process. Nothing is raised: what fails is one warning, and the next command tries again."""

    def __init__(self, uri: str | None, reporter: Reporter) -> None:
        self.address, self.reporter = store_uri(uri), reporter
        self._process: subprocess.Popen[str] | None = None
        self._listener: threading.Thread | None = None
        self._refused = False
        self._open: list[tuple[str, bool]] = []
        self._caught_up: set[str] = set()
        self._heard = time.monotonic()
        self._failures: dict[str, str] = {}
        self._finished = False

    @property
    def works(self) -> bool:
        """Whether the store answered, or was not asked yet."""
        return not self._refused

    def put(self, folder: Path, *, ended: bool = False, missing_only: bool = False) -> None:
        """Mirror a run folder in its present state, without waiting for it.

        Args:
            folder: the run folder.
            ended: whether the run has ended; then the listeners are called, too.
            missing_only: do nothing if the store has the folder in this state.
        """
        folder = folder.absolute()
        if self._process is None and not self._refused:
            self._start(folder)
        if self._refused:
            if ended:
                remember(folder, self.address)
            return
        self._send(folder, ended=ended, missing_only=missing_only)

    def finish(self, *, interrupted: bool = False) -> None:
        """Wait until everything is mirrored, as long as something moves; then tell in one line what could not be.

        interrupted: wait for a moment only; the other process goes on by itself.
        """
        process = self._process
        if process is None or self._finished:
            return
        self._finished = True
        assert process.stdin is not None and self._listener is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        began = self._heard = time.monotonic()
        told = False
        while self._listener.is_alive():
            self._listener.join(0.1)
            now = time.monotonic()
            if now - began > SLOW and not told:
                self.reporter.note("waiting for MLflow; the run itself is complete (Ctrl-C: MLflow goes on by itself)")
                told = True
            if interrupted and now - began > INTERRUPTED:
                return
            if now - self._heard > PATIENCE:
                process.kill()
                self._listener.join(1.0)
                break
        process.wait()
        for name, ended in self._open:  # neither done nor failed: the process was killed
            if ended:
                remember(Path(name), self.address)
            self._failures.setdefault(name, "the process that mirrors runs was stopped")
        self._tell()

    def _start(self, folder: Path) -> None:
        reason = why_unreachable(self.address)
        if reason is not None:
            self._refused = True
            self.reporter.warn(
                f"the MLflow store {self.address} can't be reached ({reason}): the run goes on without it, its folder is complete, "
                "and the next command with this store mirrors it"
            )
            return
        paths = os.pathsep.join(path for path in sys.path if path)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "semibench.tracking.worker", self.address],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, encoding="utf-8",
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}, start_new_session=True,
        )  # fmt: skip
        self._listener = threading.Thread(target=self._listen, name="mirror", daemon=True)
        self._listener.start()
        for missed in unmirrored(folder.parent, self.address):
            if missed != folder:
                self._send(missed, ended=True, missing_only=True, catch_up=True)

    def _send(self, folder: Path, *, ended: bool, missing_only: bool, catch_up: bool = False) -> None:
        assert self._process is not None and self._process.stdin is not None
        self._open.append((str(folder), ended))
        record = {"folder": str(folder), "ended": ended, "missing_only": missing_only, "catch_up": catch_up}
        with contextlib.suppress(OSError):  # a worker that is gone is told by `finish`
            self._process.stdin.write(json.dumps(record) + "\n")
            self._process.stdin.flush()

    def _listen(self) -> None:
        """Receive what the other process sends, until it ends."""
        assert self._process is not None and self._process.stdout is not None
        for line in self._process.stdout:
            self._heard = time.monotonic()
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if "note" in record:
                self.reporter.note(record["note"])
            elif "warn" in record:
                self.reporter.warn(record["warn"])
            elif "done" in record:
                self._answered(record["done"])
                self._failures.pop(record["done"], None)
                if record.get("caught_up"):
                    self._caught_up.add(record["done"])
            elif "failed" in record:
                self._answered(record["failed"])
                self._failures[record["failed"]] = record["why"]
                log.info("MLflow: %s: %s", record["failed"], record["why"])

    def _answered(self, folder: str) -> None:
        """Remove the oldest open job of a folder."""
        for job in self._open:
            if job[0] == folder:
                self._open.remove(job)
                return

    def _tell(self) -> None:
        if self._caught_up:
            runs = "1 earlier run" if len(self._caught_up) == 1 else f"{len(self._caught_up)} earlier runs"
            self.reporter.note(f"MLflow: {runs} that the store had missed now mirrored")
        if self._failures:
            folder, why = next(iter(self._failures.items()))
            runs = "1 run" if len(self._failures) == 1 else f"{len(self._failures)} runs"
            self.reporter.warn(
                f"MLflow could not be written: {runs} missed, e.g. {Path(folder).name} ({why}). The run folders are complete, and "
                "the next command with this store mirrors them"
            )


@contextlib.contextmanager
def mirroring(uri: str | None, reporter: Reporter) -> Iterator[MirrorBeside]:
    """Mirror within the block, and wait at its end; hardly, if a signal or an exit ends the block."""
    mirror = MirrorBeside(uri, reporter)
    interrupted = False
    try:
        yield mirror
    except Exception:
        raise
    except BaseException:  # Ctrl-C, SIGTERM
        interrupted = True
        raise
    finally:
        with contextlib.suppress(KeyboardInterrupt):
            mirror.finish(interrupted=interrupted)
