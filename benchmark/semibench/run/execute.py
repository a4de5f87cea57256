"""Executes a plan: trains, scores, draws pictures, and leaves a finished run folder.

result = execute(prepare(Request(protocol="synthetic", dataset="tus")))
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from semibench.contracts.errors import BusyError
from semibench.contracts.identity import SHORT
from semibench.discovery.registry import Registry, registry
from semibench.process import importing
from semibench.reporting import Reporter
from semibench.run.assembly import assemble
from semibench.run.memory_format import recipe_to_train
from semibench.run.plan import Plan
from semibench.run.selection import why_no_best
from semibench.runfolder import records
from semibench.runfolder.format import LOG_FILE, PREDICTIONS, write_spec
from semibench.runfolder.reading import planned_state, read_object
from semibench.runfolder.records import SplitRecord
from semibench.runfolder.state import LOCK, State
from semibench.runfolder.tables import SCORES_FILE
from semibench.runfolder.writing import StatusFile, logged, write_table
from semibench.tracking.beside import MirrorBeside, mirroring

log = logging.getLogger("semibench")


@dataclass
class Result:
    """A finished run. record: the content of result.json. new: whether it was computed by this call."""

    folder: Path
    record: records.Result
    new: bool = True


def execute(plan: Plan, reporter: Reporter | None = None, mirror: MirrorBeside | None = None) -> Result:
    """Executes a run, or returns the result of a finished one.

    The run folder holds everything, also of a failed run; MLflow mirrors it beside the run. Errors of the run are propagated after
    status.json records them.

    Args:
        plan: the run.
        reporter: receives progress and warnings.
        mirror: mirrors this run among others, and is finished by the caller; by default one for this run, which is waited for.

    Raises:
        BusyError: if another process is working on the run.
    """
    from filelock import FileLock, Timeout

    reporter = reporter or Reporter()
    request = plan.resolved.request
    if request.track and mirror is None:
        with mirroring(request.tracking_uri, reporter) as own:
            return execute(plan, reporter, own)
    mirror = mirror if request.track else None
    if plan.state == "done" and not request.force:
        return _finished(plan, reporter, mirror)
    plan.folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(plan.folder / LOCK, timeout=0), logged(plan.folder / LOG_FILE):
            if not request.force and _state(plan) == "done":  # by another process, since the plan was made
                return _finished(plan, reporter, mirror)
            return _guarded(plan, reporter, mirror)
    except Timeout as error:
        raise BusyError(f"another process is working on run {plan.key[:SHORT]} ({plan.folder}); wait for it") from error


def _state(plan: Plan) -> State:
    """Returns the state of the run folder as it is now."""
    return planned_state(plan.folder, plan.spec, plan.record, SplitRecord.of(plan.split))[0]


def _finished(plan: Plan, reporter: Reporter, mirror: MirrorBeside | None) -> Result:
    """Returns the result of a run that is done already."""
    reporter.note(f"run {plan.key[:SHORT]} is already done ({plan.folder}); --force runs it again")
    _mirror(plan, mirror)
    record = read_object(plan.folder, records.Result)
    if missing := unscored(plan.resolved.request.conventions, record, registry()):
        reporter.warn(how_to_score(plan, missing))
    return Result(plan.folder, record, new=False)


def unscored(conventions: Sequence[str], record: records.Result, plugins: Registry) -> list[str]:
    """Returns the conventions that a finished run has no scores under. conventions: names as the user gave them."""
    labels = [plugins.label(plugins.get("conventions", name)) for name in conventions]
    scored = {score.convention for score in record.scores}
    return [label for label in labels if label not in scored]


def how_to_score(plan: Plan, conventions: Sequence[str]) -> str:
    """Returns a sentence on how a finished run gets the scores that it lacks."""
    names = ", ".join(conventions)
    if not any((plan.folder / PREDICTIONS).glob("*/*/*.npz")):
        return f"run {plan.key[:SHORT]} was not scored under {names}, and its predictions were not kept: --force runs it again"
    words = " ".join(f"-c {name}" for name in conventions)
    runs = plan.resolved.request.runs
    where = "" if runs == Path("runs") else f" --runs {runs}"
    return (
        f"run {plan.key[:SHORT]} was not scored under {names}; this does it from its kept predictions: "
        f"bench rescore {plan.key[:SHORT]} {words}{where}"
    )


def _guarded(plan: Plan, reporter: Reporter, mirror: MirrorBeside | None) -> Result:
    status = StatusFile(plan.folder)
    write_spec(plan.folder, plan.spec)
    plan.record.to_disk(plan.folder)
    plan.summary().to_disk(plan.folder)
    status.write("running")
    _mirror(plan, mirror)
    try:
        record = _work(plan, reporter)
    except KeyboardInterrupt:
        status.write("interrupted", "stopped by a signal; run the same command again to resume")
        _mirror(plan, mirror)
        raise
    except Exception as error:
        log.error("%s", traceback.format_exc())
        status.write("failed", f"{type(error).__name__}: {error}")
        _mirror(plan, mirror, ended=True)
        raise
    status.write("done")
    _mirror(plan, mirror, ended=True)
    return Result(plan.folder, record)


def _work(plan: Plan, reporter: Reporter) -> records.Result:
    with importing():
        from semibench.data.roots import cache_dir
        from semibench.evaluation.run_scores import conventions_for, score_run
        from semibench.run.timing import Timings, timing_key
        from semibench.training.checkpoints import load_method
        from semibench.training.cost import measure
        from semibench.training.loop import train

    resolved, request = plan.resolved, plan.resolved.request
    card, dims = resolved.names.card, resolved.names.dims
    machine = plan.record.machine
    parts = assemble(resolved, plan.split, plan.folder, device=plan.device, machine=machine, reporter=reporter)
    method, split, network = parts.method, parts.split, parts.network
    recipe = recipe_to_train(plan, parts.data, reporter)
    no_best = why_no_best(recipe, split)
    trained = train(
        method, parts.data, recipe, seed=resolved.spec.replicate.seed, device=plan.device, folder=plan.folder,
        validate=None if no_best else parts.validate, reporter=reporter,
        resume=plan.resumes, key=plan.key,
    )  # fmt: skip
    if trained.iterations and recipe is resolved.options.recipe:
        Timings(cache_dir()).put(timing_key(resolved, machine), 1.0 / max(trained.throughput, 1e-9))

    conventions, skipped = conventions_for(
        registry(), request.conventions, dims=dims, case_dims=card.dims, dataset=card.name
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
        method, load, parts.store, parts.datasets, split.test, classes=card.classes, network=network, conventions=conventions,
        reporter=reporter, predictions=plan.folder / PREDICTIONS if request.keep_predictions else None,
    )  # fmt: skip
    write_table(plan.folder / SCORES_FILE, table)
    pictures: list[Path] = []
    if request.pictures:
        with importing():  # matplotlib
            from semibench.run.illustration import illustrate
        pictures = illustrate(
            plan.folder,
            method,
            load,
            parts.store,
            split,
            card,
            network,
            table,
            parts.synthesised,
            resolved.data.phantom,
        )
    record = records.Result.make(
        key=plan.key, row=plan.spec.row, track=plan.spec.track.digest(), split=SplitRecord.of(plan.split).digest, scores=scores,
        training=trained.record(), no_best=no_best, model=measure(method, parts.data.task).record(),
        inference={"seconds_per_case": seconds}, label_budget=len(split.labeled) + len(split.validation),
        synthetic=None if parts.synthesised is None else parts.synthesised.record, tuning=resolved.tuning,
        pictures=[str(path.relative_to(plan.folder)) for path in pictures], phantom=resolved.data.phantom,
    )  # fmt: skip
    record.to_disk(plan.folder)
    return record


def _mirror(plan: Plan, mirror: MirrorBeside | None, *, ended: bool = False) -> None:
    """Lets the run folder be mirrored in its present state. ended: also notify the listeners."""
    if mirror is not None:
        mirror.put(plan.folder, ended=ended)
