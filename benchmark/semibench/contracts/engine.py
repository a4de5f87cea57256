"""What an engine is: it takes jobs, runs each in a process of its own somewhere, and says how each ended. Light: no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel

Ending = Literal["done", "failed", "timeout", "out-of-memory", "skipped", "interrupted"]
"""How a cell can end; the list is closed. skipped: it can't be done, by a declared reason. interrupted: stopped or killed from
outside; the next attempt goes on from its last checkpoint."""


@dataclass(frozen=True)
class Job:
    """One cell to run. folder: where its `cell.json` lies, and where log, progress and outcome are written; every process of the
    engine must see it. attempt: names this attempt, so that an old outcome is never taken for a new one. timeout: seconds;
    memory: MB of resident memory; gpus: how many (a fraction: shared)."""

    name: str
    folder: Path
    attempt: str
    timeout: float | None = None
    memory: float | None = None
    threads: int = 1
    gpus: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """How a job ended. reason: one line, empty where it is done. seconds: from start to end of the attempt."""

    name: str
    ending: Ending
    reason: str = ""
    seconds: float = 0.0


class EngineOptions(BaseModel, frozen=True, extra="forbid"):
    """Options of an engine; a plug-in's `Options` inherits from it. jobs: most jobs at once (None: as many as fit)."""

    jobs: int | None = None


class Engine(ABC):
    """Runs jobs. The harness calls `start` once, `poll` until every job has ended, `stop` on Ctrl-C, `close` at the end.

    A job is run by `semibench.matrix.supervision.supervise(job)` in a process of the engine's own, or by the engine's
    means around `semibench.matrix.worker.work(folder)`; either leaves `outcome.json` in the job's folder.
    """

    Options: ClassVar[type[EngineOptions]] = EngineOptions

    def __init__(self, options: EngineOptions, folder: Path) -> None:
        """folder: for the engine's own files (scripts, logs), shared by all its processes."""
        self.options = options
        self.folder = folder

    @classmethod
    def unavailable(cls) -> str | None:
        """Why it can't be used here and what to do about it, or None."""
        return None

    @abstractmethod
    def start(self, jobs: Sequence[Job]) -> None:
        """Takes all jobs; returns at once."""

    @abstractmethod
    def poll(self) -> list[Outcome]:
        """The jobs that ended since the last call, each once; takes well under a second."""

    @abstractmethod
    def stop(self) -> None:
        """Asks what runs to save and end, and drops what waits; `poll` then gives their outcomes. A second call: at once."""

    def close(self) -> None:  # noqa: B027 - most engines hold nothing
        """Frees what the engine holds."""
