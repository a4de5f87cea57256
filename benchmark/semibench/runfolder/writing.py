"""Writes tables, the log, and the status of a run as it changes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from semibench.files import write_atomically
from semibench.runfolder.records import Status
from semibench.runfolder.state import this_process

if TYPE_CHECKING:
    import pandas as pd


def now() -> str:
    """Returns the current time in UTC as ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """Writes a table as Parquet, atomically."""
    write_atomically(path, lambda draft: frame.to_parquet(draft, index=False))


class StatusFile:
    """status.json of one attempt at a run, by this process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started = now()

    def write(self, state: Literal["running", "done", "failed", "interrupted"], error: str | None = None) -> None:
        """Replaces the file. error: why the run failed or was stopped."""
        process, process_started, host = this_process()
        Status(
            state=state, error=error, started=self.started, ended=None if state == "running" else now(), process=process,
            process_started=process_started, host=host,
        ).to_disk(self.folder)  # fmt: skip


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Also writes the harness's log messages to the run's log file within the block."""
    log = logging.getLogger("semibench")
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level = log.level
    log.addHandler(handler)
    log.setLevel(min(level or logging.INFO, logging.INFO))
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        handler.close()
