"""The contract of an engine: it takes jobs, runs each in its own process, and reports how each ended. Does not import torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel

Ending = Literal["done", "failed", "timeout", "out-of-memory", "skipped", "interrupted"]
"""How a cell can end; the list is closed. skipped: the cell cannot be run, for a declared reason. interrupted: stopped or
killed from outside; the next attempt continues from the last checkpoint."""


@dataclass(frozen=True)
class Job:
    """One cell to run."""

    name: str
    """Name of the cell."""
    folder: Path
    """Where its `cell.json` is, and where log, progress and outcome are written. Every process of the engine must see it."""
    attempt: str
    """Identifies this attempt, so that an old outcome is never mistaken for a new one."""
    timeout: float | None = None
    """Seconds; None: no limit."""
    memory: float | None = None
    """MB of resident memory; None: no limit."""
    threads: int = 1
    """CPU threads."""
    gpus: float = 0.0
    """Number of GPUs; a fraction shares one."""


@dataclass(frozen=True)
class Outcome:
    """How a job ended."""

    name: str
    """Name of the job."""
    ending: Ending
    """How it ended."""
    reason: str = ""
    """One line; empty if the job is done."""
    seconds: float = 0.0
    """Time from start to end of the attempt."""


class EngineOptions(BaseModel, frozen=True, extra="forbid"):
    """Options of an engine; a plug-in's `Options` inherits from it."""

    jobs: int | None = None
    """Maximum number of concurrent jobs; None: as many as fit."""


class Engine(ABC):
    """Runs jobs. The harness calls `start` once, `poll` until every job has ended, `stop` on Ctrl-C, and `close` at the end.

    An engine runs a job with `semibench.matrix.supervision.supervise(job)` in a process of its own, or wraps
    `semibench.matrix.worker.work(folder)` in its own means; both write `outcome.json` to the job's folder.
    """

    Options: ClassVar[type[EngineOptions]] = EngineOptions
    """The options of this engine."""

    def __init__(self, options: EngineOptions, folder: Path) -> None:
        """Set up the engine; start nothing.

        Args:
            options: an instance of `Options`.
            folder: for the engine's own files (scripts, logs); all its processes can see it.
        """
        self.options = options
        self.folder = folder

    @classmethod
    def unavailable(cls) -> str | None:
        """Return why the engine cannot be used here and what to do about it, or None if it can."""
        return None

    @abstractmethod
    def start(self, jobs: Sequence[Job]) -> None:
        """Accept all jobs and return at once."""

    @abstractmethod
    def poll(self) -> list[Outcome]:
        """Return the jobs that ended since the last call, each once. Takes well under a second."""

    @abstractmethod
    def stop(self) -> None:
        """Ask running jobs to save and end, and drop waiting ones; `poll` then returns their outcomes.

        A second call ends them at once.
        """

    def close(self) -> None:  # noqa: B027 - most engines hold nothing
        """Free what the engine holds."""
