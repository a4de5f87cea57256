"""The files of a run folder, written atomically. The run folder is the truth; everything else mirrors it."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semibench.files import write_atomically

if TYPE_CHECKING:
    import pandas as pd


def now() -> str:
    """UTC, to the second, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def plain(value: Any) -> Any:
    """What JSON can hold: NaN and infinities become None, paths text, numpy and torch scalars numbers."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):
        return plain(value.item())
    return str(value)


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """A record as readable JSON."""
    text = json.dumps(plain(record), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(path, lambda draft: draft.write_text(text, encoding="utf-8"))


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, or {} where there is no file."""
    if not path.is_file():
        return {}
    loaded = json.loads(path.read_text(encoding="utf-8"))
    return loaded if isinstance(loaded, dict) else {}


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """A table as Parquet."""
    write_atomically(path, lambda draft: frame.to_parquet(draft, index=False))


class Status:
    """status.json of a run: running, done, failed or interrupted."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "status.json"
        self.started = now()

    def write(self, state: str, error: str | None = None) -> None:
        """Replaces the file."""
        ended = None if state == "running" else now()
        record = {"state": state, "error": error, "started": self.started, "ended": ended, "process": os.getpid()}
        write_json(self.path, record)


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Everything the harness logs meanwhile also goes to the run's log file."""
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
