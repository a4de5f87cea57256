"""Engine `ray`: every cell is a task of a Ray cluster, in its own process on the node that accepts it.

If a node is lost, Ray runs its cells again elsewhere, and they continue from their last checkpoints. The runs folder must be on
a file system that all nodes can see.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semibench.contracts.engine import Ending, Engine, EngineOptions, Job, Outcome
from semibench.contracts.errors import UsageError
from semibench.files import read_cached_json
from semibench.matrix.supervision import settle, supervise


class RayOptions(EngineOptions, frozen=True):
    """Without `jobs`, as many cells run at once as the cluster has cores and GPUs for."""

    address: str | None = None
    """Address of a running cluster; "auto": the cluster of this machine; None: RAY_ADDRESS, else one is started here."""
    restarts: int = 3
    """How often a cell is run again after its node or worker was lost."""
    resources: dict[str, float] = {}
    """Ray's custom resources for each cell."""

    @property
    def place(self) -> str:
        """The address for `ray.init`. "local" starts a cluster; without an address Ray would join whatever cluster was started last
        on this machine, whose end takes the cells with it."""
        return self.address or os.environ.get("RAY_ADDRESS") or "local"


def run_cell(job: Job) -> Outcome:
    """Run a cell in its own process, with the GPUs that Ray assigned."""
    import ray

    given = ray.get_runtime_context().get_accelerator_ids().get("GPU", [])
    environment = {"CUDA_VISIBLE_DEVICES": ",".join(given)} if job.gpus else {}
    return supervise(job, environment)


class OnRay(Engine):
    """Runs cells as tasks of a Ray cluster."""

    Options = RayOptions
    options: RayOptions

    def __init__(self, options: EngineOptions, folder: Path) -> None:
        super().__init__(options, folder)
        self.waiting: list[Job] = []
        self.tasks: dict[Any, tuple[Job, float]] = {}
        self.task: Any = None
        self.ours = False
        self.stops = 0
        self.dropped: list[Outcome] = []

    @classmethod
    def unavailable(cls) -> str | None:
        return "ray is not installed" if importlib.util.find_spec("ray") is None else None

    def start(self, jobs: Sequence[Job]) -> None:
        """Join or start the cluster. Raise UsageError if no node can ever run a cell, since Ray would wait silently."""
        if not jobs:
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        if not ray.is_initialized():
            ray.init(
                address=self.options.place,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.WARNING,
            )
            self.ours = True
        first = jobs[0]
        needs = {"CPU": float(first.threads), **self.options.resources} | ({"GPU": first.gpus} if first.gpus else {})
        _check(needs, ray.nodes())
        self.task = ray.remote(run_cell).options(
            num_cpus=first.threads, num_gpus=first.gpus, resources=self.options.resources or None,
            max_retries=self.options.restarts, retry_exceptions=False, name="semibench",
        )  # fmt: skip
        self.waiting = list(jobs)
        self._submit()

    def _submit(self) -> None:
        room = len(self.waiting) if self.options.jobs is None else self.options.jobs - len(self.tasks)
        for _ in range(min(room, len(self.waiting))):
            job = self.waiting.pop(0)
            self.tasks[self.task.remote(job)] = (job, time.monotonic())

    def poll(self) -> list[Outcome]:
        outcomes, self.dropped = self.dropped, []
        if not self.tasks:
            return outcomes
        import ray

        ready, _ = ray.wait(list(self.tasks), num_returns=len(self.tasks), timeout=0)
        for reference in ready:
            job, submitted = self.tasks.pop(reference)
            outcomes.append(self._outcome(job, reference, time.monotonic() - submitted))
        if not self.stops:
            self._submit()
        return outcomes

    def _outcome(self, job: Job, reference: Any, seconds: float) -> Outcome:
        """Return the task's outcome; if the task was lost, what the cell wrote, else what Ray reports."""
        import ray

        try:
            return ray.get(reference)
        except ray.exceptions.RayError as error:
            record = read_cached_json(job.folder / "outcome.json")
            if record.get("attempt") == job.attempt:
                return Outcome(job.name, record["ending"], record["reason"], float(record["seconds"]))
            memory = isinstance(error, ray.exceptions.OutOfMemoryError)
            ending: Ending = "out-of-memory" if memory else "interrupted"
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            settle(job, ending, reason, seconds)
            return Outcome(job.name, ending, reason, seconds)

    def stop(self) -> None:
        if not self.task:
            return
        import ray

        self.stops += 1
        self.dropped += [Outcome(job.name, "interrupted", "not started") for job in self.waiting]
        self.waiting = []
        for reference in self.tasks:
            ray.cancel(reference, force=self.stops > 1, recursive=False)

    def close(self) -> None:
        if self.ours:
            import ray

            ray.shutdown()


def _check(needs: dict[str, float], nodes: Sequence[dict[str, Any]]) -> None:
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    if any(all(node.get(name, 0.0) >= value for name, value in needs.items()) for node in alive):
        return
    largest = {name: max((node.get(name, 0.0) for node in alive), default=0.0) for name in needs}
    raise UsageError(
        f"engine 'ray': a cell needs {needs}, but no node has that (largest values of any node: {largest}); "
        "give cells less (--threads, --gpus), or join a larger cluster (--engine-set address=...)"
    )
