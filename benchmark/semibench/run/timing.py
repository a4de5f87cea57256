"""How long a run will take here: from earlier runs on this machine, else from two iterations on random data."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import torch
from filelock import FileLock

from semibench.contracts.identity import canonical, sha256
from semibench.contracts.method import Batch, Method, Samples, Task
from semibench.contracts.recipe import Recipe
from semibench.files import read_cached_json, write_json
from semibench.reporting import Reporter
from semibench.runfolder.records import Machine

if TYPE_CHECKING:
    from semibench.run.resolve import Resolved


PATIENCE = 20.0
"""Seconds that an estimate may take."""


def setting(resolved: Resolved, machine: Machine) -> str:
    """Names what the time of an iteration depends on: machine, method, backbone, batch and patch."""
    recipe, entry = resolved.options.recipe, resolved.spec.entry
    parts = [
        machine.device_name, machine.threads, entry.method.model_dump(), entry.backbone.model_dump(), recipe.labeled_batch,
        recipe.unlabeled_batch, recipe.patch, recipe.precision, recipe.channels_last, recipe.compile,
    ]  # fmt: skip
    return sha256(canonical(json.loads(json.dumps(parts, default=list))))[:24]


class Timings:
    """Measured figures by setting, kept in the cache folder for all projects of this machine."""

    def __init__(self, cache: Path) -> None:
        self.path = cache / "timings.json"

    def get(self, name: str) -> float | None:
        """Seconds, or None where nothing was measured."""
        value = read_cached_json(self.path).get(name)
        return float(value) if isinstance(value, int | float) else None

    def put(self, name: str, seconds: float) -> None:
        """Keeps the newest figure; safe for several processes."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self.path}.lock"):
            write_json(self.path, read_cached_json(self.path) | {name: seconds})


class RandomSource:
    """Batches of noise with the shapes of a task, for measuring."""

    def __init__(self, method: Method, task: Task, recipe: Recipe) -> None:
        self.task, self._recipe, self._streams = task, recipe, method.streams
        self.pools = self

    def _samples(self, count: int, labeled: bool) -> Samples:
        size = (count, *self.task.patch)
        label = torch.randint(len(self.task.classes), size) if labeled else None
        image = torch.rand(count, self.task.channels, *self.task.patch)
        zero = torch.zeros(count, dtype=torch.long)
        return Samples(image, (), label, torch.ones(size, dtype=torch.bool), zero, zero.clone())

    def batch(self, iteration: int) -> Batch:
        found = {}
        for name, stream in self._streams.items():
            pool = {"labeled": self._recipe.labeled_batch, "unlabeled": self._recipe.unlabeled_batch}
            count = max(1, round(stream.size * pool.get(stream.pool, sum(pool.values()))))
            domains = torch.arange(len(self.task.domains))
            count = count * len(domains) if stream.per_domain else count
            samples = self._samples(count, stream.pool == "labeled")
            if stream.per_domain:
                samples = replace(samples, domain=domains.repeat_interleave(count // len(domains)))
            found[name] = replace(samples, strong=tuple(samples.image.clone() for _ in range(stream.strong)))
        return found

    def passes(self, iteration: int) -> Mapping[str, float]:
        return {"labeled": 0.0, "unlabeled": 0.0, "all": 0.0}

    def batches(self, pool: str) -> Iterator[Samples]:
        yield self._samples(2, pool == "labeled")

    def class_voxels(self) -> torch.Tensor:
        return torch.ones(len(self.task.classes), dtype=torch.float64)


class TooLargeError(Exception):
    """An iteration that isn't worth trying for the sake of an estimate; says why."""


@contextmanager
def bounded(seconds: float, memory: float) -> Iterator[None]:
    """Work of networks inside ends with TooLargeError once it took `seconds`, or more than `memory` bytes beyond what the process
    holds now. Looked at after the forward pass of every module: the kernel would kill the process without a word."""
    process = psutil.Process()
    start, held = time.perf_counter(), process.memory_info().rss

    def look(*_: object) -> None:
        if time.perf_counter() - start > seconds:
            raise TooLargeError(f"two iterations on noise take more than {seconds:.0f} s here")
        if process.memory_info().rss - held > memory:
            raise TooLargeError(f"an iteration needs more than {memory / 2**30:.1f} GiB, half of the free memory")

    hook = torch.nn.modules.module.register_module_forward_hook(look)
    try:
        yield
    finally:
        hook.remove()


def measure_iteration(method: Method, task: Task, recipe: Recipe, device: torch.device) -> float:
    """Seconds of one iteration: the harness's own loop on noise, the second of two, one stage. Raises TooLargeError where that
    takes minutes or would fill the memory."""
    with bounded(PATIENCE, psutil.virtual_memory().available / 2):
        return _measured(method, task, recipe, device)


def _measured(method: Method, task: Task, recipe: Recipe, device: torch.device) -> float:
    from semibench.training.loop import train

    stages = max(2, 2 * len(method.stages()))
    short = recipe.model_copy(
        update={"iterations": stages, "evaluate_every": 0, "checkpoint_every": 0, "keep_best": False}
    )
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        result = train(
            method, RandomSource(method, task, short), short, seed=0, device=device, folder=Path(folder), validate=None,
            reporter=Reporter(),
        )  # fmt: skip
        elapsed = time.perf_counter() - start
    return 1.0 / result.throughput if result.throughput > 0 else elapsed / stages
