"""What a piece of code writes, connects to and starts, by Python's audit events."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

EVENTS = frozenset({"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "socket.connect", "subprocess.Popen"})
_watching: list[list[str]] = []
_hooked: list[bool] = []


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching or event not in EVENTS:
        return
    if event == "open":
        path, _, flags = arguments
        if not isinstance(path, (str, bytes, os.PathLike)) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        if "__pycache__" in os.fsdecode(path) or os.fsdecode(path).startswith("/dev/"):
            return
    elif event == "os.mkdir" and "__pycache__" in str(arguments[0]):
        return
    for seen in _watching:
        seen.append(f"{event} {arguments[0] if event != 'socket.connect' else arguments[1]}")


@contextlib.contextmanager
def watched() -> Iterator[list[str]]:
    """What is written, connected to or started inside the block, by Python's audit events. The hook is installed once a
    process (hooks can't be taken away) and sleeps outside."""
    if not _hooked:
        sys.addaudithook(_audit)
        _hooked.append(True)
    seen: list[str] = []
    _watching.append(seen)
    try:
        yield seen
    finally:
        _watching.pop()
