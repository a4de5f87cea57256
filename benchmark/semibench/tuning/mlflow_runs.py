"""Write a study to MLflow: a parent run for the study, and a nested run for each trial that ended."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from semibench.data.declared.naming import short_name
from semibench.files import jsonable, read_cached_json, write_json
from semibench.reporting import Reporter
from semibench.run.tuned import TUNED
from semibench.tracking.store import artifact_root, open_store, store_name, store_uri
from semibench.tuning.study import Study, StudyProgress

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient
    from optuna.trial import FrozenTrial

log = logging.getLogger("semibench")
LOCK_SECONDS = 300.0
STATUS = {"COMPLETE": "FINISHED", "PRUNED": "FINISHED", "FAIL": "FAILED"}


class StudyMirror:
    """Writes a study to MLflow.

    An unwritable store causes one warning and does not affect trials: the study's folder is the truth.
    """

    def __init__(self, study: Study, uri: str | None, reporter: Reporter) -> None:
        self.study, self.reporter = study, reporter
        self.uri = store_uri(uri)
        self.store = store_name(self.uri)
        self.broken = False
        self._client: MlflowClient | None = None
        self._file_lock: FileLock | None = None

    @property
    def client(self) -> MlflowClient:
        if self._client is None:
            self._client = open_store(self.uri, self.reporter)
        return self._client

    def trial(self, trial: FrozenTrial, progress: StudyProgress) -> None:
        """Write a trial that ended, and others that the store missed."""
        self._guarded(self._trials)

    def finish(self, done: bool) -> None:
        """Write values, pictures and the frozen configuration to the parent run when this process ends its part of the study."""
        self._guarded(lambda: self._finish(done))

    def _guarded(self, write: Any) -> None:
        if self.broken:
            return
        try:
            write()
        except Exception as error:
            self.broken = True
            log.error("%s", traceback.format_exc())
            self.reporter.warn(
                f"MLflow could not be written ({type(error).__name__}: {error}); the study continues without it, and the next "
                "`bench tune` with this store writes what it missed"
            )

    def _parent(self) -> tuple[str, str]:
        """Return the ids of experiment and parent run; create missing ones."""
        with self._lock():
            noted = self._noted(read_cached_json(self.study.folder / "mlflow.json"))
            if noted:
                return str(noted["experiment"]), str(noted["run"])
            spec = self.study.spec
            name = f"tuning: {spec.request.protocol} / {short_name(spec.request.dataset)}"
            existing = self.client.get_experiment_by_name(name)
            if existing is not None:
                experiment = str(existing.experiment_id)
            else:
                root = artifact_root(self.uri)
                location = None if root is None else (root / "tuning").as_uri()
                experiment = str(self.client.create_experiment(name, artifact_location=location))
            tags = {
                "semibench.study": spec.name,
                "semibench.kind": "study",
                "semibench.method": spec.method,
                "semibench.data_kind": "phantom" if spec.phantom else "real",
                "mlflow.note.content": f"Study **{spec.name}**: {spec.sampler}, {spec.pruner}; objective: best validation Dice of "
                f"{spec.labels} cases ({spec.labels_from}). Searched: {', '.join(one.name for one in spec.space)}.",
            }
            run = str(self.client.create_run(experiment, tags=tags, run_name=f"study {spec.name}").info.run_id)
            known = read_cached_json(self.study.folder / "mlflow.json")
            write_json(self.study.folder / "mlflow.json", known | {self.store: {"experiment": experiment, "run": run}})
            return experiment, run

    def _noted(self, known: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the study's note says of this store; older versions noted its address as it was given."""
        noted: dict[str, Any] = known.get(self.store) or known.get(self.uri) or {}
        return noted

    def _lock(self) -> FileLock:
        """Return a lock for all processes that write this study: each trial becomes one run. It may be taken twice."""
        if self._file_lock is None:
            self._file_lock = FileLock(self.study.folder / "mlflow.lock", timeout=LOCK_SECONDS)
        return self._file_lock

    def _trials(self) -> None:
        """Write every trial that ended and that the store doesn't have."""
        file = self.study.folder / "mlflow.json"
        with self._lock():
            experiment, parent = self._parent()
            known = read_cached_json(file)
            noted = self._noted(known)
            written = noted.get("trials")
            if written is None:  # noted by an older version
                written = self._written(experiment, parent)
            for trial in self.study.optuna.get_trials(deepcopy=False):
                if trial.state.is_finished() and trial.number not in written:
                    self._trial(trial, experiment, parent)
                    written.append(trial.number)
                    write_json(file, known | {self.store: noted | {"trials": written}})

    def _written(self, experiment: str, parent: str) -> list[int]:
        """Return the numbers of the trials that the store has."""
        below = f"tags.`mlflow.parentRunId` = '{parent}'"
        runs = self.client.search_runs([experiment], below, max_results=5000)
        return [int(run.data.tags["semibench.trial"]) for run in runs if "semibench.trial" in run.data.tags]

    def _trial(self, trial: FrozenTrial, experiment: str, parent: str) -> None:
        from mlflow.entities import Metric, Param, RunTag

        start = int(trial.datetime_start.timestamp() * 1000) if trial.datetime_start else int(time.time() * 1000)
        tags = {
            "mlflow.parentRunId": parent,
            "semibench.study": self.study.spec.name,
            "semibench.kind": "trial",
            "semibench.trial": str(trial.number),
            "semibench.state": trial.state.name.lower(),
        }
        run = self.client.create_run(
            experiment, start_time=start, tags=tags, run_name=f"trial {trial.number}"
        ).info.run_id
        params = [Param(name, str(jsonable(value))) for name, value in trial.params.items()]
        metrics = [
            Metric("validation/dice", value, start + step, step) for step, value in trial.intermediate_values.items()
        ]
        if trial.value is not None:
            metrics.append(Metric("objective", float(trial.value), start, 0))
        metrics.append(Metric("seconds", float(trial.user_attrs.get("seconds", 0.0)), start, 0))
        error = str(trial.user_attrs.get("error", ""))
        self.client.log_batch(
            run, metrics=metrics, params=params, tags=[RunTag("semibench.error", error)] if error else []
        )
        self.client.set_terminated(run, status=STATUS[trial.state.name])

    def _finish(self, done: bool) -> None:
        from mlflow.entities import Metric

        self._trials()
        _, run = self._parent()
        progress, now = self.study.progress(), int(time.time() * 1000)
        metrics = {
            "trials": progress.finished,
            "trials completed": progress.completed,
            "trials pruned": progress.pruned,
            "trials failed": progress.failed,
            "seconds": progress.seconds,
        }
        if progress.best is not None:
            metrics["objective"] = progress.best
        self.client.log_batch(run, metrics=[Metric(name, float(value), now, 0) for name, value in metrics.items()])
        for path in (self.study.folder / TUNED, self.study.folder / "study.json"):
            if path.is_file():
                self.client.log_artifact(run, str(path))
        for path in sorted(Path(self.study.folder / "plots").glob("*.png")):
            self.client.log_artifact(run, str(path), "plots")
        self.client.set_terminated(run, status="FINISHED" if done else "KILLED")
