"""Plan a matrix: resolve every cell and compare it with the run folders, before anything runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from semibench.contracts.errors import IdentityError, LayoutError, PluginError, UnsupportedError, UsageError, one_line
from semibench.contracts.identity import SHORT
from semibench.files import read_cached_json
from semibench.reporting import Reporter
from semibench.run.request import Cell
from semibench.runfolder.reading import RunFolder

State = Literal["done", "missing", "interrupted", "failed", "stale", "skipped", "running"]
"""missing: never started. interrupted: started and resumable, or killed. failed: includes time-outs and lack of memory.
stale: done with other code. skipped: for a declared reason. running: another process is working on it."""

JOURNAL = ".matrix"
"""Folder beside the run folders for the files of the matrix: one folder per cell with cell.json, log and outcome."""

BROKEN = frozenset({"failed", "timeout", "out-of-memory"})


@dataclass
class Planned:
    """A resolved cell."""

    cell: Cell
    """The cell."""
    key: str
    """Run key; the cell's own digest if it cannot be resolved."""
    state: State
    """How far its run is."""
    reason: str = ""
    """Reason of the state, in one line."""
    seconds: float | None = None
    """Estimated time; None if nothing similar was measured on this machine."""
    iterations: int = 0
    """Iterations of the run."""
    folder: Path | None = None
    """Run folder."""
    duplicates: list[Cell] = field(default_factory=list)
    """Other cells with the same run key."""

    @property
    def short(self) -> str:
        return self.key[:SHORT]

    def record(self) -> dict[str, Any]:
        """Return plain values for --json."""
        return {
            "cell": self.cell.model_dump(mode="json"), "label": self.cell.label, "command": self.cell.to_command(),
            "key": self.short, "state": self.state, "reason": self.reason, "estimated_seconds": self.seconds,
            "folder": str(self.folder) if self.folder else None,
        }  # fmt: skip


def plan_cells(
    cells: Iterable[Cell],
    runs: Path,
    *,
    device: str = "auto",
    threads: int | None = 1,
    reporter: Reporter | None = None,
) -> list[Planned]:
    """Resolve every cell and find its state.

    Cells with the same run key (e.g. draws of an official split) are merged. An invalid request raises UsageError, which names
    the cell: nothing runs while a name is misspelt.
    """
    reporter = reporter or Reporter()
    cells = list(cells)
    planned: dict[str, Planned] = {}
    reporter.phase("plan", len(cells))
    for number, cell in enumerate(cells):
        item = _plan(cell, runs, device, threads)
        if item.key in planned:
            planned[item.key].duplicates.append(cell)
        else:
            planned[item.key] = item
        reporter.advance(number + 1)
    reporter.end()
    return list(planned.values())


def _plan(cell: Cell, runs: Path, device: str, threads: int | None) -> Planned:
    from semibench.run.prepare import prepare

    try:
        plan = prepare(cell.request(runs=runs, device=device, threads=threads, track=False), estimate=False)
    except UsageError as error:
        raise UsageError(f"{cell.label}: {error}") from error
    except (UnsupportedError, LayoutError) as error:
        return Planned(cell, cell.digest, "skipped", one_line(error))
    except (PluginError, IdentityError) as error:
        return Planned(cell, cell.digest, "failed", one_line(error))
    state, reason = _state(plan.state, plan.folder, runs / JOURNAL / plan.key[:SHORT], plan.reasons)
    iterations = plan.resolved.options.recipe.iterations
    return Planned(cell, plan.key, state, reason, _seconds(plan), iterations, plan.folder)


def _state(prepared: str, folder: Path, journal: Path, reasons: Sequence[str]) -> tuple[State, str]:
    """Derive the state from `prepare`, the run's status and the matrix's record of the last attempt."""
    if prepared == "done":
        return "done", ""
    if prepared == "stale":
        return "stale", "; ".join(reasons)
    if prepared == "running":
        return "running", "another process works on it"
    outcome = read_cached_json(journal / "outcome.json")
    run = RunFolder(folder) if prepared != "new" else None
    status = run.recorded_status if run is not None else None
    if outcome.get("ending") in BROKEN and (status is None or status.state != "interrupted"):
        return "failed", f"{outcome['ending']}: {outcome['reason']}"
    if outcome.get("ending") == "timeout":
        return "failed", f"timeout: {outcome['reason']}"
    if run is not None and run.state == "failed":
        return "failed", run.error or ""
    if run is not None or outcome.get("ending") == "interrupted":
        return "interrupted", "continues from its last checkpoint" if prepared == "resumable" else "starts again"
    return "missing", ""


def _seconds(plan: Any) -> float | None:
    """Return the measured seconds per iteration of this setting on this machine, times the iterations."""
    from semibench.data.roots import cache_dir
    from semibench.run.timing import Timings, timing_key

    seconds = Timings(cache_dir()).get(timing_key(plan.resolved, plan.record.machine))
    if seconds is None:
        return None
    return seconds * int(plan.resolved.options.recipe.iterations)


def to_run(planned: Sequence[Planned], *, force: bool = False, retry: bool = False) -> list[Planned]:
    """Return the cells that a matrix runs: all unfinished ones, failed ones only with retry, finished ones only with force."""
    skip: set[str] = {"skipped", "running"} | (set() if force else {"done"}) | (set() if retry or force else {"failed"})
    return [item for item in planned if item.state not in skip]


def forget(planned: Planned, runs: Path) -> None:
    """Remove the record of the last attempt, but not the run."""
    shutil.rmtree(runs / JOURNAL / planned.short, ignore_errors=True)
