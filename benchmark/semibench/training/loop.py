"""The training loop: stages, iterations, validation, checkpoints, resume."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from semibench.contracts.errors import DivergedError, IdentityError, SemibenchError, one_line
from semibench.contracts.identity import canonical, sha256
from semibench.contracts.method import Batch, Method, Pools, Task
from semibench.contracts.recipe import Recipe
from semibench.contracts.schedule import Clock
from semibench.discovery.guard import calling, raised_by_plugin
from semibench.process import interrupt, stopping
from semibench.reporting import Reporter
from semibench.runfolder.tables import STEPS_FILE
from semibench.training import seeding
from semibench.training.checkpoints import Best, Checkpoints, read, restore_optimiser, restore_state
from semibench.training.device import PeakMemory, set_deterministic, synchronize, tune_allocator
from semibench.training.optimise import Optimisation
from semibench.training.precision import LossScale, autocast, batch_channels_last, compiled, weights_channels_last
from semibench.training.records import Steps, Watch
from semibench.training.schedules import Driver, StagePlan, build_drivers, plan_stages

REPORT_EVERY = 0.5
"""Seconds between two reports of progress; values are copied from the device at these moments."""


class TrainingSource(Protocol):
    """The training data, as a pure function of (seed, iteration), so that a resumed run needs no stored state.

    It may have `names(pool, index) -> case keys` for messages.
    """

    @property
    def task(self) -> Task: ...
    @property
    def pools(self) -> Pools: ...
    def batch(self, iteration: int) -> Batch: ...
    def passes(self, iteration: int) -> Mapping[str, float]: ...


@dataclass(frozen=True)
class TrainingResult:
    """The outcome of a training."""

    iterations: int
    """Iterations of the run; 0 for a method that optimises nothing."""
    best: tuple[float, int] | None
    """(validation Dice, iterations done by then) of the last stage; None without validation."""
    seconds: float
    """Wall time, summed over resumes."""
    peak_memory: float
    """MB."""
    throughput: float
    """Iterations per second, without validation and checkpoints; NaN without iterations."""

    def record(self) -> dict[str, float | int | None]:
        """Return the part "training" of result.json."""
        return {
            "iterations": self.iterations,
            "seconds": self.seconds,
            "iterations_per_second": self.throughput if math.isfinite(self.throughput) else None,
            "peak_memory_mb": self.peak_memory,
            "best_iteration": self.best[1] if self.best else None,
            "best_validation": self.best[0] if self.best else None,
        }


def fingerprint(method: Method, recipe: Recipe, seed: int) -> str:
    """Return a digest of method class, terms, recipe and seed, which replaces the run key if none is given."""
    terms = {name: term.record() for name, term in method.terms.items()}
    return sha256(canonical([type(method).__qualname__, terms, recipe.model_dump(mode="json"), seed]))


def train(
    method: Method,
    data: TrainingSource,
    recipe: Recipe,
    *,
    seed: int,
    device: torch.device,
    folder: Path,
    validate: Callable[[Method], float] | None,
    reporter: Reporter,
    resume: bool = False,
    key: str | None = None,
) -> TrainingResult:
    """Train a method through all its stages for `recipe.iterations` batches; afterwards it holds the last weights.

    SIGINT and SIGTERM let the iteration end, save a checkpoint and raise KeyboardInterrupt; a second one stops at once.

    Args:
        method: built after `seeding.seed_construction(seed)`, with resolved `terms`.
        data: the training data.
        recipe: budget and optimisation.
        seed: training seed.
        device: where to train.
        folder: the run folder; receives `checkpoints/` and `steps.parquet`.
        validate: returns the mean foreground Dice on the validation cases; None: there are none.
        reporter: receives progress and warnings.
        resume: continue from the checkpoint in the folder, to the same digits as without interruption (CPU, equal number of
            threads). Without a checkpoint, or with `resume=False`, training starts anew and old files are removed.
        key: the run's key, checked on resume; None: a digest of method class, terms, recipe and seed.

    Raises:
        DivergedError: for a loss or weight that is not finite.
        PluginError: for a method that breaks the contract.
        IdentityError: for a checkpoint of another run.
    """
    tune_allocator()
    set_deterministic(device)
    method.to(device)
    if recipe.channels_last:
        weights_channels_last(method)
    with compiled(method, recipe.compile):
        training = _Training(method, data, recipe, seed, device, folder, validate, reporter, key)
        with stopping(training.stop):
            try:
                return training.run(resume)
            except DivergedError:
                training.watch.move()
                training.steps.flush()
                raise


class _Training:
    """State of one call of `train`."""

    def __init__(
        self,
        method: Method,
        data: TrainingSource,
        recipe: Recipe,
        seed: int,
        device: torch.device,
        folder: Path,
        validate: Callable[[Method], float] | None,
        reporter: Reporter,
        key: str | None,
    ) -> None:
        self.method, self.data, self.recipe, self.seed, self.device = method, data, recipe, seed, device
        self.reporter = reporter
        self.validate = validate if recipe.keep_best and recipe.evaluate_every > 0 else None
        self.plan = plan_stages(method, recipe.iterations)
        self.checkpoints = Checkpoints(folder / "checkpoints", key or fingerprint(method, recipe, seed))
        self.steps = Steps(folder / STEPS_FILE)
        self.watch = Watch(
            self.steps,
            type(method).__name__,
            eager=device.type == "cpu",
            identify=self.name_samples if hasattr(data, "names") else None,
            warn=reporter.warn,
        )
        self.scale = LossScale(recipe.precision == "fp16")
        self.drivers: dict[str, Driver] = {}
        self.optimise = Optimisation(method, self.drivers, self.watch, self.scale)
        self.best: Best | None = None
        self.memory = PeakMemory(device)
        self.stopping = False
        self.earlier_seconds = self.earlier_peak = 0.0
        self.earlier_busy = 0.0
        self.busy = 0.0
        self.done_here = self.trained = 0
        self.started = time.perf_counter()

    def stop(self) -> None:
        """End the training after the current iteration; a second call ends it at once."""
        if self.stopping:
            interrupt()
        self.stopping = True

    def name_samples(self, stream: str, index: Tensor) -> list[str]:
        """Return the case keys of a stream's samples, for messages."""
        return self.data.names(self.method.streams[stream].pool, index)  # type: ignore[attr-defined]

    def run(self, resume: bool) -> TrainingResult:
        content = self.checkpoints.load(self.reporter.warn) if resume else None
        self.reporter.phase("train", self.recipe.iterations)
        if content is None:
            self.checkpoints.clear()
            self.steps.path.unlink(missing_ok=True)
            number, step = 0, 0
            self.enter(0)
        else:
            number, step = self.restore(content)
        while True:
            self.train_stage(number, step)
            if number + 1 == len(self.plan):
                break
            number, step = number + 1, 0
            self.enter(number)
            self.save(number, 0)
        self.reporter.end()
        return self.result()

    def result(self) -> TrainingResult:
        busy = self.earlier_busy + self.busy
        return TrainingResult(
            iterations=self.trained,
            best=(self.best.value, self.best.iteration) if self.best else None,
            seconds=self.earlier_seconds + time.perf_counter() - self.started,
            peak_memory=max(self.earlier_peak, self.memory.megabytes),
            throughput=self.trained / busy if busy > 0 else math.nan,
        )

    def enter(self, number: int) -> None:
        """Begin a stage: load its start weights, call the method's `begin`, build its optimisers."""
        plan = self.plan[number]
        if number > 0 and plan.stage.start == "best":
            path = self.checkpoints.best_of(self.plan[number - 1].name, final=False)
            if self.best is not None:
                restore_state(self.method, read(path, self.checkpoints.key)["method"], path)
            elif self.validate is not None:
                self.reporter.warn(f"stage {plan.name!r} starts from the last weights: every validation was NaN")
        self.best = None
        seeding.seed_begin(self.seed, plan.name)
        self.method.train()
        with calling(self.method, "begin"):
            self.method.begin(plan.name, self.data.pools)
        self.build()

    def build(self) -> None:
        self.drivers = build_drivers(self.method, self.recipe)
        self.optimise = Optimisation(self.method, self.drivers, self.watch, self.scale)

    def train_stage(self, number: int, first: int) -> None:
        """Run the iterations of a stage from step `first` on, with its validations and checkpoints.

        A stage without optimisers has no iterations: `begin` has done its work.
        """
        plan, recipe = self.plan[number], self.recipe
        if not self.drivers:
            self.save(number, plan.steps)
            return
        reported = clock = time.perf_counter()
        for step in range(first, plan.steps):
            iteration = plan.offset + step
            try:
                self.iterate(plan, step, iteration)
            except SemibenchError as error:
                if raised_by_plugin(error):
                    self.watch.settle()
                raise
            except Exception:
                self.watch.settle()
                raise
            self.done_here += 1
            self.trained += 1
            done = iteration + 1
            ends = step + 1 == plan.steps
            validates = self.validate is not None and (ends or done % recipe.evaluate_every == 0)
            saves = ends or self.stopping or (recipe.checkpoint_every > 0 and done % recipe.checkpoint_every == 0)
            now = time.perf_counter()
            if now - reported >= REPORT_EVERY or ends or validates:
                self.report(done, self.busy + now - clock)
                reported = now
            if validates or saves:
                synchronize(self.device)
                self.busy += time.perf_counter() - clock
                if validates:
                    self.score(plan, number, step, done)
                if saves or self.stopping:
                    self.save(number, step + 1)
                if self.stopping:
                    raise KeyboardInterrupt
                clock = time.perf_counter()

    def iterate(self, plan: StagePlan, step: int, iteration: int) -> None:
        """Run one iteration: batch, seeds, the method's `step` and `after_step`."""
        method = self.method
        clock = Clock(plan.name, step, plan.steps, self.data.passes(iteration))
        batch = self.data.batch(iteration)
        if self.recipe.channels_last:
            batch = batch_channels_last(batch)
        seeding.seed_step(self.seed, plan.name, step)
        method.train()
        self.watch.begin(iteration, clock, batch)
        self.optimise.begin(clock)
        if self.recipe.compile == "cuda-graphs":
            torch.compiler.cudagraph_mark_step_begin()  # results of the iteration before may be overwritten from here on
        with autocast(self.recipe.precision, self.device), calling(method, "step"):
            method.step(batch, clock, self.optimise)
        self.optimise.end()
        with torch.no_grad(), calling(method, "after_step"):
            method.after_step(clock)
        if method.notes:
            self.watch.notes(method.notes)
            method.notes.clear()

    def report(self, done: int, busy: float) -> None:
        """Report the latest values: terms, learning rates, iterations per second, seconds left."""
        self.memory.sample()
        shown = dict(self.watch.publish())
        speed = self.done_here / busy if busy > 0 else math.nan
        shown["it/s"] = speed
        shown["seconds left"] = (self.recipe.iterations - done) / speed
        self.reporter.advance(done, shown)

    def score(self, plan: StagePlan, number: int, step: int, done: int) -> None:
        """Validate, and save the weights if they are better than all earlier ones of this stage (ties: the earlier ones stay)."""
        if self.validate is None:
            return
        seeding.seed_validation(self.seed, plan.name, step)
        self.method.eval()
        with torch.no_grad():
            value = float(self.validate(self.method))
        self.watch.scalar("validation/dice", value)
        if math.isfinite(value) and (self.best is None or value > self.best.value):
            self.best = Best(value, done)
            self.checkpoints.save_best(self.method, self.best, plan.name, number + 1 == len(self.plan))

    def save(self, number: int, step: int) -> None:
        """Write the values so far, then the checkpoint, so that the checkpoint is never ahead of the table."""
        self.watch.publish()
        plan = self.plan[number]
        self.refuse_broken_weights(plan, step)
        self.steps.flush()
        self.checkpoints.save(
            {
                "stage": number,
                "stage_name": plan.name,
                "step": step,
                "iteration": plan.offset + step,
                "trained": self.trained,
                "method": dict(self.method.state_dict()),
                "frozen": [name for name, p in self.method.named_parameters() if not p.requires_grad],
                "optimisers": {name: driver.optimiser.state_dict() for name, driver in self.drivers.items()},
                "scale": self.scale.state(),
                "best": {"value": self.best.value, "iteration": self.best.iteration} if self.best else None,
                "seconds": self.earlier_seconds + time.perf_counter() - self.started,
                "busy": self.earlier_busy + self.busy,
                "peak_memory": max(self.earlier_peak, self.memory.megabytes),
            }
        )

    def refuse_broken_weights(self, plan: StagePlan, step: int) -> None:
        """Raise DivergedError for a weight that is NaN or infinite: a gradient can be, even if the loss is finite."""
        named = [(name, p.detach()) for name, p in self.method.named_parameters() if p.is_floating_point()]
        finite = torch.stack([value.isfinite().all() for _, value in named]).tolist() if named else []
        broken = [name for (name, _), fine in zip(named, finite, strict=True) if not fine]
        if broken:
            raise DivergedError(
                f"{type(self.method).__name__}: the weights {', '.join(broken[:5])} contain NaN or infinity after {step} steps "
                f"of stage {plan.name!r}, though the losses were finite; look for a gradient that is undefined (a root or "
                "quotient at 0), clip gradients, or lower the learning rate"
            )

    def restore(self, content: Mapping[str, Any]) -> tuple[int, int]:
        """Restore a checkpoint: weights, frozen parameters, optimisers, values. Return (stage number, step)."""
        number, step, done = content["stage"], content["step"], content["iteration"]
        if number >= len(self.plan) or step > self.plan[number].steps or done != self.plan[number].offset + step:
            raise self.misfit(f"it is at step {step} of stage {number}, iteration {done}")
        restore_state(self.method, content["method"], self.checkpoints.last)
        self.refuse_broken_weights(self.plan[number], step)
        frozen = set(content["frozen"])
        unknown = frozen - {name for name, _ in self.method.named_parameters()}
        if unknown:
            raise self.misfit(f"it freezes {min(unknown)}, which the method hasn't")
        for name, parameter in self.method.named_parameters():
            parameter.requires_grad_(name not in frozen)
        self.build()
        if set(content["optimisers"]) != set(self.drivers):
            raise self.misfit(
                f"it has the optimisers {sorted(content['optimisers'])}, the method {sorted(self.drivers)}"
            )
        try:
            for name, state in content["optimisers"].items():
                restore_optimiser(self.drivers[name].optimiser, state)
            self.scale.load(content["scale"])
        except (ValueError, KeyError, TypeError, RuntimeError, AttributeError) as error:
            raise self.misfit(f"its optimisers: {one_line(error)}") from error
        best = content["best"]
        self.best = Best(best["value"], best["iteration"]) if best else None
        self.earlier_seconds, self.earlier_busy = float(content["seconds"]), float(content["busy"])
        self.earlier_peak = float(content["peak_memory"])
        self.trained = int(content.get("trained", done))
        if done > 0 and not self.steps.load(before=done):
            self.reporter.warn(
                f"{self.steps.path} is missing or damaged; the values of the first {done} iterations are lost"
            )
        self.reporter.advance(done)
        return number, step

    def misfit(self, what: str) -> IdentityError:
        """Return the error of a checkpoint that doesn't fit this training."""
        return IdentityError(
            f"{self.checkpoints.folder}: the checkpoint doesn't fit this training: {what}; start again with --restart"
        )
