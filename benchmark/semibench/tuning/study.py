"""A study: what is searched, by whom, and how far it is. It lives in a journal file (or a data base) and outlives its process.

Several processes on one machine or many may work on one study; each asks for a trial, trains, and tells.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel

from semibench.contracts.errors import IdentityError, SemibenchError, UsageError
from semibench.files import read_json, write_json
from semibench.reporting import Reporter
from semibench.run.request import Cell, Request
from semibench.run.settings import texts
from semibench.run.tuned import STUDIES, TUNED, Tuned
from semibench.runfolder.state import process_is_gone, this_process
from semibench.tuning.space import Dimension
from semibench.tuning.trial import Pruned, run_trial

if TYPE_CHECKING:
    import optuna

Sampler = Literal["tpe", "cmaes", "gp", "random", "grid"]
Pruner = Literal["median", "hyperband", "none"]
FAILURES = 5
"""Trials that may fail in a row before a process gives up."""

LOCK_SECONDS = 120.0


class StudySpec(BaseModel, frozen=True, extra="forbid"):
    """Everything that decides what a study is. request: the run that every trial is a variant of; space: what is searched; labels:
    validation cases each trial looks at, and where they come from. storage: a data base URL, or None for the journal in the
    folder."""

    name: str
    request: Cell
    space: tuple[Dimension, ...]
    sampler: Sampler = "tpe"
    pruner: Pruner = "median"
    seed: int = 0
    labels: int
    labels_from: str
    phantom: bool
    method: str
    backbone: str
    iterations: int
    storage: str | None = None

    def make_request(self, values: Mapping[str, Any], runs: Path, *, device: str, threads: int | None) -> Request:
        """The request of a trial: the base one with the trial's values."""
        settings = (*self.request.settings, *self.settings(values))
        cell = self.request.model_copy(update={"settings": settings})
        return cell.request(runs=runs, device=device, threads=threads, track=False)

    def settings(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        """Values by name as texts for --set."""
        return texts({one.setting: values[one.name] for one in self.space})


@dataclass
class Standing:
    """How far a study is. seconds: training time of all trials that ended."""

    completed: int
    pruned: int
    failed: int
    running: int
    best: float | None
    seconds: float

    @property
    def finished(self) -> int:
        return self.completed + self.pruned


class Study:
    """A study on disk. folder: with study.json, the journal, the trials' folders, plots and the frozen configuration."""

    def __init__(self, spec: StudySpec, folder: Path) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.spec, self.folder = spec, folder
        folder.mkdir(parents=True, exist_ok=True)
        self.optuna = optuna.create_study(
            study_name=spec.name, storage=self._storage(), direction="maximize", load_if_exists=True,
            sampler=self._sampler(0), pruner=_pruner(spec),
        )  # fmt: skip
        with self.lock():
            if spec.sampler == "grid" and not self.optuna.get_trials(deepcopy=False):
                for point in product(*(one.grid() for one in spec.space)):
                    self.optuna.enqueue_trial(dict(zip((one.name for one in spec.space), point, strict=True)))

    @classmethod
    def open(cls, spec: StudySpec, studies: Path = STUDIES) -> Study:
        """The study of this name: new, or continued where it is the same. Raises IdentityError where the name is taken by a
        study of something else, saying what differs."""
        folder = studies / spec.name
        stored = read_json(folder / "study.json")
        if stored:
            there, here = (one.model_dump(mode="json") for one in (StudySpec(**stored), spec))
            differences = [
                f"{name}: {there[name]!r} there, {here[name]!r} here" for name in here if there[name] != here[name]
            ]
            if differences:
                told = "\n  ".join(text[:400] for text in differences)
                raise IdentityError(f"study {spec.name!r} exists and is another one; choose --study NAME:\n  {told}")
        else:
            write_json(folder / "study.json", spec.model_dump(mode="json"))
        return cls(spec, folder)

    @classmethod
    def join(cls, name: str, studies: Path = STUDIES) -> Study:
        """A study that exists, by name. Raises UsageError where it doesn't."""
        stored = read_json(studies / name / "study.json")
        if not stored:
            known = ", ".join(sorted(path.parent.name for path in studies.glob("*/study.json"))) or "none"
            raise UsageError(f"there is no study {name!r} in {studies}; known: {known}")
        return cls(StudySpec(**stored), studies / name)

    def _storage(self) -> Any:
        from optuna.storages import JournalStorage, RDBStorage
        from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

        if self.spec.storage is not None:
            return RDBStorage(self.spec.storage)
        journal = str(self.folder / "journal.log")
        return JournalStorage(JournalFileBackend(journal, lock_obj=JournalFileOpenLock(journal)))

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """A fresh sampler per trial, seeded by the trial's number: a continued study goes on instead of beginning again with the
        same random numbers, and a study run by one process gives the same trials each time."""
        from optuna import samplers

        spec, seed = self.spec, self.spec.seed * 100003 + number
        match spec.sampler:
            case "tpe":
                return samplers.TPESampler(
                    seed=seed, n_startup_trials=min(10, 2 * len(spec.space) + 2), constant_liar=True
                )
            case "cmaes":
                return samplers.CmaEsSampler(seed=seed)
            case "gp":
                return samplers.GPSampler(seed=seed)
            case "random" | "grid":  # the points of a grid were queued when the study was made
                return samplers.RandomSampler(seed=seed)

    def lock(self) -> AbstractContextManager[Any]:
        """Held while a trial is counted and asked for; a data base elsewhere is asked without."""
        from filelock import FileLock

        return (
            FileLock(self.folder / "study.lock", timeout=LOCK_SECONDS) if self.spec.storage is None else nullcontext()
        )

    def standing(self) -> Standing:
        """Counts, the best value and the time spent so far."""
        from optuna.trial import TrialState

        trials = self.optuna.get_trials(deepcopy=False)
        count = {state: sum(trial.state == state for trial in trials) for state in TrialState}
        values = [trial.value for trial in trials if trial.state == TrialState.COMPLETE and trial.value is not None]
        seconds = sum(float(trial.user_attrs.get("seconds", 0.0)) for trial in trials)
        return Standing(
            count[TrialState.COMPLETE], count[TrialState.PRUNED], count[TrialState.FAIL], count[TrialState.RUNNING],
            max(values, default=None), seconds,
        )  # fmt: skip

    def bury_the_dead(self, reporter: Reporter) -> int:
        """Trials that a killed process of this machine left running are told as failed, and their values queued again."""
        from optuna.trial import TrialState

        buried = 0
        for trial in self.optuna.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            attributes = trial.user_attrs
            process, host = attributes.get("process"), attributes.get("host")
            if process is not None and process_is_gone(int(process), attributes.get("process_started"), host):
                self.optuna.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
                self.optuna.enqueue_trial(trial.params)
                reporter.note(f"trial {trial.number} was killed while it ran; its values are tried again")
                buried += 1
        return buried

    def ask(self, target: int) -> optuna.Trial | None:
        """The next trial, or None where enough have ended or are under way."""
        from optuna.trial import TrialState

        with self.lock():
            standing = self.standing()
            if standing.finished + standing.running >= target:
                return None
            self.optuna.sampler = self._sampler(len(self.optuna.get_trials(deepcopy=False)))
            waiting = self.optuna.get_trials(deepcopy=False, states=(TrialState.WAITING,))
            if self.spec.sampler == "grid" and not waiting:
                return None
            trial = self.optuna.ask()
            for name, value in zip(("process", "process_started", "host"), this_process(), strict=True):
                trial.set_user_attr(name, value)
            return trial

    def freeze(self) -> Tuned | None:
        """Writes the best configuration so far, with its cost; None before any trial was completed."""
        standing = self.standing()
        if standing.completed == 0:
            return None
        best, spec = self.optuna.best_trial, self.spec
        tuned = Tuned(
            study=spec.name,
            protocol=spec.request.protocol.split(":")[-1],
            dataset=spec.request.dataset.split(":")[-1],
            phantom=spec.phantom,
            method=spec.method,
            backbone=spec.backbone,
            recipe=spec.request.recipe,
            settings={one.setting: best.params[one.name] for one in spec.space},
            best_trial=best.number,
            validation=float(best.value),  # type: ignore[arg-type]
            trials=standing.finished,
            completed=standing.completed,
            pruned=standing.pruned,
            seconds=round(standing.seconds, 1),
            labels=spec.labels,
            labels_from=spec.labels_from,
            importance=self.importance(),
        )
        write_json(self.folder / TUNED, {**tuned.model_dump(mode="json")})
        return tuned

    def importance(self) -> dict[str, float]:
        """Share of the objective's variance that each value explains (fANOVA, Hutter et al. 2014); {} where it can't be told."""
        from optuna.importance import FanovaImportanceEvaluator, get_param_importances

        if self.standing().completed < 4 or len(self.spec.space) < 2:
            return {}
        try:
            found = get_param_importances(self.optuna, evaluator=FanovaImportanceEvaluator(seed=0))
        except (RuntimeError, ValueError):  # all objectives equal: nothing to explain
            return {}
        return {name: float(value) for name, value in found.items()}


def _pruner(spec: StudySpec) -> optuna.pruners.BasePruner:
    from optuna import pruners

    match spec.pruner:
        case "median":
            return pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=spec.iterations // 4)
        case "hyperband":
            return pruners.HyperbandPruner(min_resource=max(1, spec.iterations // 9), max_resource=spec.iterations)
        case "none":
            return pruners.NopPruner()


Ended = Callable[["optuna.trial.FrozenTrial", Standing], None]


def work(
    study: Study, target: int, *, timeout: float | None = None, device: str = "auto", threads: int | None = None,
    reporter: Reporter | None = None, ended: Sequence[Ended] = (),
) -> int:  # fmt: skip
    """Runs trials until `target` have ended in the whole study, or the time is over; returns how many this process ran.

    A trial that raises counts as failed and is told; more than FAILURES in a row raise SemibenchError. KeyboardInterrupt
    queues the values of the running trial again and is raised on."""
    from optuna.trial import TrialState

    reporter = reporter or Reporter()
    started, count, failures = time.monotonic(), 0, 0
    while timeout is None or time.monotonic() - started < timeout:
        with study.lock():
            study.bury_the_dead(reporter)
        trial = study.ask(target)
        if trial is None:
            break
        values = {one.name: one.suggest(trial) for one in study.spec.space}
        folder = study.folder / "trials" / f"{trial.number:04}"
        request = study.spec.make_request(values, folder, device=device, threads=threads)
        began = time.monotonic()

        def report(value: float, step: int, trial: optuna.Trial = trial) -> bool:
            trial.report(value, step)
            return trial.should_prune()

        state, value, error = TrialState.COMPLETE, None, ""
        try:
            value = float(run_trial(request, folder, report, reporter)["value"])
        except Pruned:
            state = TrialState.PRUNED
        except KeyboardInterrupt:
            study.optuna.tell(trial, state=TrialState.FAIL)
            study.optuna.enqueue_trial(trial.params)
            raise
        except UsageError:
            study.optuna.tell(trial, state=TrialState.FAIL)
            raise
        except Exception as problem:
            state, error = TrialState.FAIL, f"{type(problem).__name__}: {' '.join(str(problem).split())[:300]}"
        reporter.close()
        trial.set_user_attr("seconds", time.monotonic() - began)
        if error:
            trial.set_user_attr("error", error)
        told = study.optuna.tell(trial, value, state=state)
        count += 1
        failures = failures + 1 if error else 0
        for tell in ended:
            tell(told, study.standing())
        if failures > FAILURES:
            raise SemibenchError(f"{failures} trials failed one after the other; the last: {error}")
    return count
