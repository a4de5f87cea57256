"""Drive a matrix: pass cells to an engine, collect the outcomes, mirror finished runs.

Only one process, which this one starts, writes the tracking store. If it is killed, the next matrix catches up: finished run
folders that are not mirrored yet are mirrored first.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semibench.contracts.engine import Engine, Job, Outcome
from semibench.contracts.errors import SemibenchError
from semibench.data.declared.naming import is_path
from semibench.discovery.guard import calling, returned, wrong_return
from semibench.discovery.registry import registry
from semibench.files import read_cached_json, write_json
from semibench.matrix.limits import Limits
from semibench.matrix.planning import JOURNAL, Planned
from semibench.process import stopping
from semibench.reporting import Reporter
from semibench.run.request import Cell
from semibench.runfolder.format import RunFolderError, is_run_folder
from semibench.runfolder.reading import state_of
from semibench.runfolder.records import Status
from semibench.runfolder.writing import now
from semibench.tracking.beside import MirrorBeside

POLL = 0.1
"""Seconds between two polls of the engine."""


@dataclass
class Progress:
    """The progress of a matrix."""

    total: int
    started: float = field(default_factory=time.monotonic)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    running: dict[str, dict[str, Any]] = field(default_factory=dict)
    stopping: bool = False

    def counts(self) -> Counter[str]:
        return Counter(outcome.ending for outcome in self.outcomes.values())


class MatrixDisplay:
    """Draws progress; the base class does nothing."""

    def update(self, progress: Progress) -> None:
        """Draw the progress; called several times a second."""

    def ended(self, planned: Planned, outcome: Outcome, progress: Progress) -> None:
        """Report a cell that ended."""


def run_matrix(
    items: Sequence[Planned], engine: Engine, runs: Path, *, limits: Limits | None = None,
    execution: Mapping[str, Any] | None = None, tracking_uri: str | None = None, track: bool = True,
    display: MatrixDisplay | None = None, reporter: Reporter | None = None, mirror_first: Sequence[Planned] = (),
) -> dict[str, Outcome]:  # fmt: skip
    """Run all cells through the engine. Errors of cells never propagate.

    Ctrl-C asks the engine to stop; a second one stops it at once.

    Args:
        items: the cells to run.
        engine: runs them.
        runs: folder of the run folders.
        limits: limits of each cell.
        execution: fields of `Execution` for every cell (device, predictions ...).
        tracking_uri: the MLflow store; None: the default.
        track: mirror finished runs to MLflow.
        display: draws progress.
        reporter: receives warnings.
        mirror_first: finished cells whose mirror may be missing.

    Returns:
        Run key -> outcome.
    """
    reporter, display = reporter or Reporter(), display or MatrixDisplay()
    by_name = {item.short: item for item in items}
    jobs = [_job(item, runs, limits or Limits(), execution or {}) for item in items]
    progress = Progress(len(jobs))
    mirror = MirrorBeside(tracking_uri, reporter) if track else None
    if mirror is not None:
        for item in mirror_first:
            if item.folder is not None:
                mirror.put(item.folder, ended=True, missing_only=True)

    def stop() -> None:
        progress.stopping = True
        with calling(engine, "stop"):
            engine.stop()

    with stopping(stop):
        try:
            with calling(engine, "start"):
                engine.start(jobs)
            while len(progress.outcomes) < len(jobs):
                for outcome in _polled(engine, by_name):
                    item = by_name[outcome.name]
                    progress.outcomes[outcome.name] = outcome
                    _correct(item, outcome)
                    if mirror is not None and item.folder is not None and is_run_folder(item.folder):
                        mirror.put(item.folder, ended=True, missing_only=True)
                    display.ended(item, outcome, progress)
                progress.running = _running(jobs, progress)
                display.update(progress)
                time.sleep(POLL)
        finally:
            try:
                with calling(engine, "close"):
                    engine.close()
            finally:
                if mirror is not None:
                    mirror.finish()
    return {by_name[name].key: outcome for name, outcome in progress.outcomes.items()}


def _polled(engine: Engine, known: Mapping[str, Planned]) -> list[Outcome]:
    """Return the outcomes that an engine reports; raise PluginError for anything else, and for a cell that it was not given."""
    with calling(engine, "poll"):
        outcomes = list(engine.poll())
    for outcome in outcomes:
        if returned(engine, "poll", outcome, Outcome, "a list of Outcome").name not in known:
            raise wrong_return(engine, "poll", f"outcomes of its own cells ({', '.join(known)})", outcome)
    return outcomes


def _job(item: Planned, runs: Path, limits: Limits, execution: Mapping[str, Any]) -> Job:
    """Write the cell's task file and return the job; remove the files of earlier attempts, except the log."""
    folder = (runs / JOURNAL / item.short).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    attempt = uuid.uuid4().hex
    for name in ("progress.json", "outcome.json"):
        (folder / name).unlink(missing_ok=True)
    settings = {"runs": str(runs.absolute()), "threads": limits.threads, **execution}
    write_json(
        folder / "cell.json",
        {
            "attempt": attempt,
            "cell": _portable(item.cell).model_dump(mode="json"),
            "execution": settings,
            "key": item.key,
        },
    )
    return Job(item.short, folder, attempt, limits.timeout, limits.memory, limits.threads, limits.gpus or 0.0)


def _portable(cell: Cell) -> Cell:
    """Return the cell with files and folders named by absolute paths: its process may work in another folder."""
    plugins = registry()
    changed: dict[str, Any] = {}
    if is_path(cell.dataset):
        changed["dataset"] = str(Path(cell.dataset).expanduser().absolute())
    for role in ("split", "data_root", "weights"):
        if (path := getattr(cell, role)) is not None:
            changed[role] = path.expanduser().absolute()
    for role, kind in (("method", "methods"), ("backbone", "backbones")):
        name = getattr(cell, role)
        try:
            item = None if name is None else plugins.get(kind, name)
        except SemibenchError:  # the cell's own process says so
            continue
        if item is not None and item.file is not None:
            changed[role] = item.reference
    return cell.model_copy(update=changed)


def _correct(item: Planned, outcome: Outcome) -> None:
    """Correct the status of a run whose process was killed and left it "running"."""
    if item.folder is None or outcome.ending == "done":
        return
    try:
        status = Status.from_disk(item.folder)
    except RunFolderError:  # the next plan says so
        return
    if status is not None and status.state == "running" and state_of(item.folder, status) != "running":
        state = "interrupted" if outcome.ending in ("interrupted", "timeout") else "failed"
        changed = {"state": state, "error": f"{outcome.ending}: {outcome.reason}", "ended": now()}
        status.model_copy(update=changed).to_disk(item.folder)


def _running(jobs: Sequence[Job], progress: Progress) -> dict[str, dict[str, Any]]:
    """Latest progress of the cells that have begun and not ended."""
    found = {}
    for job in jobs:
        if job.name not in progress.outcomes:
            record = read_cached_json(job.folder / "progress.json")
            if record:
                found[job.name] = record
    return found
