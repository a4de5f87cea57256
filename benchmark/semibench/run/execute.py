"""One run from a request to a finished run folder: `prepare` settles and checks everything, `execute` does the work.

plan = prepare(Request(protocol="synthetic", dataset="tus"))
result = execute(plan)
"""

from __future__ import annotations

import logging
import math
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semibench.contracts.cases import Split
from semibench.contracts.errors import BusyError, SemibenchError, UnsupportedError
from semibench.contracts.identity import SHORT, RunSpec
from semibench.protocols.checks import check
from semibench.registry import Registry, registry
from semibench.reporting import Reporter
from semibench.run.assembly import assemble, generator_setting
from semibench.run.building import build_method
from semibench.run.resolve import Request, Resolved, resolve
from semibench.runfolder import records
from semibench.runfolder.format import write_spec
from semibench.runfolder.plans import Estimate, PlanRecord
from semibench.runfolder.provenance import provenance
from semibench.runfolder.reading import SCORES_FILE, planned_state, read_object
from semibench.runfolder.records import Provenance, SplitRecord
from semibench.runfolder.state import LOCK, State
from semibench.runfolder.writing import StatusFile, logged, write_table

if TYPE_CHECKING:
    from semibench.contracts.method import Task

__all__ = ["Plan", "Request", "Result", "draw_split", "execute", "prepare"]
log = logging.getLogger("semibench")
WORTH_TRYING = 2**20
"""Voxels of a batch above which no iteration is tried on a CPU for the sake of an estimate: it would take minutes."""


@dataclass
class Plan:
    """Everything settled, nothing done. state: what the run folder holds already; reasons: why it is stale; record: what would
    make the run."""

    resolved: Resolved
    split: Split
    folder: Path
    state: State
    record: Provenance
    device: Any
    warnings: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    estimate: Estimate = field(default_factory=Estimate)

    @property
    def spec(self) -> RunSpec:
        return self.resolved.spec

    @property
    def key(self) -> str:
        return self.spec.key

    def summary(self) -> PlanRecord:
        """What a user wants to see before the work starts."""
        resolved, recipe = self.resolved, self.resolved.recipe
        pools = {
            pool: {
                "cases": len(refs),
                "groups": len({(ref.dataset, ref.group) for ref in refs}),
                "domains": dict(Counter(ref.domain for ref in refs)),
            }
            for pool, refs in self.split.roles().items()
        }
        synthesis, replicate = resolved.synthesis, self.spec.replicate
        synthetic = None if synthesis is None else {
            "generator": synthesis.generator,
            "count": synthesis.count or len(self.split.labeled) + len(self.split.unlabeled),
            "options": dict(synthesis.options),
        }  # fmt: skip
        return PlanRecord.make(
            key=self.key[:SHORT], state=self.state, reasons=self.reasons, folder=str(self.folder),
            protocol=resolved.items["protocol"].name, dataset=resolved.card.name,
            data="phantom" if resolved.phantom else "real", method=resolved.items["method"].name,
            backbone=resolved.items["backbone"].name, backbone_options=dict(resolved.backbone_options),
            recipe=resolved.recipe_label, dims=resolved.dims, classes=list(resolved.card.classes),
            iterations=recipe.iterations, batch={"labeled": recipe.labeled_batch, "unlabeled": recipe.unlabeled_batch},
            patch=list(recipe.patch), precision=recipe.precision, device=str(self.device), draw=replicate.draw,
            fold=replicate.fold, seed=replicate.seed, cases=pools, validation_from=self.split.validation_from,
            label_budget=len(self.split.labeled) + len(self.split.validation), synthetic=synthetic,
            excluded=dict(self.split.excluded), warnings=self.warnings, estimate=self.estimate,
        )  # fmt: skip


@dataclass
class Result:
    """A finished run. record: what result.json holds; new: whether it was computed now."""

    folder: Path
    record: records.Result
    new: bool = True


def draw_split(resolved: Resolved) -> tuple[Split, list[str]]:
    """The checked split of a resolved request (synthetic cases are added when the run is executed), and warnings."""
    replicate = resolved.spec.replicate
    split = resolved.protocol.draw(resolved.catalog, resolved.protocol_options, replicate.draw, replicate.fold)
    return split, check(split, published=replicate.draw is None)


def prepare(request: Request, reporter: Reporter | None = None, *, estimate: bool = True) -> Plan:
    """Resolves, draws and checks. estimate: also tell how long it will take (two iterations on noise where nothing was
    measured on this machine before). Raises the errors of `resolve` and UsageError for a split that can't be used."""
    from semibench.evaluation.run_scores import conventions_for
    from semibench.training.device import choose, set_threads, tune_allocator

    tune_allocator()
    reporter = reporter or Reporter()
    plugins = registry()
    device = choose(request.device)
    resolved = resolve(request, reporter, plugins)
    recipe = resolved.recipe
    batch = recipe.labeled_batch + recipe.unlabeled_batch
    set_threads(request.threads, voxels=batch * math.prod(recipe.patch))
    split, warnings = draw_split(resolved)
    warnings += _random_start(resolved)
    folder = request.runs / resolved.spec.key[:SHORT]
    record = provenance(resolved.items, str(device))
    state, reasons = planned_state(folder, resolved.spec, record, SplitRecord.of(split), force=request.force)
    plan = Plan(resolved, split, folder, state, record, device, warnings, reasons)
    _check_method(resolved, split)
    conventions_for(
        plugins, request.conventions, dims=resolved.dims, case_dims=resolved.card.dims, dataset=resolved.card.name
    )
    if estimate and state not in ("done", "running"):
        plan.estimate = _estimate(plan, plugins)
    return plan


def _random_start(resolved: Resolved) -> list[str]:
    """A sentence where the network is published with pretrained weights and none are given."""
    item = resolved.items["backbone"]
    if resolved.request.weights is not None or not item.card.weights:
        return []
    names = ", ".join(file.name for file in item.card.weights)
    return [f"{item.name} starts from random weights: it is published with {names}; give a file with --weights"]


def _check_method(resolved: Resolved, split: Split) -> None:
    """Raises UnsupportedError where the method can't do the task, or a pool that it draws from is empty."""
    name = resolved.items["method"].name
    reason = resolved.method.unsupported(_task(resolved, split), resolved.method_options)
    if reason:
        raise UnsupportedError(f"method {name!r}: {reason}")
    wanted = {stream.pool for stream in resolved.method.streams.values()}
    if "unlabeled" in wanted and not split.unlabeled and resolved.synthesis is None:
        raise UnsupportedError(
            f"method {name!r} needs unlabeled cases, and this split has none; label fewer cases, or take --method supervised"
        )


def _task(resolved: Resolved, split: Split) -> Task:
    """The task as far as it is known before the cases are decoded (a 2D network on volumes counts volumes here)."""
    from semibench.contracts.method import Task
    from semibench.data.training import training_domains

    training = split.labeled + split.unlabeled
    names = training_domains(training, resolved.card)
    counts = {"labeled": len(split.labeled), "unlabeled": len(split.unlabeled), "all": len(training)}
    recipe = resolved.recipe
    channels = resolved.card.channels * recipe.slab
    return Task(resolved.dims, channels, resolved.card.classes, recipe.patch, names, counts, recipe.iterations)


def _estimate(plan: Plan, plugins: Registry) -> Estimate:
    from semibench.data.roots import cache_dir
    from semibench.run.timing import Timings, TooLargeError, measure_iteration, setting

    timings = Timings(cache_dir())
    name = setting(plan.resolved, plan.record.machine)
    seconds, source = timings.get(name), "earlier runs on this machine"
    recipe = plan.resolved.recipe
    voxels = (recipe.labeled_batch + recipe.unlabeled_batch) * math.prod(recipe.patch)
    if seconds is None and plan.device.type == "cpu" and voxels > WORTH_TRYING:
        return Estimate(source=f"an iteration of {voxels / 1e6:.1f} million voxels is too large to try on a CPU")
    if seconds is None:
        task = _task(plan.resolved, plan.split)
        try:
            seconds = measure_iteration(build_method(plan.resolved, task, plugins), task, recipe, plan.device)
        except TooLargeError as reason:
            return Estimate(source=str(reason))
        timings.put(name, seconds)
        source = "two iterations on noise"
    generator = None
    if plan.resolved.synthesis is not None:
        generator = timings.get(generator_setting(plan.resolved, plan.record.machine))
    return Estimate(
        source=source, seconds_per_iteration=seconds, training_seconds=seconds * plan.resolved.recipe.iterations,
        generator_seconds=generator,
    )  # fmt: skip


def execute(plan: Plan, reporter: Reporter | None = None) -> Result:
    """Does the work, or returns what is done already. The run folder holds everything, also of a failed run; MLflow
    mirrors it. Raises what the work raises, after the folder says so."""
    from filelock import FileLock, Timeout

    reporter = reporter or Reporter()
    request = plan.resolved.request
    if plan.state == "done" and not request.force:
        reporter.note(f"run {plan.key[:SHORT]} is done already ({plan.folder}); --force runs it again")
        _mirror(plan, reporter)
        return Result(plan.folder, read_object(plan.folder, records.Result), new=False)
    plan.folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(plan.folder / LOCK, timeout=0), logged(plan.folder / "log.txt"):
            return _guarded(plan, reporter)
    except Timeout as error:
        raise BusyError(f"another process is working on run {plan.key[:SHORT]} ({plan.folder}); wait for it") from error


def _guarded(plan: Plan, reporter: Reporter) -> Result:
    status = StatusFile(plan.folder)
    write_spec(plan.folder, plan.spec)
    plan.record.to_disk(plan.folder)
    plan.summary().to_disk(plan.folder)
    status.write("running")
    _mirror(plan, reporter)
    try:
        record = _work(plan, reporter)
    except KeyboardInterrupt:
        status.write("interrupted", "stopped by a signal; run the same command again to go on")
        _mirror(plan, reporter)
        raise
    except Exception as error:
        log.error("%s", traceback.format_exc())
        status.write("failed", f"{type(error).__name__}: {error}")
        _mirror(plan, reporter, ended=True)
        raise
    status.write("done")
    _mirror(plan, reporter, ended=True)
    return Result(plan.folder, record)


def _work(plan: Plan, reporter: Reporter) -> records.Result:
    from semibench.data.roots import cache_dir
    from semibench.evaluation.run_scores import conventions_for, score_run
    from semibench.run.illustration import illustrate
    from semibench.run.timing import Timings, setting
    from semibench.training.checkpoints import load_method
    from semibench.training.cost import measure
    from semibench.training.loop import train

    resolved, request = plan.resolved, plan.resolved.request
    card, recipe, plugins = resolved.card, resolved.recipe, registry()
    machine = plan.record.machine
    made = assemble(resolved, plan.split, plan.folder, device=plan.device, machine=machine, reporter=reporter)
    method, split, network = made.method, made.split, made.network
    trained = train(
        method, made.data, recipe, seed=resolved.spec.replicate.seed, device=plan.device, folder=plan.folder,
        validate=made.validate if recipe.keep_best else None, reporter=reporter,
        resume=request.resume and plan.state in ("resumable", "running"), key=plan.key,
    )  # fmt: skip
    Timings(cache_dir()).put(setting(resolved, machine), 1.0 / max(trained.throughput, 1e-9))

    conventions, skipped = conventions_for(
        plugins, request.conventions, dims=resolved.dims, case_dims=card.dims, dataset=card.name
    )
    for reason in skipped:
        log.info("convention %s", reason)
    checkpoints = plan.folder / "checkpoints"

    def load(name: str) -> bool:
        path = checkpoints / f"{name}.pt"
        if path.is_file():
            load_method(path, method, plan.key)
        return path.is_file()

    table, scores, seconds = score_run(
        method, load, made.store, made.datasets, split.test, classes=card.classes, network=network, conventions=conventions,
        reporter=reporter, predictions=plan.folder / "predictions" if request.keep_predictions else None,
    )  # fmt: skip
    write_table(plan.folder / SCORES_FILE, table)
    pictures: list[Path] = []
    if request.pictures:
        pictures = illustrate(
            plan.folder, method, load, made.store, split, card, network, table, made.synthesised, resolved.phantom
        )
    record = records.Result.make(
        key=plan.key, row=plan.spec.row, track=plan.spec.track.digest(), split=SplitRecord.of(plan.split).digest, scores=scores,
        training=trained.record(), model=measure(method, made.data.task).record(),
        inference={"seconds_per_case": seconds}, label_budget=len(split.labeled) + len(split.validation),
        synthetic=None if made.synthesised is None else made.synthesised.record, tuning=resolved.tuning,
        pictures=[str(path.relative_to(plan.folder)) for path in pictures], phantom=resolved.phantom,
    )  # fmt: skip
    record.to_disk(plan.folder)
    return record


def _mirror(plan: Plan, reporter: Reporter, *, ended: bool = False) -> None:
    """The mirror may fail (a store that can't be reached); the run folder holds everything, so it is a warning. ended: the
    listeners are told."""
    if not plan.resolved.request.track:
        return
    from semibench.tracking import mirror

    try:
        mirror(plan.folder, plan.resolved.request.tracking_uri, reporter)
    except Exception as error:
        if not isinstance(error, SemibenchError):  # those say what is wrong themselves
            log.error("%s", traceback.format_exc())
        reporter.warn(
            f"MLflow could not be written ({type(error).__name__}: {error}); the run folder {plan.folder} is complete"
        )
        return
    if ended:
        from semibench.tracking.listening import announce

        announce([plan.folder], plan.resolved.request.tracking_uri, reporter)
