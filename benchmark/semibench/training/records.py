"""Record loss terms, weights, learning rates and notes of each iteration; hold, check and write them in batches."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from semibench.contracts.errors import DivergedError, PluginError
from semibench.contracts.method import Batch
from semibench.contracts.schedule import Clock
from semibench.files import write_atomically

if TYPE_CHECKING:
    import pyarrow

Identify = Callable[[str, Tensor], list[str]]
"""(stream, `Samples.index` on the CPU) -> names of the samples, for messages."""


class Steps:
    """The long table `steps.parquet`: step (iteration of the run, from 0), stage, name, value.

    Names: "loss/<term>" (unweighted), "weight/<term>", "lr/<optimiser>", "note/<name>", "validation/dice", "scale" (fp16).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._names: dict[str, int] = {}
        self._steps, self._stage, self._name, self._value = array("q"), array("i"), array("i"), array("d")

    def __len__(self) -> int:
        return len(self._steps)

    def add(self, step: int, stage: str, name: str, value: float) -> None:
        self._steps.append(step)
        self._stage.append(self._names.setdefault(stage, len(self._names)))
        self._name.append(self._names.setdefault(name, len(self._names)))
        self._value.append(value)

    def table(self) -> pyarrow.Table:
        """Return all rows so far; stage and name are dictionary-encoded."""
        import pyarrow as pa

        words = pa.array(list(self._names), pa.string())

        def text(codes: array[int]) -> pa.DictionaryArray:
            return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), words)

        columns = {
            "step": pa.array(self._steps, pa.int64()),
            "stage": text(self._stage),
            "name": text(self._name),
            "value": pa.array(self._value, pa.float64()),
        }
        return pa.table(columns)

    def flush(self) -> None:
        """Write the whole file atomically."""
        import pyarrow.parquet as parquet

        write_atomically(self.path, lambda temporary: parquet.write_table(self.table(), temporary))

    def load(self, before: int) -> bool:
        """Load the rows of an earlier process whose step is below `before`; return whether the file could be read."""
        import pyarrow.parquet as parquet

        try:
            table = parquet.read_table(self.path)
            columns = [table.column(name).to_pylist() for name in ("step", "stage", "name", "value")]
            for step, stage, name, value in zip(*columns, strict=True):
                if step < before:
                    self.add(step, stage, name, value)
        except (OSError, ValueError, KeyError, TypeError):  # pyarrow's errors are ValueErrors
            return False
        return True


@dataclass
class _Held:
    """Values of one call that are still on the device."""

    iteration: int
    clock: Clock
    names: tuple[str, ...]
    weights: tuple[float, ...] | None
    values: Tensor
    samples: Mapping[str, Tensor]


@dataclass
class Watch:
    """Holds the values of iterations until `settle`, which copies them to the CPU at once and stops on NaN and infinity.

    On the CPU a loss is checked before its gradient is computed. On other devices reading it would stall the queue, so it is
    checked at the next `settle`, before anything is validated or saved; the error still names the step. A term that is computed
    several times in an iteration is recorded as the mean of its values.
    """

    steps: Steps
    owner: str
    eager: bool
    identify: Identify | None = None
    warn: Callable[[str], None] = lambda message: None
    latest: dict[str, float] = field(default_factory=dict)
    _held: list[_Held] = field(default_factory=list)
    _warned: set[tuple[str, str]] = field(default_factory=set)
    _iteration: int = 0
    _clock: Clock = field(default_factory=lambda: Clock("train", 0, 1, {}))
    _samples: Mapping[str, Tensor] = field(default_factory=dict)
    _sums: dict[tuple[int, str, str], list[float]] = field(default_factory=dict)

    def begin(self, iteration: int, clock: Clock, batch: Batch) -> None:
        """Start an iteration; all following values belong to it."""
        self._iteration, self._clock = iteration, clock
        self._samples = {name: samples.index for name, samples in batch.items()}

    def terms(self, names: tuple[str, ...], weights: tuple[float, ...], values: Tensor) -> None:
        """Record the unweighted values (T,) of loss terms and their weights. On the CPU this may raise DivergedError."""
        self._held.append(_Held(self._iteration, self._clock, names, weights, values, self._samples))
        if self.eager:
            self.settle()

    def notes(self, notes: Mapping[str, Tensor | float]) -> None:
        """Record the diagnostics of a method; each must be one number."""
        plain: dict[str, float] = {}
        names, tensors = [], []
        for name, value in notes.items():
            if not isinstance(value, Tensor):
                plain[name] = float(value)
            elif value.numel() == 1:
                names.append(f"note/{name}")
                tensors.append(
                    value.detach().reshape(()).double() if self.eager else value.detach().reshape(()).float()
                )
            else:
                raise PluginError(f"{self.owner}: note {name!r} must be one number, got shape {tuple(value.shape)}")
        for name, number in plain.items():
            self.scalar(f"note/{name}", number)
        if tensors:
            stacked = torch.stack(tensors)
            self._held.append(_Held(self._iteration, self._clock, tuple(names), None, stacked, self._samples))

    def scalar(self, name: str, value: float) -> None:
        """Record a value that the harness computes (learning rate, validation)."""
        self._keep(self._iteration, self._clock.stage, name, value)

    def _keep(self, iteration: int, stage: str, name: str, value: float) -> None:
        self._sums.setdefault((iteration, stage, name), []).append(value)

    def settle(self) -> None:
        """Check all held values. Raise DivergedError for the first term that is not finite."""
        held, self._held = self._held, []
        if not held:
            return
        flat = torch.cat([entry.values.reshape(-1) for entry in held]).tolist()
        start = 0
        for entry in held:
            values = flat[start : start + len(entry.names)]
            start += len(entry.names)
            if entry.weights is None:
                for name, value in zip(entry.names, values, strict=True):
                    self._keep(entry.iteration, entry.clock.stage, name, value)
                continue
            self._check(entry, entry.weights, values)
            for name, weight, value in zip(entry.names, entry.weights, values, strict=True):
                self._keep(entry.iteration, entry.clock.stage, f"loss/{name}", value)
                self._keep(entry.iteration, entry.clock.stage, f"weight/{name}", weight)

    def publish(self) -> dict[str, float]:
        """Settle, move everything to the table, and return the latest value of each name."""
        self.settle()
        self.move()
        return self.latest

    def move(self) -> None:
        """Move checked values to the table, in the order of iterations."""
        for (iteration, stage, name), values in sorted(self._sums.items(), key=lambda item: item[0][0]):
            value = values[0] if len(values) == 1 else math.fsum(values) / len(values)
            self.steps.add(iteration, stage, name, value)
            self.latest[name] = value
        self._sums.clear()

    def _check(self, entry: _Held, weights: tuple[float, ...], values: list[float]) -> None:
        for name, weight, value in zip(entry.names, weights, values, strict=True):
            if math.isfinite(value) and math.isfinite(weight):
                continue
            if weight == 0.0:
                if (entry.clock.stage, name) not in self._warned:
                    self._warned.add((entry.clock.stage, name))
                    self.warn(
                        f"{self.owner}: term {name!r} is {value} at step {entry.clock.step} of stage "
                        f"{entry.clock.stage!r}, where its weight is 0; it is left out of the sum and training continues"
                    )
                continue
            others = ", ".join(f"{n} = {v:.6g}" for n, v in zip(entry.names, values, strict=True) if n != name)
            raise DivergedError(
                f"{self.owner}: the term {name!r} became {value} (weight {weight:.6g}) at step {entry.clock.step} of "
                f"stage {entry.clock.stage!r} (iteration {entry.iteration} of the run). "
                f"Samples of the batch: {self._cases(entry.samples)}. Other terms: {others or 'none'}. "
                "Lower the learning rate, clip gradients (clip_norm), use precision fp32, or look at these samples"
            )

    def _cases(self, samples: Mapping[str, Tensor]) -> str:
        parts = []
        for stream, index in samples.items():
            positions = index.cpu()
            names = self.identify(stream, positions) if self.identify else [str(p) for p in positions.tolist()]
            parts.append(f"{stream}: {', '.join(names)}")
        return "; ".join(parts) or "none"
