"""`bench tune`: search the loss weights and tunable options of a method, on validation cases only."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from semibench.cli import run_options
from semibench.cli.console import Output, duration, emit, stderr, stdout, table
from semibench.cli.options import DataRoot, Debug, Json, PhantomChoice, Settings, phantom_word
from semibench.contracts.errors import UsageError

if TYPE_CHECKING:
    from semibench.run.tuned import Tuned
    from semibench.tuning.study import Study, StudySpec

SEARCH, RUNNING = "What is searched, and how", "How long, and by how many"

EPILOG = (
    "Examples:\n\n"
    "bench tune --protocol self --dataset tus --method mean-teacher --trials 30\n\n"
    "bench tune -p self -d tus -m mgcc --only consistency --range consistency=0.01:1 --study mgcc-weight\n\n"
    "bench tune --join mgcc-weight --trials 60      (from another terminal or machine, or after a kill)\n\n"
    "bench run -p self -d tus -m mgcc --tuned mgcc-weight --seeds 0-2"
)


def _option(panel: str, text: str, *names: str, default: bool = False, **more: Any) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=panel, show_default=default, **more)


SamplerName = Literal["tpe", "cmaes", "gp", "random", "grid"]
PrunerName = Literal["median", "hyperband", "none"]
Trials = Annotated[
    int, _option(RUNNING, "Trials of the whole study, pruned ones included.", "--trials", "-n", default=True, min=1)
]
Timeout = Annotated[float | None, _option(RUNNING, "Seconds after which no new trial begins.", "--timeout", min=0.0)]
Jobs = Annotated[int, _option(RUNNING, "Processes on this machine.", "--jobs", "-j", default=True, min=1)]
Name = Annotated[str | None, _option(RUNNING, "Name of the study (default: protocol-dataset-method).", "--study")]
Join = Annotated[
    str | None, _option(RUNNING, "Continue or join a study by name; nothing else about it need be said.", "--join")
]
Studies = Annotated[Path, _option(RUNNING, "Folder of the studies.", "--studies", default=True)]
Storage = Annotated[
    str | None,
    _option(RUNNING, "Data base URL for the trials (default: a journal file in the study's folder).", "--storage"),
]
Sampler = Annotated[SamplerName, _option(SEARCH, "How values are proposed.", "--sampler", default=True)]
Pruner = Annotated[PrunerName, _option(SEARCH, "How hopeless trials are given up.", "--pruner", default=True)]
Only = Annotated[
    list[str] | None, _option(SEARCH, "Search this term or option only; repeatable.", "--only", metavar="NAME")
]
Ranges = Annotated[list[str] | None, _option(SEARCH, "Range of a term; repeatable.", "--range", metavar="TERM=LO:HI")]


def add(app: typer.Typer) -> None:
    """Registers the command."""

    @app.command("tune", epilog=EPILOG)
    def tune_command(
        protocol: Annotated[str | None, typer.Option("--protocol", "-p", help="How the split is drawn.")] = None,
        dataset: Annotated[str | None, typer.Option("--dataset", "-d", help="`bench list datasets`.")] = None,
        method: run_options.Method = None,
        backbone: run_options.Backbone = None,
        recipe: run_options.RecipeName = "quick",
        preset: run_options.Preset = None,
        dims: run_options.Dims = None,
        weights: run_options.Weights = None,
        sampler: Sampler = "tpe",
        pruner: Pruner = "median",
        only: Only = None,
        ranges: Ranges = None,
        trials: Trials = 30,
        timeout: Timeout = None,
        jobs: Jobs = 1,
        study_name: Name = None,
        join: Join = None,
        studies: Studies = Path("studies"),
        storage: Storage = None,
        draw: run_options.Draw = 0,
        fold: run_options.Fold = None,
        seed: run_options.Seed = 0,
        settings: Settings = None,
        data_root: DataRoot = None,
        phantom: PhantomChoice = None,
        device: run_options.Device = "auto",
        threads: run_options.Threads = None,
        tracking_uri: run_options.TrackingUri = None,
        track: run_options.Track = True,
        as_json: Json = False,
        debug: Debug = False,
    ) -> None:
        """Search the loss weights of a method (and the options it calls tunable) with Optuna.

        The objective is the best validation Dice; no test case is ever looked at. The study lives in studies/NAME: the same
        command, or --join, goes on after an interruption. The best configuration is used with bench run --tuned NAME.
        """
        from semibench.cli.run_command import environment

        environment()
        from semibench.tuning.study import Study

        if join is not None:
            if protocol or dataset or method or study_name:
                raise UsageError("--join says which study; leave out --protocol, --dataset, --method and --study")
            study = Study.join(join, studies)
        else:
            if protocol is None or dataset is None:
                raise UsageError("expected --protocol and --dataset, or --join STUDY")
            request = {
                "protocol": protocol, "dataset": dataset, "method": method, "backbone": backbone, "recipe": recipe,
                "preset": preset, "dims": dims, "draw": draw, "fold": fold, "seed": seed, "settings": tuple(settings or ()),
                "phantom": phantom_word(phantom), "data_root": None if data_root is None else str(data_root),
                "weights": None if weights is None else str(weights),
            }  # fmt: skip
            spec = make_spec(
                request, name=study_name, sampler=sampler, pruner=pruner, only=tuple(only or ()), ranges=tuple(ranges or ()),
                storage=storage,
            )  # fmt: skip
            study = Study.open(spec, studies)
        screen = stderr()
        show_search(screen, study)
        finished = search(
            study, trials, jobs=jobs, timeout=timeout, device=device, threads=threads, tracking_uri=tracking_uri, track=track,
            screen=screen,
        )  # fmt: skip
        tuned = study.freeze()
        if as_json:
            emit({"study": study.spec.name, "folder": str(study.folder), "finished": finished,
                  "tuned": None if tuned is None else tuned.record() | {"importance": tuned.importance}})  # fmt: skip
        else:
            show_end(stdout(), study, tuned, finished)
        if not finished or tuned is None:
            raise typer.Exit(1)


def make_spec(
    request: dict[str, Any], *, name: str | None, sampler: SamplerName, pruner: PrunerName, only: tuple[str, ...],
    ranges: tuple[str, ...], storage: str | None,
) -> StudySpec:  # fmt: skip
    """Everything about a study settled and checked, before a trial runs."""
    from semibench.run.resolve import Request, resolve
    from semibench.run.settings import parse
    from semibench.tuning.space import build_space, parse_ranges
    from semibench.tuning.study import StudySpec
    from semibench.tuning.trial import split_of

    fields = dict(request)
    for path in ("data_root", "weights"):
        fields[path] = Path(fields[path]) if fields[path] else None
    made = Request(**fields, track=False)
    resolved = resolve(made)
    split = split_of(made)
    weights = {name: term.weight for name, term in resolved.terms.items()}
    space = build_space(
        resolved.method.terms, weights, resolved.method_options, only=only, ranges=parse_ranges(ranges),
        fixed=parse(made.settings),
    )  # fmt: skip
    method, backbone = resolved.items["method"].name, resolved.items["backbone"].name
    return StudySpec(
        name=name or f"{request['protocol']}-{request['dataset']}-{method}",
        request=request | {"method": method, "backbone": backbone},
        space=tuple(space),
        sampler=sampler,
        pruner=pruner,
        seed=request["seed"],
        labels=len(split.validation),
        labels_from=split.validation_from,
        phantom=resolved.phantom,
        method=method,
        backbone=backbone,
        iterations=resolved.recipe.iterations,
        storage=storage,
    )


def search(
    study: Study, trials: int, *, jobs: int, timeout: float | None, device: str, threads: int | None,
    tracking_uri: str | None, track: bool, screen: Output,
) -> bool:  # fmt: skip
    """Runs trials here and in jobs - 1 more processes; returns whether the study has as many as wanted."""
    from semibench.cli.progress import reporter_for
    from semibench.tuning.mlflow_runs import StudyMirror
    from semibench.tuning.plots import draw
    from semibench.tuning.study import work

    reporter = reporter_for(screen)
    mirror = StudyMirror(study, tracking_uri, reporter) if track else None
    helpers = [
        _helper(study, trials, number, timeout, device, threads, tracking_uri, track) for number in range(1, jobs)
    ]

    def tell(trial: Any, standing: Any) -> None:
        value = "–" if trial.value is None else f"{trial.value:.4f}"
        best = "–" if standing.best is None else f"{standing.best:.4f}"
        tried = ", ".join(
            f"{name} {value_:.4g}" if isinstance(value_, float) else f"{name} {value_}"
            for name, value_ in trial.params.items()
        )
        error = trial.user_attrs.get("error")
        seconds = duration(float(trial.user_attrs.get("seconds", 0.0)))
        words = f"trial {trial.number} {trial.state.name.lower()} {value} in {seconds} ({tried})"
        words += f"; {standing.finished}/{trials}, best {best}"
        screen.show(words + (f" - {error}" if error else ""), style="red" if error else None)

    ended = [tell, *([mirror.trial] if mirror else []), lambda *_: _freeze(study)]
    interrupted = False
    try:
        work(study, trials, timeout=timeout, device=device, threads=threads, reporter=reporter, ended=ended)
        for process in helpers:
            process.wait()
    except KeyboardInterrupt:
        interrupted = True
        screen.show(f"interrupted; go on with: bench tune --join {study.spec.name} --trials {trials}", style="yellow")
    finally:
        for process in helpers:
            if process.poll() is None:
                process.terminate()
                process.wait()
        reporter.close()
    finished = study.standing().finished >= trials or (
        study.spec.sampler == "grid" and not interrupted and timeout is None
    )
    study.freeze()
    draw(study)
    if mirror is not None:
        mirror.finish(finished)
    return finished and not interrupted


def _freeze(study: Study) -> None:
    study.freeze()


def _helper(
    study: Study, trials: int, number: int, timeout: float | None, device: str, threads: int | None, tracking_uri: str | None,
    track: bool,
) -> subprocess.Popen[bytes]:  # fmt: skip
    """Another process that joins the study; its output goes to a log in the study's folder."""
    words = [
        sys.executable,
        "-m",
        "semibench.cli",
        "tune",
        "--join",
        study.spec.name,
        "--studies",
        str(study.folder.parent),
    ]
    words += ["--trials", str(trials), "--device", device, "--track" if track else "--no-track"]
    words += ["--timeout", str(timeout)] if timeout is not None else []
    words += ["--threads", str(threads)] if threads is not None else []
    words += ["--tracking-uri", tracking_uri] if tracking_uri is not None else []
    with (study.folder / f"process_{number}.log").open("ab") as log:
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def show_search(screen: Output, study: Study) -> None:
    """What is searched, on how many labels, and how far the study is."""
    spec, standing = study.spec, study.standing()
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
        f"{spec.method} on {data}{spec.request['dataset']}, protocol {spec.request['protocol']}, recipe {spec.request['recipe']}, "
        f"{spec.iterations} iterations a trial; objective: best Dice on {spec.labels} validation cases "
        f"(from: {spec.labels_from}); sampler {spec.sampler}, pruner {spec.pruner}"
    )
    if spec.labels_from == "labeled":
        screen.show("validation cases were taken from the labeled ones: their labels are part of the label budget")
    if standing.finished:
        screen.show(f"continued: {standing.finished} trials have ended, {standing.pruned} of them pruned")


def show_end(out: Output, study: Study, tuned: Tuned | None, finished: bool) -> None:
    """The best configuration, what matters in it, what it cost, and how to use it."""
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
    base = f"-p {request['protocol']} -d {request['dataset']} -m {tuned.method}"
    use = tuned.study if study.folder.parent == Path("studies") else str(study.folder)
    out.show(f"use it with: bench run {base} --tuned {use}" + ("" if finished else "   (the study isn't finished)"))
