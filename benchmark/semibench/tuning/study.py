"""A study: its search space, its trials and its progress, stored in a journal file or a data base.

Several processes, on one machine or many, may work on the same study: each asks for a trial, trains, and reports the result.
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
"""Number of trials that may fail in a row before a process gives up."""

LOCK_SECONDS = 120.0


class StudySpec(BaseModel, frozen=True, extra="forbid"):
    """Everything that defines a study."""

    name: str
    """Name of the study."""
    request: Cell
    """The run that every trial is a variant of."""
    space: tuple[Dimension, ...]
    """The search space."""
    sampler: Sampler = "tpe"
    """Optuna's sampler."""
    pruner: Pruner = "median"
    """Optuna's pruner."""
    seed: int = 0
    """Seed of the sampler."""
    labels: int
    """Number of validation cases that each trial uses."""
    labels_from: str
    """Where these cases come from."""
    phantom: bool
    """Whether the data are phantoms."""
    method: str
    """Name of the method."""
    backbone: str
    """Name of the backbone."""
    iterations: int
    """Iterations of a trial."""
    storage: str | None = None
    """URL of a data base; None: the journal in the folder."""

    def make_request(self, values: Mapping[str, Any], runs: Path, *, device: str, threads: int | None) -> Request:
        """Return the request of a trial: the study's request with the trial's values."""
        settings = (*self.request.settings, *self.settings(values))
        cell = self.request.model_copy(update={"settings": settings})
        return cell.request(runs=runs, device=device, threads=threads, track=False)

    def settings(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        """Return values by name as texts for --set."""
        return texts({dimension.setting: values[dimension.name] for dimension in self.space})


@dataclass
class StudyProgress:
    """The progress of a study. seconds: training time of all trials that ended."""

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
    """A study on disk. Its folder contains study.json, the journal, the trials' folders, plots and the frozen configuration."""

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
                for point in product(*(dimension.grid() for dimension in spec.space)):
                    self.optuna.enqueue_trial(
                        dict(zip((dimension.name for dimension in spec.space), point, strict=True))
                    )

    @classmethod
    def open(cls, spec: StudySpec, studies: Path = STUDIES) -> Study:
        """Create the study, or continue it if it exists.

        Raise IdentityError if the name belongs to a different study; the message lists the differences.
        """
        folder = studies / spec.name
        stored = read_json(folder / "study.json")
        if stored:
            there, here = (one.model_dump(mode="json") for one in (StudySpec(**stored), spec))
            differences = [
                f"{name}: {there[name]!r} there, {here[name]!r} here" for name in here if there[name] != here[name]
            ]
            if differences:
                lines = "\n  ".join(text[:400] for text in differences)
                raise IdentityError(f"study {spec.name!r} exists, but is different; choose --study NAME:\n  {lines}")
        else:
            write_json(folder / "study.json", spec.model_dump(mode="json"))
        return cls(spec, folder)

    @classmethod
    def join(cls, name: str, studies: Path = STUDIES) -> Study:
        """Open an existing study by name. Raise UsageError if it does not exist."""
        stored = read_json(studies / name / "study.json")
        if not stored:
            names = ", ".join(sorted(path.parent.name for path in studies.glob("*/study.json"))) or "none"
            raise UsageError(f"there is no study {name!r} in {studies}; known: {names}")
        return cls(StudySpec(**stored), studies / name)

    def _storage(self) -> Any:
        from optuna.storages import JournalStorage, RDBStorage
        from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

        if self.spec.storage is not None:
            return RDBStorage(self.spec.storage)
        journal = str(self.folder / "journal.log")
        return JournalStorage(JournalFileBackend(journal, lock_obj=JournalFileOpenLock(journal)))

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """Return a new sampler for a trial, seeded by the trial's number.

        A continued study therefore does not repeat the same random numbers, and a study run by a single process always gives
        the same trials.
        """
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
            case "random" | "grid":  # the points of a grid are queued when the study is created
                return samplers.RandomSampler(seed=seed)

    def lock(self) -> AbstractContextManager[Any]:
        """Return a lock to hold while counting and requesting trials; a data base needs none."""
        from filelock import FileLock

        return (
            FileLock(self.folder / "study.lock", timeout=LOCK_SECONDS) if self.spec.storage is None else nullcontext()
        )

    def progress(self) -> StudyProgress:
        """Return the number of trials by state, the best value and the time spent so far."""
        from optuna.trial import TrialState

        trials = self.optuna.get_trials(deepcopy=False)
        count = {state: sum(trial.state == state for trial in trials) for state in TrialState}
        values = [trial.value for trial in trials if trial.state == TrialState.COMPLETE and trial.value is not None]
        seconds = sum(float(trial.user_attrs.get("seconds", 0.0)) for trial in trials)
        return StudyProgress(
            count[TrialState.COMPLETE], count[TrialState.PRUNED], count[TrialState.FAIL], count[TrialState.RUNNING],
            max(values, default=None), seconds,
        )  # fmt: skip

    def fail_orphaned_trials(self, reporter: Reporter) -> int:
        """Mark trials of killed processes on this machine as failed and queue their values again; return their number."""
        from optuna.trial import TrialState

        orphans = 0
        for trial in self.optuna.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            attributes = trial.user_attrs
            process, host = attributes.get("process"), attributes.get("host")
            if process is not None and process_is_gone(int(process), attributes.get("process_started"), host):
                self.optuna.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
                self.optuna.enqueue_trial(trial.params)
                reporter.note(f"trial {trial.number} was killed while running; its values are tried again")
                orphans += 1
        return orphans

    def ask(self, target: int) -> optuna.Trial | None:
        """Return the next trial, or None if enough trials have ended or are running."""
        from optuna.trial import TrialState

        with self.lock():
            progress = self.progress()
            if progress.finished + progress.running >= target:
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
        """Write the best configuration so far with its cost; return None before any trial is complete."""
        progress = self.progress()
        if progress.completed == 0:
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
            settings={dimension.setting: best.params[dimension.name] for dimension in spec.space},
            best_trial=best.number,
            validation=float(best.value),  # type: ignore[arg-type]
            trials=progress.finished,
            completed=progress.completed,
            pruned=progress.pruned,
            seconds=round(progress.seconds, 1),
            labels=spec.labels,
            labels_from=spec.labels_from,
            importance=self.importance(),
        )
        write_json(self.folder / TUNED, {**tuned.model_dump(mode="json")})
        return tuned

    def importance(self) -> dict[str, float]:
        """Return the share of the objective's variance that each value explains (fANOVA, Hutter et al. 2014); {} if unknown."""
        from optuna.importance import FanovaImportanceEvaluator, get_param_importances

        if self.progress().completed < 4 or len(self.spec.space) < 2:
            return {}
        try:
            shares = get_param_importances(self.optuna, evaluator=FanovaImportanceEvaluator(seed=0))
        except (RuntimeError, ValueError):  # all objectives equal: nothing to explain
            return {}
        return {name: float(value) for name, value in shares.items()}


def _pruner(spec: StudySpec) -> optuna.pruners.BasePruner:
    from optuna import pruners

    match spec.pruner:
        case "median":
            return pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=spec.iterations // 4)
        case "hyperband":
            return pruners.HyperbandPruner(min_resource=max(1, spec.iterations // 9), max_resource=spec.iterations)
        case "none":
            return pruners.NopPruner()


Ended = Callable[["optuna.trial.FrozenTrial", StudyProgress], None]


def work(
    study: Study, target: int, *, timeout: float | None = None, device: str = "auto", threads: int | None = None,
    reporter: Reporter | None = None, ended: Sequence[Ended] = (),
) -> int:  # fmt: skip
    """Run trials until `target` have ended in the whole study or the time is over.

    A trial that raises counts as failed. KeyboardInterrupt queues the values of the running trial again and propagates.

    Args:
        study: the study.
        target: number of trials that the study should have.
        timeout: seconds; None: no limit.
        device: the device to train on.
        threads: CPU threads of a trial.
        reporter: receives progress.
        ended: called with each trial that ended.

    Returns:
        The number of trials that this process ran.

    Raises:
        SemibenchError: if more than FAILURES trials fail in a row.
    """
    from optuna.trial import TrialState

    reporter = reporter or Reporter()
    started, count, failures = time.monotonic(), 0, 0
    while timeout is None or time.monotonic() - started < timeout:
        with study.lock():
            study.fail_orphaned_trials(reporter)
        trial = study.ask(target)
        if trial is None:
            break
        values = {dimension.name: dimension.suggest(trial) for dimension in study.spec.space}
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
        frozen = study.optuna.tell(trial, value, state=state)
        count += 1
        failures = failures + 1 if error else 0
        for notify in ended:
            notify(frozen, study.progress())
        if failures > FAILURES:
            raise SemibenchError(f"{failures} trials failed in a row; the last: {error}")
    return count
