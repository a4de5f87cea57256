"""The states of a run, and whether the process that works on a run is gone."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Literal

from semibench.contracts.identity import SHORT, sha256

State = Literal["new", "resumable", "running", "interrupted", "failed", "done", "stale"]
"""All states. new: not started. running: a process works on it. interrupted: it was stopped, or its process is gone. failed: it
raised an error. resumable: interrupted or failed, with a checkpoint to resume from. done: it has a result. stale: it was
produced by other code or on another split than would be used now."""

LOCK = ".lock"
"""File of a run folder that is locked while a process works on the run."""

START_TOLERANCE = 1.0
"""Largest difference in seconds between two readings of a process's start time."""


def host_digest() -> str:
    """Returns a digest that identifies this host. Records that are shared don't hold its name."""
    return sha256(socket.gethostname())[:SHORT]


def this_process() -> tuple[int, float, str]:
    """Returns id and start time (seconds since 1970) of this process, and the digest of its host."""
    import psutil

    return os.getpid(), psutil.Process().create_time(), host_digest()


def process_is_gone(process: int, started: float | None, host: str | None) -> bool | None:
    """Returns whether a process has ended; its id may belong to another process by now.

    Args:
        process: its id.
        started: its start time in seconds since 1970; None if it wasn't recorded.
        host: digest of the host it ran on; None if it wasn't recorded.

    Returns:
        None if this can't be determined: it ran on another host, or its id is in use and its start time unknown.
    """
    import psutil

    if host is not None and host != host_digest():
        return None
    try:
        running = psutil.Process(process)
        if running.status() == psutil.STATUS_ZOMBIE:
            return True
        same = None if started is None else abs(running.create_time() - started) < START_TOLERANCE
    except psutil.NoSuchProcess:
        return True if host is not None else None
    except psutil.AccessDenied:
        return None
    return None if same is None else not same


def is_locked(lock: Path) -> bool | None:
    """Returns whether a process holds the lock of a run folder; None if this can't be determined."""
    from filelock import FileLock, Timeout

    if not lock.is_file():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
    except (OSError, NotImplementedError):
        return None


def is_abandoned(folder: Path, process: int | None, started: float | None, host: str | None) -> bool:
    """Returns whether the process of a run in the state "running" is gone. The folder's lock decides if the process can't be
    examined."""
    gone = None if process is None else process_is_gone(process, started, host)
    if gone is False:
        return False
    locked = is_locked(folder / LOCK)
    return locked is False or (gone is True and locked is None)
