"""The process that mirrors run folders beside a run: `python -m semibench.tracking.worker ADDRESS`.

It reads one JSON record per line from standard input, mirrors the folders in that order, calls the listeners, and answers with
records on standard output: {"note"}, {"warn"}, {"beat"}, {"done": folder}, {"failed": folder, "why"}. It ends when its input ends
and everything is mirrored, also if the process that started it is gone by then; or when nothing has moved for QUIET_SECONDS.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TextIO

from semibench.process import environment
from semibench.reporting import Reporter
from semibench.tracking.unmirrored import forget, remember

QUIET_SECONDS = 60.0
"""How long MLflow may take for one call before the mirror gives up; a new SQLite store on a busy machine takes a minute."""

ANNOUNCE_EVERY = 30.0
"""Seconds between two calls of the listeners while folders arrive, so that a leaderboard is not updated after each of hundreds."""


class Relay(Reporter):
    """Sends what it is told to the process that started this one, as long as that one listens."""

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.lock = stream, threading.Lock()
        self.heard = time.monotonic()

    def send(self, **record: Any) -> None:
        self.heard = time.monotonic()
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
        self.send(beat=done)


class Worker:
    """Mirrors folders one after the other. gone: why the store is lost; then nothing more is tried."""

    def __init__(self, address: str, relay: Relay) -> None:
        self.address, self.relay = address, relay
        self.gone: str | None = None
        self.unannounced: list[Path] = []
        self.announced = time.monotonic()
        self.current: dict[str, Any] | None = None
        self.jobs: SimpleQueue[dict[str, Any] | None] = SimpleQueue()

    def work(self) -> None:
        """Do what arrives, until the input ends."""
        while (job := self.jobs.get()) is not None:
            self.current = job
            self.mirror(job)
            self.current = None
            if self.jobs.empty() and time.monotonic() - self.announced > ANNOUNCE_EVERY:
                self.announce()
        self.announce()

    def mirror(self, job: Mapping[str, Any]) -> None:
        folder = Path(job["folder"])
        try:
            if self.gone is None and not (job["missing_only"] and self.has(folder)):
                from semibench.tracking.mirroring import mirror

                mirror(folder, self.address, self.relay)
                if job["ended"]:
                    self.unannounced.append(folder)
        except Exception as error:
            self.lose(error)
            self.fail(job, f"{type(error).__name__}: {error}")
            return
        if self.gone is not None:
            self.fail(job, self.gone)
            return
        forget(folder, self.address)
        self.relay.send(done=str(folder))

    def has(self, folder: Path) -> bool:
        from semibench.tracking.mirroring import is_mirrored

        return is_mirrored(folder, self.address)

    def lose(self, error: Exception) -> None:
        """Note that the store is lost, if it can't be reached any more after an error."""
        from semibench.tracking.answering import why_unreachable

        reason = why_unreachable(self.address)
        if reason is not None:
            self.gone = f"the store went away ({reason})"
            self.unannounced.clear()

    def fail(self, job: Mapping[str, Any], why: str) -> None:
        if job["ended"]:
            remember(Path(job["folder"]), self.address)
        self.relay.send(failed=job["folder"], why=why)

    def announce(self) -> None:
        """Call the listeners with what was mirrored since the last time."""
        if self.unannounced and self.gone is None:
            from semibench.tracking.listening import announce

            announce(self.unannounced, self.address, self.relay)
        self.unannounced, self.announced = [], time.monotonic()

    def watch(self) -> None:
        """End this process once nothing has moved for too long: a call of MLflow hangs, and it can't be interrupted."""
        while True:
            time.sleep(0.5)
            busy = self.current is not None or bool(self.unannounced)
            if not busy:
                self.relay.heard = time.monotonic()
            elif time.monotonic() - self.relay.heard > QUIET_SECONDS:
                self.give_up(f"the store didn't answer for {QUIET_SECONDS:.0f} s")

    def give_up(self, why: str) -> None:
        left = [self.current] if self.current is not None else []
        while True:
            try:
                left.append(self.jobs.get_nowait())
            except Empty:
                break
        for job in left:
            if job is not None:
                self.fail(job, why)
        if self.current is None:
            self.relay.warn(f"the listeners were not finished: {why}")
        os._exit(1)


def main(address: str) -> None:
    """Mirror what arrives on standard input. Only records go to standard output: what libraries print goes to standard error."""
    environment()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker = Worker(address, Relay(answers))
    threading.Thread(target=worker.watch, name="watch", daemon=True).start()
    threading.Thread(target=worker.work, name="mirror").start()
    for line in sys.stdin:
        worker.jobs.put(json.loads(line))
    worker.jobs.put(None)


if __name__ == "__main__":
    main(sys.argv[1])
