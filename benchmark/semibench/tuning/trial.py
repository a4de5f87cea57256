"""One trial: the run of `bench run` with other weights, without test cases, and stopped early if it is hopeless."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semibench.contracts.cases import Split
from semibench.contracts.errors import UsageError
from semibench.protocols.ordering import cases_of, count_of, group_of, merged, ordered, reverse
from semibench.reporting import Reporter

if TYPE_CHECKING:
    from semibench.run.request import Request

SHARE = 0.2
"""Share of the labeled groups used for validation if the split has no validation cases."""

CHECKS = 10
"""Number of validations in a trial if the recipe has none."""

Report = Callable[[float, int], bool]
"""(validation Dice, iterations done) -> whether to stop the trial."""


class Pruned(Exception):
    """The pruner stopped the trial."""


def with_validation(split: Split, draw: int) -> Split:
    """Return the split of a trial, without test cases and always with validation cases.

    If the split has no validation cases, the last labeled groups in the order of the draw are used for validation and not for
    training; the others stay labeled. Raise UsageError if there is only one labeled group.
    """
    split = replace(split, test=())
    if split.validation:
        return split
    groups = merged(reverse(ordered(split.labeled, draw)))
    if len(groups) < 2:
        raise UsageError(
            "tuning needs validation cases: the split has none, and its only labeled group cannot be spared; "
            "label more, or give the protocol a validation set (--set validation=...)"
        )
    validation = set(groups[: count_of(SHARE, len(groups))])
    return replace(
        split,
        labeled=tuple(ref for ref in split.labeled if group_of(ref) not in validation),
        unlabeled=tuple(ref for ref in split.unlabeled if group_of(ref) not in validation),
        validation=cases_of(split.labeled, validation),
        validation_from="labeled",
    )


def split_of(request: Request) -> Split:
    """Return the split that all trials of a study share."""
    from semibench.run.prepare import draw_split
    from semibench.run.resolve import resolve

    resolved = resolve(request)
    split, _ = draw_split(resolved)
    return with_validation(split, resolved.spec.replicate.draw or 0)


def run_trial(request: Request, folder: Path, report: Report, reporter: Reporter) -> Mapping[str, Any]:
    """Train once. No test case is ever decoded.

    Args:
        request: the run, with the trial's weights among its settings.
        folder: folder of the trial.
        report: receives each validation, and decides whether to stop.
        reporter: receives progress.

    Returns:
        {"value": best validation Dice, "iteration", "seconds", ...}

    Raises:
        Pruned: if `report` stops the trial. Errors of training propagate.
    """
    from semibench.run.assembly import assemble
    from semibench.run.prepare import draw_split
    from semibench.run.resolve import resolve
    from semibench.runfolder.provenance import machine
    from semibench.training.device import choose, set_threads, tune_allocator
    from semibench.training.loop import train

    tune_allocator()
    device = choose(request.device)
    resolved = resolve(request, reporter)
    recipe = resolved.options.recipe
    every = recipe.evaluate_every or max(1, recipe.iterations // CHECKS)
    recipe = recipe.model_copy(update={"keep_best": True, "evaluate_every": every, "checkpoint_every": 0})
    resolved = replace(resolved, options=replace(resolved.options, recipe=recipe))
    batch = recipe.labeled_batch + recipe.unlabeled_batch
    set_threads(request.threads, voxels=batch * math.prod(recipe.patch))
    split = with_validation(draw_split(resolved)[0], resolved.spec.replicate.draw or 0)
    device_used = machine(str(device))
    made = assemble(resolved, split, folder, device=device, machine=device_used, reporter=reporter)
    validate = made.validate
    assert validate is not None, "with_validation leaves no split without validation cases"
    done = 0

    def watched(method: Any) -> float:
        nonlocal done
        value = validate(method)
        done = min(done + every, recipe.iterations)
        if report(value, done):
            raise Pruned
        return value

    trained = train(
        made.method, made.data, recipe, seed=resolved.spec.replicate.seed, device=device, folder=folder, validate=watched,
        reporter=reporter, resume=False,
    )  # fmt: skip
    if trained.best is None:
        raise ArithmeticError("every validation was NaN")
    value, iteration = trained.best
    return {"value": value, "iteration": iteration, "seconds": trained.seconds, "iterations": trained.iterations}
