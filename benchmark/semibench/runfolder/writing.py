"""Writes tables, the log, and the status of a run as it changes."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from semibench.files import explain, jsonable, write_atomically
from semibench.runfolder.records import Status
from semibench.runfolder.state import this_process
from semibench.untrusted import without_secrets

if TYPE_CHECKING:
    import pandas as pd


log = logging.getLogger("semibench")

BLOCK = 1024
"""Bytes that any file system has given to a small file, whatever its size."""


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
        status = Status(
            state=state, error=None if error is None else without_secrets(error), started=self.started,
            ended=None if state == "running" else now(), process=process, process_started=process_started, host=host,
        )  # fmt: skip
        try:
            status.to_disk(self.folder)
        except OSError as reason:
            if state == "running":
                raise
            log.warning("%s", explain(reason))
            self._overwrite(status)

    def _overwrite(self, status: Status) -> None:
        """Writes over the bytes of the file, which a full disk still allows; a message that is too long is cut."""
        file = self.folder / Status.FILE
        try:
            with file.open("r+b") as handle:
                room = max(len(handle.read()), BLOCK)
                while len(data := json.dumps(jsonable(status), ensure_ascii=False).encode()) > room and status.error:
                    status = status.model_copy(update={"error": status.error[: len(status.error) // 2]})
                handle.seek(0)
                handle.write(data)
                handle.truncate()
        except OSError as reason:
            if status.state == "done":
                raise
            log.warning("%s", explain(reason))  # a folder that became read-only: readers find that the process is gone


class _LogFormat(logging.Formatter):
    """Lines of the log, without passwords and tokens."""

    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record))


class _LogFile(logging.FileHandler):
    """The log of a run. A full disk loses lines of it and nothing else."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Says nothing, where logging would print a traceback for each line."""

    def close(self) -> None:
        """Closes the file; what can't be written any more is lost."""
        with suppress(OSError):
            super().close()


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Also writes the harness's log messages to the run's log file within the block."""
    handler = _LogFile(path, encoding="utf-8")
    handler.setFormatter(_LogFormat("%(asctime)s %(levelname)s %(message)s"))
    level = log.level
    log.addHandler(handler)
    log.setLevel(min(level or logging.INFO, logging.INFO))
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        handler.close()
