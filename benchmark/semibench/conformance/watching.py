"""Watches what a piece of code writes, connects to and starts, through Python's audit events."""

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
    for events in _watching:
        events.append(f"{event} {arguments[0] if event != 'socket.connect' else arguments[1]}")


@contextlib.contextmanager
def watched() -> Iterator[list[str]]:
    """Yields a list that collects file writes, connections and started processes within the block, as "event target".

    The audit hook is installed once per process, since hooks can't be removed; outside such blocks it does nothing."""
    if not _hooked:
        sys.addaudithook(_audit)
        _hooked.append(True)
    events: list[str] = []
    _watching.append(events)
    try:
        yield events
    finally:
        _watching.pop()
