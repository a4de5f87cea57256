"""The process that mirrors run folders beside a run: `python -m semibench.tracking.worker ADDRESS`.

It reads one JSON record per line from standard input, mirrors the folders in that order, calls the listeners, and answers with
records on standard output: {"note"}, {"warn"}, {"beat"}, {"done": folder}, {"failed": folder, "why"}. It ends when its input ends
and everything is mirrored, also if the process that started it is gone by then; or when MLflow hangs.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TextIO

from semibench.process import ends_with_its_work, environment, importing
from semibench.reporting import Reporter
from semibench.tracking.unmirrored import CLAIM, forget, remember

QUIET_SECONDS = 60.0
"""How long one call of MLflow to a server may take before the mirror gives up."""

FILE_SECONDS = 300.0
"""The same for a SQLite file: creating one on a busy machine takes a minute, and another process may be creating it."""

LISTENERS_SECONDS = 900.0
"""How long the listeners may take: leaderboards of thousands of runs, and a wait for another process that writes them."""

BEAT = 5.0
"""Seconds between two signs of life while MLflow works."""

ANNOUNCE_EVERY = 30.0
"""Seconds between two calls of the listeners while folders arrive, so that a leaderboard is not updated after each of hundreds."""


class Relay(Reporter):
    """Sends what it is told to the process that started this one, as long as that one listens."""

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.lock = stream, threading.Lock()
        self.moved = time.monotonic()
        """When MLflow or a listener last got on."""

    def send(self, **record: Any) -> None:
        with self.lock:
            try:
                self.stream.write(json.dumps(record) + "\n")
                self.stream.flush()
            except OSError:  # nobody listens any more; the work is done all the same
                pass

    def note(self, message: str) -> None:
        self.send(note=message)

    def warn(self, message: str) -> None:
        self.send(warn=message)

    def advance(self, done: int, values: Mapping[str, float] | None = None) -> None:
        self.moved = time.monotonic()


class Worker:
    """Mirrors folders one after the other. gone: why the store is lost; then nothing more is tried."""

    def __init__(self, address: str, relay: Relay) -> None:
        self.address, self.relay = address, relay
        self.gone: str | None = None
        self.unannounced: list[Path] = []
        self.announced = time.monotonic()
        self.jobs: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        self.current: dict[str, Any] | None = None
        self.limit: float | None = None
        self.claim: Any = None

    def receive(self, stream: TextIO) -> None:
        """Queue what arrives, until the input ends."""
        for line in stream:
            self.jobs.put(json.loads(line))
        self.jobs.put(None)

    def work(self) -> None:
        """Do what arrives, until the input ends."""
        try:
            with importing():
                import mlflow.tracking  # noqa: F401  before anything is timed
        except Exception as error:
            self.gone = f"MLflow can't be imported: {type(error).__name__}: {error}"
        first = True
        while (job := self.jobs.get()) is not None:
            self.current = job
            limit = FILE_SECONDS if self.address.startswith("sqlite:") else QUIET_SECONDS
            # the first time, MLflow imports what it needs for this kind of store
            with self.within(limit), importing() if first else contextlib.nullcontext():
                self.mirror(job)
            self.current, first = None, False
            if self.jobs.empty() and time.monotonic() - self.announced > ANNOUNCE_EVERY:
                self.announce()
        self.announce()

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Within the block, something must move every so many seconds."""
        self.relay.moved, self.limit = time.monotonic(), seconds
        try:
            yield
        finally:
            self.limit = None

    def mirror(self, job: Mapping[str, Any]) -> None:
        folder = Path(job["folder"])
        if self.gone is not None:
            self.fail(job, self.gone)
            return
        written = False
        try:
            from semibench.tracking.mirroring import is_mirrored, mirror

            if job["catch_up"] and not self.claims(folder.parent):
                self.relay.send(done=str(folder))  # another process is about it
                return
            if not (job["missing_only"] and is_mirrored(folder, self.address)):
                mirror(folder, self.address, self.relay)
                written = True
        except Exception as error:
            self.lose()
            self.fail(job, f"{type(error).__name__}: {error}")
            return
        if job["ended"]:
            if written:
                self.unannounced.append(folder)
            forget(folder, self.address)
        self.relay.send(done=str(folder), caught_up=job["catch_up"] and written)

    def claims(self, runs: Path) -> bool:
        """Return whether this process is the one that catches up on missed runs: of two, each run would be created twice."""
        from filelock import FileLock, Timeout

        if self.claim is None:
            self.claim = FileLock(runs / CLAIM)
        try:
            self.claim.acquire(timeout=0)
        except Timeout:
            return False
        return True

    def lose(self) -> None:
        """Note that the store is lost, if it can't be reached any more after an error."""
        from semibench.tracking.answering import why_unreachable

        reason = why_unreachable(self.address)
        if reason is not None:
            self.gone = f"the store went away: {reason}"
            self.unannounced.clear()

    def fail(self, job: Mapping[str, Any], why: str) -> None:
        if job["ended"]:
            remember(Path(job["folder"]), self.address)
        self.relay.send(failed=job["folder"], why=" ".join(why.split())[:500])

    def announce(self) -> None:
        """Call the listeners with what was mirrored since the last time."""
        if self.unannounced and self.gone is None:
            from semibench.tracking.listening import announce

            with self.within(LISTENERS_SECONDS):
                announce(self.unannounced, self.address, self.relay)
        self.unannounced, self.announced = [], time.monotonic()

    def watch(self) -> None:
        """Give signs of life, and end this process once nothing has moved for too long: a call of MLflow can't be interrupted."""
        beaten = time.monotonic()
        while True:
            time.sleep(0.2)
            now, limit = time.monotonic(), self.limit
            if limit is not None and now - self.relay.moved > limit:
                self.give_up(f"MLflow did not get on for {limit:.0f} s")
            if now - beaten > BEAT:
                beaten = now
                self.relay.send(beat=0)

    def give_up(self, why: str) -> None:
        left = [self.current]
        while not self.jobs.empty():
            left.append(self.jobs.get())
        for job in left:
            if job is not None:
                self.fail(job, why)
        if self.current is None:
            self.relay.warn(f"what follows a run in MLflow was not finished: {why}")
        os._exit(1)


def main(address: str) -> None:
    """Mirror what arrives on standard input. Only records go to standard output: what libraries print goes to standard error."""
    environment()
    ends_with_its_work()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker = Worker(address, Relay(answers))
    threading.Thread(target=worker.watch, name="watch", daemon=True).start()
    threading.Thread(target=worker.receive, args=(sys.stdin,), name="receive", daemon=True).start()
    worker.work()


if __name__ == "__main__":
    main(sys.argv[1])
