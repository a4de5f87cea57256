"""`bench tune`: searches the loss weights and tunable options of a method, on validation cases only."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semibench.cli.console import Output, duration, emit, stderr, stdout, table
from semibench.cli.generated import Fields, with_options
from semibench.cli.options import Debug, Json
from semibench.cli.tune_options import Effort, Naming, Search
from semibench.contracts.errors import UsageError
from semibench.contracts.identity import LOCAL, NAMED_IN_FULL
from semibench.process import environment
from semibench.run.request import Cell, Execution

if TYPE_CHECKING:
    from semibench.discovery.registry import Registered
    from semibench.run.tuned import Tuned
    from semibench.tuning.spec import StudySpec
    from semibench.tuning.study import Study

EPILOG = (
    "Examples:\n\n"
    "bench tune --protocol self --dataset tus --method mean-teacher --trials 30\n\n"
    "bench tune -p self -d tus -m mgcc --only consistency --range consistency=0.01:1 --study mgcc-weight\n\n"
    "bench tune --join mgcc-weight --trials 60      (from another terminal or machine, or after a kill)\n\n"
    "bench run -p self -d tus -m mgcc --tuned mgcc-weight --seeds 0-2"
)


PER_STUDY = ("device", "threads", "tracking_uri", "track")
"""Fields of `Execution` that apply to every trial."""


def add(app: typer.Typer) -> None:
    """Registers the command."""

    @app.command("tune", epilog=EPILOG)
    @with_options
    def tune_command(
        asked: Annotated[dict[str, Any], Fields(Cell, leave_out=("tuned", "conventions"))],
        search_: Search,
        effort: Effort,
        naming: Naming,
        execution: Annotated[Execution, Fields(Execution, only=PER_STUDY)],
        as_json: Json = False,
        debug: Debug = False,
    ) -> None:
        """Search the loss weights of a method (and the options it calls tunable) with Optuna.

        The objective is the best validation Dice; test cases are never used. The study is stored in studies/NAME: the same
        command, or --join, continues it after an interruption. To use the best configuration: bench run --tuned NAME.
        """
        environment()
        study = _study(asked, search_, naming)
        screen = stderr()
        show_search(screen, study)
        _check_given_up(study, effort.give_up)
        finished = search(study, effort, execution, screen)
        tuned = study.freeze()
        if as_json:
            emit({"study": study.spec.name, "folder": str(study.folder), "finished": finished,
                  "tuned": None if tuned is None else tuned.record() | {"importance": tuned.importance}})  # fmt: skip
        else:
            show_end(stdout(), study, tuned, finished)
        if not finished or study.progress().completed == 0:
            raise typer.Exit(1)


def _study(asked: dict[str, Any], search_: Search, naming: Naming) -> Study:
    """Returns the study that the options name: a new one, or an existing one to continue or join."""
    from semibench.tuning.study import Study

    if naming.join is not None:
        if naming.study or {"protocol", "dataset", "method"} & set(asked):
            raise UsageError("--join names the study; leave out --protocol, --dataset, --method and --study")
        return Study.join(naming.join, naming.studies)
    if not {"protocol", "dataset"} <= set(asked):
        raise UsageError("expected --protocol and --dataset, or --join STUDY")
    spec = make_spec(Cell(**asked), search_, name=naming.study, storage=naming.storage)
    return Study.open(spec, naming.studies)


def _check_given_up(study: Study, machine: str | None) -> None:
    """Raises UsageError if no running trial is held by this machine, or if its process is known to work."""
    if machine is None:
        return
    held = study.held()
    if not any(one.machine == machine and one.gone is not False for one in held):
        found = "; ".join(map(str, held)) or "no trial is running"
        raise UsageError(f"--give-up {machine}: expected a machine that left a trial running; found: {found}")


def make_spec(cell: Cell, search_: Search, *, name: str | None, storage: str | None) -> StudySpec:
    """Returns the validated specification of a study."""
    from semibench.run.resolve import resolve
    from semibench.run.settings import parse
    from semibench.tuning.space import build_space, parse_ranges
    from semibench.tuning.spec import StudySpec
    from semibench.tuning.trial import split_of

    request = cell.request(track=False)
    resolved = resolve(request)
    split = split_of(request)
    names, options = resolved.names, resolved.options
    weights = {name: term.weight for name, term in options.weighted_terms().items()}
    space = build_space(
        options.method.terms, weights, options.method_options, only=search_.only, ranges=parse_ranges(search_.ranges),
        fixed=parse(cell.settings),
    )  # fmt: skip
    known = {"method": _named(names.method), "backbone": _named(names.backbone)}
    if names.dataset.distribution == LOCAL:  # one study, whether its folder is named by a path or by its name
        known["dataset"] = names.dataset.full_name
    return StudySpec(
        name=name or f"{cell.protocol}-{names.dataset.name}-{names.method.name}",
        request=cell.model_copy(update=known),
        space=tuple(space),
        sampler=search_.sampler,
        pruner=search_.pruner,
        seed=cell.seed,
        labels=len(split.validation),
        labels_from=split.validation_from,
        phantom=resolved.data.phantom,
        method=names.method.name,
        backbone=names.backbone.name,
        iterations=options.recipe.iterations,
        storage=storage,
    )


def _named(item: Registered) -> str:
    """Returns the name by which the other processes of a study, and later ones, find a plug-in."""
    return item.name if item.distribution not in NAMED_IN_FULL else item.reference


def search(study: Study, effort: Effort, execution: Execution, screen: Output) -> bool:
    """Runs trials here and in `jobs - 1` other processes; returns whether the study has the requested number."""
    from semibench.cli.progress import reporter_for
    from semibench.tuning.mlflow_runs import StudyMirror
    from semibench.tuning.plots import draw
    from semibench.tuning.study import work

    reporter = reporter_for(screen)
    mirror = StudyMirror(study, execution.tracking_uri, reporter) if execution.track else None
    helpers = [_helper(study, effort, execution, number) for number in range(1, effort.jobs)]
    on_end = [_trial_printer(screen, effort.trials), *([mirror.trial] if mirror else []), lambda *_: _freeze(study)]
    interrupted = False
    try:
        work(
            study, effort.trials, timeout=effort.timeout, device=execution.device, threads=execution.threads,
            reporter=reporter, ended=on_end, give_up=effort.give_up,
        )  # fmt: skip
        for process in helpers:
            process.wait()
    except KeyboardInterrupt:
        interrupted = True
        hint = f"bench tune --join {study.spec.name} --trials {effort.trials}"
        screen.show(f"interrupted; continue with: {hint}", style="yellow")
    finally:
        for process in helpers:
            if process.poll() is None:
                process.terminate()
                process.wait()
        reporter.close()
    searched = study.spec.sampler == "grid" and not interrupted and effort.timeout is None
    finished = searched or study.progress().finished >= effort.trials
    if not finished and not interrupted:
        _show_held(screen, study, effort.trials)
    study.freeze()
    draw(study)
    if mirror is not None:
        mirror.finish(finished)
    return finished and not interrupted


def _show_held(screen: Output, study: Study, trials: int) -> None:
    """Says which running trials of others the study waits for, and how it goes on if they have died."""
    for one in study.held():
        words = f"the study waits for it: {one}"
        if one.gone is None:
            words += f". If it has died, go on with: bench tune --join {study.spec.name} --trials {trials} --give-up {one.machine}"
        screen.show(words, style="yellow", soft_wrap=True)


def _trial_printer(screen: Output, trials: int) -> Callable[[Any, Any], None]:
    """Returns a function that prints one line for each trial that ends."""

    def show(trial: Any, progress: Any) -> None:
        value = "–" if trial.value is None else f"{trial.value:.4f}"
        best = "–" if progress.best is None else f"{progress.best:.4f}"
        tried = ", ".join(
            f"{name} {setting:.4g}" if isinstance(setting, float) else f"{name} {setting}"
            for name, setting in trial.params.items()
        )
        error = trial.user_attrs.get("error")
        seconds = duration(float(trial.user_attrs.get("seconds", 0.0)))
        words = f"trial {trial.number} {trial.state.name.lower()} {value} in {seconds} ({tried})"
        words += f"; {progress.finished}/{trials}, best {best}"
        screen.show(words + (f" - {error}" if error else ""), style="red" if error else None)

    return show


def _freeze(study: Study) -> None:
    study.freeze()


def _helper(study: Study, effort: Effort, execution: Execution, number: int) -> subprocess.Popen[bytes]:
    """Starts another process that joins the study; its output goes to a log in the study's folder."""
    words = [sys.executable, "-m", "semibench.cli", "tune", "--join", study.spec.name]
    words += ["--studies", str(study.folder.parent), "--trials", str(effort.trials)]
    words += ["--timeout", str(effort.timeout)] if effort.timeout is not None else []
    with (study.folder / f"process_{number}.log").open("ab") as log:
        return subprocess.Popen([*words, *execution.words()], stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def show_search(screen: Output, study: Study) -> None:
    """Prints the search space, the number of validation labels, and the progress of the study."""
    spec, progress = study.spec, study.progress()
    rows = [
        (one.name, one.setting, "one of " + ", ".join(map(str, one.choices)) if one.choices else f"{one.low:g} to {one.high:g}",
         "logarithmic" if one.log else "", one.default)
        for one in spec.space
    ]  # fmt: skip
    screen.show(
        table(("searched", "setting", "range", "scale", "default"), rows, f"study {spec.name} ({study.folder})")
    )
    data = "PHANTOM " if spec.phantom else ""
    screen.show(
        f"{spec.method} on {data}{spec.request.dataset}, protocol {spec.request.protocol}, recipe {spec.request.recipe}, "
        f"{spec.iterations} iterations per trial; objective: best Dice on {spec.labels} validation cases "
        f"(from: {spec.labels_from}); sampler {spec.sampler}, pruner {spec.pruner}"
    )
    if spec.labels_from == "labeled":
        screen.show(
            "the validation cases were taken from the labeled ones: their labels count towards the label budget"
        )
    if progress.finished:
        screen.show(f"continued: {progress.finished} trials have ended, {progress.pruned} of them pruned")


def show_end(out: Output, study: Study, tuned: Tuned | None, finished: bool) -> None:
    """Prints the best configuration, the importance of its settings, its cost, and how to use it."""
    progress = study.progress()
    if tuned is None and progress.equal:
        out.show(
            f"all {progress.completed} completed trials have the same validation Dice ({progress.value:.4f}): none is the best, "
            "and no configuration is written. The settings made no difference; search other ranges, or use more iterations",
            style="yellow", soft_wrap=True,
        )  # fmt: skip
        return
    if tuned is None:
        out.show("no trial was completed", style="red")
        return
    defaults = {one.setting: one.default for one in study.spec.space}
    names = {one.setting: one.name for one in study.spec.space}
    rows = [
        (
            setting,
            value,
            defaults[setting],
            f"{tuned.importance[names[setting]]:.2f}" if names[setting] in tuned.importance else None,
        )
        for setting, value in tuned.settings.items()
    ]
    out.show(table(("setting", "best", "default", "importance"), rows))
    out.show(
        f"configuration {tuned.id} of study {tuned.study}: validation Dice {tuned.validation:.4f} in trial {tuned.best_trial}; "
        f"{tuned.trials} trials ({tuned.pruned} pruned), {duration(tuned.seconds)} of training"
    )
    out.show(f"plots: {study.folder / 'plots'}")
    request = study.spec.request
    base = f"-p {request.protocol} -d {request.dataset} -m {tuned.method}"
    use = tuned.study if study.folder.parent == Path("studies") else str(study.folder)
    out.show(f"use it with: bench run {base} --tuned {use}" + ("" if finished else "   (the study isn't finished)"))
