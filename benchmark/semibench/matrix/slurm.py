"""Engine `slurm`: the cells are one array job, submitted through submitit.

A preempted or requeued task stops its cell at a checkpoint; submitit queues it again, and it continues from there. The driver
stays on the login node, polls the scheduler and mirrors finished runs. The runs folder must be on a file system that all nodes
can see.
"""

from __future__ import annotations

import importlib.util
import math
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semibench.contracts.engine import Ending, Engine, EngineOptions, Job, Outcome
from semibench.files import read_cached_json
from semibench.matrix.supervision import GRACE, Spawned, Supervised, settle, watch
from semibench.process import interrupt, on_signals

SETTLE = 60.0
"""Seconds to wait for an outcome on a shared file system after the scheduler reports the end of a task."""


class SlurmOptions(EngineOptions, frozen=True):
    """Options of sbatch, and of the polling. `jobs` limits the number of concurrent tasks."""

    partition: str | None = None
    """As for sbatch."""
    account: str | None = None
    """As for sbatch."""
    qos: str | None = None
    """As for sbatch."""
    constraint: str | None = None
    """As for sbatch."""
    minutes: int = 24 * 60
    """Time limit of a task, if the cells have no time-out."""
    memory_gb: float = 16.0
    """Memory of a task, if the cells have no limit."""
    requeues: int = 3
    """How often a task that reached its time limit is queued again."""
    ask_every: float = 15.0
    """Seconds between two queries of the scheduler."""
    setup: tuple[str, ...] = ()
    """Shell lines that run before the cell (modules, environments)."""
    more: dict[str, Any] = {}
    """Any other sbatch option by name."""


class SlurmCell:
    """The function that a task of the array runs. submitit calls `checkpoint` when the scheduler announces the end."""

    def __init__(self) -> None:
        self.running: Supervised | None = None

    def __call__(self, job: Job) -> str:
        on_signals(interrupt, signal.SIGTERM)  # scancel, or the grace time of a preemption: the cell saves and ends
        self.running = Supervised(job, lambda item: Spawned(item, {}))
        return watch(self.running).ending

    def checkpoint(self, job: Job) -> Any:
        """Make the cell save and end, and request to be queued again with the same job."""
        from submitit.helpers import DelayedSubmission

        if self.running is not None:
            self.running.stop()
            deadline = time.monotonic() + GRACE
            while self.running.poll() is None and time.monotonic() < deadline:
                time.sleep(0.1)
        (job.folder / "outcome.json").unlink(missing_ok=True)
        return DelayedSubmission(SlurmCell(), job)


class Slurm(Engine):
    """Runs cells as tasks of an array job."""

    Options = SlurmOptions
    options: SlurmOptions

    def __init__(self, options: EngineOptions, folder: Path) -> None:
        super().__init__(options, folder)
        self.tasks: dict[str, tuple[Job, Any, float]] = {}
        self.ended_at: dict[str, float] = {}
        self.stopped = False
        self.asked = time.monotonic()

    @classmethod
    def unavailable(cls) -> str | None:
        if importlib.util.find_spec("submitit") is None:
            return "submitit is not installed"
        if shutil.which("sbatch") is None:
            return "`sbatch` is not on the PATH; run it on a machine that can submit jobs"
        return None

    def start(self, jobs: Sequence[Job]) -> None:
        if not jobs:
            return
        import submitit

        first = jobs[0]
        executor = submitit.AutoExecutor(
            folder=self.folder / "%j", cluster="slurm", slurm_max_num_timeout=self.options.requeues
        )
        minutes = self.options.minutes
        if first.timeout is not None:
            minutes = math.ceil((first.timeout + 2 * GRACE) / 60) + 1
        given = {name: getattr(self.options, name) for name in ("partition", "account", "qos", "constraint")}
        executor.update_parameters(
            name="semibench",
            timeout_min=minutes,
            mem_gb=self.options.memory_gb if first.memory is None else math.ceil(first.memory * 1.1 / 1000),
            cpus_per_task=first.threads,
            slurm_array_parallelism=self.options.jobs or len(jobs),
            slurm_signal_delay_s=round(2 * GRACE),
            slurm_setup=list(self.options.setup) or None,
            slurm_additional_parameters={name: value for name, value in given.items() if value} | self.options.more,
            **({"gpus_per_node": math.ceil(first.gpus)} if first.gpus else {}),
        )
        submitted = executor.map_array(SlurmCell(), list(jobs))
        self.tasks = {job.name: (job, task, time.monotonic()) for job, task in zip(jobs, submitted, strict=True)}

    def poll(self) -> list[Outcome]:
        outcomes = []
        if self.tasks and time.monotonic() - self.asked > self.options.ask_every:
            self.asked = time.monotonic()
            next(iter(self.tasks.values()))[1].watcher.update()  # one call of sacct for all tasks
        for name, (job, task, submitted) in list(self.tasks.items()):
            outcome = self._outcome(job, task, time.monotonic() - submitted)
            if outcome is not None:
                outcomes.append(outcome)
                del self.tasks[name]
        return outcomes

    def _outcome(self, job: Job, task: Any, seconds: float) -> Outcome | None:
        """Return the outcome that the cell wrote; if it wrote none, the one that the scheduler reports."""
        record = read_cached_json(job.folder / "outcome.json")
        is_written = record.get("attempt") == job.attempt
        state = "" if is_written and record["ending"] != "interrupted" else _state(task)
        if is_written and (not state or state in ENDINGS or self.stopped):
            return Outcome(job.name, record["ending"], record["reason"], float(record.get("seconds") or seconds))
        if state not in ENDINGS:
            return None
        since = self.ended_at.setdefault(job.name, time.monotonic())
        if state == "COMPLETED" and time.monotonic() - since < SETTLE:
            return None
        ending = ENDINGS[state]
        reason = f"Slurm reports {state} for task {task.job_id}; see {job.folder / 'log.txt'} and {task.paths.stderr}"
        settle(job, ending, reason, seconds)
        return Outcome(job.name, ending, reason, seconds)

    def stop(self) -> None:
        self.stopped = True
        # One command, the last task first: a task that ends makes room, and the scheduler would start one that is to be cancelled
        tasks = [task.job_id for _, task, _ in reversed(self.tasks.values())]
        if tasks:
            subprocess.run(["scancel", *tasks], check=False)


def _state(task: Any) -> str:
    """Return the last known state: "CANCELLED by 0" and "CANCELLED+" are CANCELLED; UNKNOWN before the first query."""
    return str(task.watcher.get_state(task.job_id, mode="cache")).split()[0].rstrip("+")


ENDINGS: dict[str, Ending] = {
    "COMPLETED": "failed",
    "FAILED": "failed",
    "BOOT_FAIL": "failed",
    "NODE_FAIL": "interrupted",
    "PREEMPTED": "interrupted",
    "REVOKED": "interrupted",
    "CANCELLED": "interrupted",
    "DEADLINE": "timeout",
    "TIMEOUT": "timeout",
    "OUT_OF_MEMORY": "out-of-memory",
}
"""Final states of Slurm -> ending of a cell that wrote no outcome."""
