"""Decides in which memory format a run trains: as the recipe says, as it is asked for, or as a short trial finds faster.

The format changes how sums are rounded, but not the run key, as threads and device do. So it stands with them in provenance.json
where it was asked for or tried; a run that is resumed goes on in the recorded one, and a row with several formats says so.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from semibench.contracts.errors import UsageError
from semibench.contracts.recipe import Recipe
from semibench.reporting import Reporter
from semibench.run.request import MemoryFormat, Request
from semibench.runfolder.records import Provenance

if TYPE_CHECKING:
    import torch

    from semibench.contracts.method import Batch, Method
    from semibench.run.plan import Plan
    from semibench.training.loop import TrainingSource

FORMATS: Mapping[MemoryFormat, bool] = {"contiguous": False, "channels_last": True}
"""Memory format -> the recipe field `channels_last`."""

ROUNDS, WARM, TIMED = 2, 1, 3
"""Rounds of a trial, in which both formats take turns; iterations of each that aren't timed, and that are."""

WORTH = 0.98
"""The other format is chosen if its time is below this share of the recipe's: a smaller difference is noise."""


def given_format(request: Request, folder: Path, *, resumes: bool) -> MemoryFormat | None:
    """Returns the format that is known before training; None: the recipe's, or that of a trial to be made.

    Args:
        request: what is asked for.
        folder: the run folder.
        resumes: whether the run goes on from a checkpoint. Its format was decided when it began, whatever is asked for now.
    """
    if resumes:
        earlier = Provenance.from_disk(folder)
        return None if earlier is None else earlier.machine.memory_format
    return next((name for name in FORMATS if name == request.memory_format), None)


def told(request: Request, recipe: Recipe, given: MemoryFormat | None, *, resumes: bool) -> list[str]:
    """Returns what a plan says about the memory format; nothing if it is the recipe's.

    Raises:
        UsageError: for a trial of a recipe that compiles.
    """
    if resumes:
        return [f"the run goes on in the memory format {given}, with which it began"] if given else []
    if request.memory_format == "auto":
        if recipe.compile:
            raise UsageError(
                "--memory-format auto can't try a recipe with compile=true: every trial would be compiled; choose contiguous or "
                "channels_last"
            )
        return [
            "--memory-format auto: a trial decides when the training starts, so the digits depend on the machine; leave it out "
            "for a board that others are to reproduce"
        ]
    if given is not None and FORMATS[given] != recipe.channels_last:
        return [
            f"--memory-format {given} isn't what the recipe says: the digits differ from those of other runs with this key "
            "(--set channels_last=... is the same as a setting of the recipe, which is part of the key)"
        ]
    return []


def recipe_to_train(plan: Plan, data: TrainingSource, reporter: Reporter) -> Recipe:
    """Returns the recipe with the memory format of this run, and records the format where a trial decided it.

    Args:
        plan: the run; its record and provenance.json receive the decision.
        data: the batches of the run.
        reporter: is told what the trial found.
    """
    recipe, given = plan.resolved.options.recipe, plan.record.machine.memory_format
    if given is None and plan.resolved.request.memory_format == "auto" and not plan.resumes:
        given = _tried(plan, data, reporter)
        plan.record = with_format(plan.record, given)
        plan.record.to_disk(plan.folder)
    if given is None or FORMATS[given] == recipe.channels_last:
        return recipe
    return recipe.model_copy(update={"channels_last": FORMATS[given]})


def with_format(record: Provenance, given: MemoryFormat | None) -> Provenance:
    """Returns the provenance with this memory format."""
    return record.model_copy(update={"machine": record.machine.model_copy(update={"memory_format": given})})


def _tried(plan: Plan, data: TrainingSource, reporter: Reporter) -> MemoryFormat:
    """Trains fresh copies of the method for a few iterations in both formats, in turns; returns the faster one."""
    from semibench.discovery.registry import registry
    from semibench.run.assembly import build_method

    recipe = plan.resolved.options.recipe
    best = dict.fromkeys(FORMATS, math.inf)
    for _ in range(ROUNDS):
        for name, channels_last in FORMATS.items():
            method = build_method(plan.resolved, data.task, registry())
            changed = recipe.model_copy(update={"channels_last": channels_last})
            best[name] = min(best[name], seconds_of(method, data, changed, plan.device))
    chosen = faster(best, recipe.channels_last)
    kind = " of CPU time" if plan.device.type == "cpu" else ""
    found = ", ".join(f"{name} {seconds * 1e3:.0f} ms" for name, seconds in best.items() if seconds < math.inf)
    reporter.note(f"memory format {chosen} (an iteration{kind}: {found or 'nothing is trained'})")
    return chosen


def faster(seconds: Mapping[MemoryFormat, float], channels_last: bool) -> MemoryFormat:
    """Returns the format to train with. seconds: of an iteration, by format. channels_last: what the recipe says."""
    usual: MemoryFormat
    other: MemoryFormat
    usual, other = ("channels_last", "contiguous") if channels_last else ("contiguous", "channels_last")
    return other if seconds[other] < WORTH * seconds[usual] else usual


def seconds_of(method: Method, data: TrainingSource, recipe: Recipe, device: torch.device) -> float:
    """Trains a method for a few iterations and returns the seconds of the fastest one; infinity if none is trained.

    On a CPU this is CPU time, which other processes disturb least.
    """
    from semibench.training.loop import train

    timed = _Timed(data, device)
    long = recipe.model_copy(
        update={"iterations": 10**6, "evaluate_every": 0, "checkpoint_every": 0, "keep_best": False}
    )
    with tempfile.TemporaryDirectory() as folder, suppress(_EnoughError):
        train(method, timed, long, seed=0, device=device, folder=Path(folder), validate=None, reporter=Reporter())
    return min(timed.seconds[WARM:], default=math.inf)


class _EnoughError(Exception):
    """Ends a trial."""


class _Timed:
    """Training data that time the iterations and end the training after a few."""

    def __init__(self, data: TrainingSource, device: torch.device) -> None:
        self.data, self.device = data, device
        self.task, self.pools = data.task, data.pools
        self.seconds: list[float] = []
        self._began: float | None = None

    def passes(self, iteration: int) -> Mapping[str, float]:
        """The loop asks for this first in every iteration."""
        now = self._now()
        if self._began is not None:
            self.seconds.append(now - self._began)
        if len(self.seconds) == WARM + TIMED:
            raise _EnoughError
        passes = self.data.passes(iteration)
        self._began = self._now()
        return passes

    def batch(self, iteration: int) -> Batch:
        return self.data.batch(iteration)

    def _now(self) -> float:
        from semibench.training.device import synchronize

        synchronize(self.device)
        return time.process_time() if self.device.type == "cpu" else time.perf_counter()
