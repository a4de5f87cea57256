"""The state of a run, and whether the process that works on one is gone."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Literal

from semibench.contracts.identity import SHORT, sha256

State = Literal["new", "resumable", "running", "interrupted", "failed", "done", "stale"]
"""Every state there is. new: nothing was begun. running: a process works on it. interrupted: it was stopped, or its process
is gone. failed: it raised an error. resumable: interrupted or failed, with a checkpoint to go on from. done: it has a result.
stale: what is there was made by other code or on another split, and would not be made so now."""

LOCK = ".lock"
"""The file of a run folder that a process holds locked while it works there."""

START_TOLERANCE = 1.0
"""Seconds by which two readings of a process's start time may differ."""


def host_digest() -> str:
    """Tells this host from others without its name, which stays out of records that are shared."""
    return sha256(socket.gethostname())[:SHORT]


def this_process() -> tuple[int, float, str]:
    """Id and start time (seconds since 1970) of this process, and the digest of the host it runs on."""
    import psutil

    return os.getpid(), psutil.Process().create_time(), host_digest()


def process_is_gone(process: int, started: float | None, host: str | None) -> bool | None:
    """Whether a process has ended, or its number belongs to another one by now.

    Args:
        process: its id.
        started: its start time, seconds since 1970; None where that wasn't recorded.
        host: digest of the machine it ran on; None where that wasn't recorded.

    Returns:
        None where that can't be known: it ran on another machine, or its number is in use and its start time unknown.
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
    """Whether a process holds the lock of a run folder; None where that can't be found out."""
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
    """Whether nobody works any more on a run that says "running". Where the process itself can't be asked about, the lock of
    the folder decides."""
    gone = None if process is None else process_is_gone(process, started, host)
    if gone is False:
        return False
    locked = is_locked(folder / LOCK)
    return locked is False or (gone is True and locked is None)
