"""Crash-safe file writes: a reader never sees a partial file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Writes a file that is either complete or absent, even if the machine dies.

    The content goes to a temporary file in the same folder, which is flushed to disk and then renamed. An existing file is
    replaced. A failed write removes the temporary file and leaves an existing file as it was.

    Args:
        path: where the file will be; missing folders are created.
        write: called with the path of the temporary file, which it must write.

    Raises:
        OSError: if the file can't be written.

    Examples:
        >>> write_atomically(folder / "note.txt", lambda temporary: temporary.write_text("done"))
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
