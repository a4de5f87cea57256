"""Estimates how long a run takes, from earlier runs on this machine or else from two iterations on noise."""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import torch
from filelock import FileLock

from semibench.contracts.errors import SemibenchError
from semibench.contracts.identity import canonical, sha256
from semibench.contracts.method import Batch, Method, Samples, Task
from semibench.contracts.recipe import Recipe
from semibench.files import read_cached_json, write_json
from semibench.reporting import Reporter
from semibench.runfolder.records import Machine

if TYPE_CHECKING:
    from semibench.run.resolve import Resolved


MEASUREMENT_LIMIT = 20.0
"""Seconds that a measurement may take."""


def timing_key(resolved: Resolved, machine: Machine) -> str:
    """Returns a digest of what the time of an iteration depends on: machine, method, backbone, batch and patch."""
    recipe, entry = resolved.options.recipe, resolved.spec.entry
    parts = [
        machine.device_name, machine.threads, entry.method.model_dump(), entry.backbone.model_dump(), recipe.labeled_batch,
        recipe.unlabeled_batch, recipe.patch, recipe.precision, recipe.channels_last, recipe.compile,
    ]  # fmt: skip
    return sha256(canonical(json.loads(json.dumps(parts, default=list))))[:24]


class Timings:
    """Measured times by `timing_key`, in the cache folder, for all projects on this machine."""

    def __init__(self, cache: Path) -> None:
        self.path = cache / "timings.json"

    def get(self, key: str) -> float | None:
        """Returns seconds, or None if nothing was measured."""
        value = read_cached_json(self.path).get(key)
        return float(value) if isinstance(value, int | float) and 0 < value < math.inf else None

    def put(self, key: str, seconds: float) -> None:
        """Stores a time and replaces an older one, unless the folder can't be written. Several processes may write at once."""
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self.path}.lock"):
                write_json(self.path, read_cached_json(self.path) | {key: seconds})


class RandomSource:
    """A training source for measurements: batches of noise with the shapes of a task."""

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
        batch = {}
        for name, stream in self._streams.items():
            pool = {"labeled": self._recipe.labeled_batch, "unlabeled": self._recipe.unlabeled_batch}
            count = max(1, round(stream.size * pool.get(stream.pool, sum(pool.values()))))
            domains = torch.arange(len(self.task.domains))
            count = count * len(domains) if stream.per_domain else count
            samples = self._samples(count, stream.pool == "labeled")
            if stream.per_domain:
                samples = replace(samples, domain=domains.repeat_interleave(count // len(domains)))
            batch[name] = replace(samples, strong=tuple(samples.image.clone() for _ in range(stream.strong)))
        return batch

    def passes(self, iteration: int) -> Mapping[str, float]:
        return {"labeled": 0.0, "unlabeled": 0.0, "all": 0.0}

    def batches(self, pool: str) -> Iterator[Samples]:
        yield self._samples(2, pool == "labeled")

    def class_voxels(self) -> torch.Tensor:
        return torch.ones(len(self.task.classes), dtype=torch.float64)

    def label_maps(self) -> Iterator[torch.Tensor]:
        yield torch.randint(len(self.task.classes), self.task.patch, dtype=torch.uint8)


class TooLargeError(SemibenchError):
    """An iteration takes too much time or memory for a measurement; the message says which."""


@contextmanager
def bounded(seconds: float, memory: float) -> Iterator[None]:
    """Limits the time and memory that networks take within the block.

    The limits are checked after the forward pass of every module, before the kernel would kill the process.

    Args:
        seconds: largest time.
        memory: largest increase of the process's memory, in bytes.

    Raises:
        TooLargeError: once a limit is exceeded.
    """
    process = psutil.Process()
    start, used = time.perf_counter(), process.memory_info().rss

    def check_limits(*_: object) -> None:
        if time.perf_counter() - start > seconds:
            raise TooLargeError(f"two iterations on noise take more than {seconds:.0f} s here")
        if process.memory_info().rss - used > memory:
            raise TooLargeError(f"an iteration needs more than {memory / 2**30:.1f} GiB, half of the free memory")

    hook = torch.nn.modules.module.register_module_forward_hook(check_limits)
    try:
        yield
    finally:
        hook.remove()


def measure_iteration(method: Method, task: Task, recipe: Recipe, device: torch.device) -> float:
    """Measures the seconds of one iteration, in the harness's own loop on noise.

    Raises:
        TooLargeError: if that takes too long or would fill the memory.
    """
    with bounded(MEASUREMENT_LIMIT, psutil.virtual_memory().available / 2):
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
