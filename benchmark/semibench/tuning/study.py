"""A study: its search space, its trials and its progress, stored in a journal file or a data base.

Several processes, on one machine or many, may work on the same study: each asks for a trial, trains, and reports the result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from semibench.contracts.errors import IdentityError, SemibenchError, UsageError
from semibench.data.declared.naming import short_name
from semibench.files import read_json, write_json
from semibench.reporting import Reporter
from semibench.run.tuned import STUDIES, TUNED, Tuned
from semibench.tuning.holding import Held, holder
from semibench.tuning.proposing import pruner_of, sampler_of
from semibench.tuning.spec import StudySpec
from semibench.tuning.storage import open_storage
from semibench.tuning.trial import Pruned, run_trial

if TYPE_CHECKING:
    import optuna

FAILURES = 5
"""Number of trials that may fail in a row before a process gives up."""

LOCK_SECONDS = 120.0
MOST_LETTERS = 200
"""Most bytes of a study's name; file systems take 255 for a folder, and locks add some."""

STUDY = "study.json"
"""File with the specification of a study, in its folder."""


def _folder(studies: Path, name: str) -> Path:
    """Return the folder of a study. Raise UsageError for a name that leads elsewhere or can't be the name of a folder."""
    if (
        name in ("", ".", "..")
        or Path(name).name != name
        or not name.isprintable()
        or len(name.encode()) > MOST_LETTERS
    ):
        raise UsageError(
            f"expected the name of a study, which becomes the name of a folder: at most {MOST_LETTERS} letters and no slash; "
            f"found {name[:80]!r}"
        )
    return studies / name


@dataclass
class StudyProgress:
    """The progress of a study.

    best: the highest value; None before a trial is complete, and where several are and all have the same value. value: of the
    last complete trial. seconds: training time of all trials that ended.
    """

    completed: int
    pruned: int
    failed: int
    running: int
    best: float | None
    value: float | None
    seconds: float

    @property
    def equal(self) -> bool:
        """Whether several trials are complete and all have the same value."""
        return self.completed > 1 and self.best is None

    @property
    def finished(self) -> int:
        return self.completed + self.pruned


class Study:
    """A study on disk. Its folder contains study.json, the journal, the trials' folders, plots and the frozen configuration."""

    def __init__(self, spec: StudySpec, folder: Path) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.spec, self.folder = spec, folder
        new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self.optuna = optuna.create_study(
                study_name=spec.name, storage=open_storage(folder, spec.storage), direction="maximize", load_if_exists=True,
                sampler=sampler_of(spec, 0), pruner=pruner_of(spec),
            )  # fmt: skip
        except SemibenchError:
            if new:
                folder.rmdir()
            raise
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
        folder = _folder(studies, spec.name)
        stored = _stored(folder)
        if stored is not None:
            there, here = (_flat(one) for one in (stored, spec))
            differences = [
                f"{name}: {there[name]!r} there, {here[name]!r} here" for name in here if there[name] != here[name]
            ]
            if differences:
                lines = "\n  ".join(text[:400] for text in differences)
                raise IdentityError(f"study {spec.name!r} exists, but is different; choose --study NAME:\n  {lines}")
        study = cls(spec, folder)
        if stored is None:  # only now: a wrong storage leaves nothing behind
            write_json(folder / STUDY, spec.model_dump(mode="json"))
        return study

    @classmethod
    def join(cls, name: str, studies: Path = STUDIES) -> Study:
        """Open an existing study by name. Raise UsageError if it does not exist."""
        folder = _folder(studies, name)
        stored = _stored(folder)
        if stored is None:
            names = ", ".join(sorted(path.parent.name for path in studies.glob(f"*/{STUDY}"))) or "none"
            raise UsageError(f"there is no study {name!r} in {studies}; known: {names}")
        return cls(stored, folder)

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
        best = None if len(values) > 1 and len(set(values)) == 1 else max(values, default=None)
        return StudyProgress(
            count[TrialState.COMPLETE], count[TrialState.PRUNED], count[TrialState.FAIL], count[TrialState.RUNNING],
            best, values[-1] if values else None, seconds,
        )  # fmt: skip

    def held(self) -> list[Held]:
        """Return the trials that are running, and who runs them. A trial whose process has ended is among them."""
        from optuna.trial import TrialState

        return [
            Held.of(trial, locked=self.spec.storage is None)
            for trial in self.optuna.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        ]

    def fail_orphaned_trials(self, reporter: Reporter, give_up: str | None = None) -> int:
        """Mark trials of killed processes as failed and queue their values again; return their number.

        Call it while holding the study's lock.

        Args:
            reporter: receives a note for each.
            give_up: a machine whose trials are treated as killed, since nothing can be known about its processes.
        """
        from optuna.trial import TrialState

        orphans = [one for one in self.held() if one.gone or (one.gone is None and one.machine == give_up)]
        for one in orphans:
            self.optuna.tell(one.number, state=TrialState.FAIL, skip_if_finished=True)
            if one.params:
                self.optuna.enqueue_trial(dict(one.params))
            where = "" if one.gone else f" on {one.machine}"
            reporter.note(f"trial {one.number} was killed while running{where}; its values are tried again")
        return len(orphans)

    def ask(self, target: int) -> optuna.Trial | None:
        """Return the next trial, or None if enough trials have ended or are running."""
        from optuna.trial import TrialState

        with self.lock():
            progress = self.progress()
            if progress.finished + progress.running >= target:
                return None
            self.optuna.sampler = sampler_of(self.spec, len(self.optuna.get_trials(deepcopy=False)))
            waiting = self.optuna.get_trials(deepcopy=False, states=(TrialState.WAITING,))
            if self.spec.sampler == "grid" and not waiting:
                return None
            trial = self.optuna.ask()
            for name, value in holder().items():
                trial.set_user_attr(name, value)
            return trial

    def is_finished(self, number: int) -> bool:
        """Return whether a trial has ended, for whatever reason."""
        return self.optuna.get_trials(deepcopy=False)[number].state.is_finished()

    def freeze(self) -> Tuned | None:
        """Write the best configuration so far with its cost; return None, and write none, as long as no trial is the best."""
        progress = self.progress()
        if progress.best is None:
            (self.folder / TUNED).unlink(missing_ok=True)  # of the first of several trials that are all equal
            return None
        best, spec = self.optuna.best_trial, self.spec
        tuned = Tuned(
            study=spec.name,
            protocol=spec.request.protocol.split(":")[-1],
            dataset=short_name(spec.request.dataset),
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


def _flat(spec: StudySpec) -> dict[str, Any]:
    """Returns what a study is, field by field, those of its request by their own names."""
    record = spec.model_dump(mode="json")
    return {f"request.{name}": value for name, value in record.pop("request").items()} | record


def _stored(folder: Path) -> StudySpec | None:
    """Return the specification in a study's folder; None if there is none."""
    stored = read_json(folder / STUDY)
    try:
        return StudySpec(**stored) if stored else None
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        field = ".".join(map(str, problem["loc"]))
        raise SemibenchError(
            f"{folder / STUDY} is not the definition of a study: {field}: {problem['msg']}. Another version of Semibench wrote "
            "it, or it was changed by hand; put a copy back, or choose another name with --study"
        ) from error


Ended = Callable[["optuna.trial.FrozenTrial", StudyProgress], None]


def work(
    study: Study, target: int, *, timeout: float | None = None, device: str = "auto", threads: int | None = None,
    reporter: Reporter | None = None, ended: Sequence[Ended] = (), give_up: str | None = None,
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
        give_up: a machine whose trials are given up.

    Returns:
        The number of trials that this process ran.

    Raises:
        SemibenchError: if more than FAILURES trials fail in a row.
    """
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import TrialState

    reporter = reporter or Reporter()
    started, count, failures = time.monotonic(), 0, 0
    while timeout is None or time.monotonic() - started < timeout:
        with study.lock():
            study.fail_orphaned_trials(reporter, give_up)
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
            study.optuna.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
            study.optuna.enqueue_trial(trial.params)
            raise
        except UsageError:
            study.optuna.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
            raise
        except Exception as problem:
            state, error = TrialState.FAIL, f"{type(problem).__name__}: {' '.join(str(problem).split())[:300]}"
        reporter.close()
        try:
            trial.set_user_attr("seconds", time.monotonic() - began)
            if error:
                trial.set_user_attr("error", error)
            frozen = study.optuna.tell(trial, value, state=state)
        except (UpdateFinishedTrialError, ValueError):
            if not study.is_finished(trial.number):
                raise
            reporter.warn(
                f"trial {trial.number} was given up by another process while it ran here; its result is dropped"
            )
            continue
        count += 1
        failures = failures + 1 if error else 0
        for notify in ended:
            notify(frozen, study.progress())
        if failures > FAILURES:
            raise SemibenchError(f"{failures} trials failed in a row; the last: {error}")
    return count
