"""Engine `local`: as many processes as the cores and GPUs of this machine allow, each cell in a new fork.

The forks come from a server process that has imported everything once, so that cells do not pay for imports. The server never
runs a cell, and has no threads and no GPU.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from semibench.contracts.engine import Engine, EngineOptions, Job, Outcome
from semibench.matrix.supervision import Handle, Supervised
from semibench.matrix.worker import run_in_process
from semibench.process import own_cores

WARM = ["semibench.matrix.warm"]


class LocalOptions(EngineOptions, frozen=True):
    """Without `jobs`, cores / threads per cell run at once, but no more than the GPUs allow."""


class Forked:
    """A process that the server forked."""

    def __init__(self, job: Job, environment: Mapping[str, str]) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(WARM)
        self.process: ForkServerProcess = context.Process(
            target=run_in_process, args=(job.folder, job.attempt, dict(environment)), name=job.name, daemon=False
        )
        self.process.start()

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def exit_code(self) -> int | None:
        return self.process.exitcode


class Local(Engine):
    """Runs cells on this machine."""

    Options = LocalOptions

    def __init__(self, options: EngineOptions, folder: Path) -> None:
        super().__init__(options, folder)
        self.waiting: deque[Job] = deque()
        self.running: dict[str, Supervised] = {}
        self.share: dict[str, tuple[int, float]] = {}
        self.gpus: list[float] = []
        self.slots = 1
        self.dropped: list[Outcome] = []

    def start(self, jobs: Sequence[Job]) -> None:
        self.waiting.extend(jobs)
        if not jobs:
            return
        threads = max(job.threads for job in jobs)
        self.gpus = [1.0] * (visible_gpus() if any(job.gpus > 0 for job in jobs) else 0)
        self.slots = self.options.jobs or max(1, own_cores() // threads)

    def poll(self) -> list[Outcome]:
        ended, self.dropped = self.dropped, []
        for name, running in list(self.running.items()):
            outcome = running.poll()
            if outcome is not None:
                ended.append(outcome)
                del self.running[name]
                number, part = self.share.pop(name, (-1, 0.0))
                if number >= 0:
                    self.gpus[number] += part
        while self.waiting and len(self.running) < self.slots:
            device = self._device(self.waiting[0])
            if device is None:
                break
            job = self.waiting.popleft()
            self.running[job.name] = Supervised(job, lambda item, device=device: self._launch(item, device))  # type: ignore[misc]
        return ended

    def stop(self) -> None:
        self.dropped += [Outcome(job.name, "interrupted", "not started") for job in self.waiting]
        self.waiting.clear()
        for running in self.running.values():
            running.stop()

    def _device(self, job: Job) -> Mapping[str, str] | None:
        """Return the environment that gives a job its GPU; {} if it needs none, None if none is free."""
        if job.gpus <= 0 or not self.gpus:
            return {}
        free = [number for number, part in enumerate(self.gpus) if part + 1e-9 >= min(job.gpus, 1.0)]
        if not free:
            return None
        number = max(free, key=lambda index: self.gpus[index])
        self.gpus[number] -= min(job.gpus, 1.0)
        self.share[job.name] = (number, min(job.gpus, 1.0))
        return {"CUDA_VISIBLE_DEVICES": _visible_names()[number]}

    def _launch(self, job: Job, device: Mapping[str, str]) -> Handle:
        return Forked(job, device)


def _visible_names() -> list[str]:
    """Return the GPUs that this process may use, named as in CUDA_VISIBLE_DEVICES."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return (
        [part.strip() for part in visible.split(",") if part.strip()]
        if visible
        else [str(n) for n in range(visible_gpus())]
    )


def visible_gpus() -> int:
    """Return the number of CUDA devices, without starting CUDA in this process."""
    import torch

    return int(torch.cuda.device_count())
