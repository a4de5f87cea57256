"""Copy a run folder into MLflow. Idempotent: the same run key and code are always the same MLflow run."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from semibench.contracts.errors import SemibenchError, UsageError
from semibench.contracts.identity import SHORT
from semibench.files import read_cached_json, write_json
from semibench.reporting import Reporter
from semibench.runfolder.format import LOG_FILE, SPEC_FILE, SYNTHETIC_FILE
from semibench.runfolder.plans import PlanRecord
from semibench.runfolder.reading import RunFolder
from semibench.runfolder.records import Provenance, Result, SplitRecord, Status
from semibench.runfolder.tables import SCORES_FILE, STEPS_FILE
from semibench.tracking.notes import description
from semibench.tracking.store import LOCK_SECONDS, artifact_root, open_store, store_name, store_uri

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

Checkpoints = Literal["last", "best", "all", "none"]

BATCH = 1000
"""Maximum number of metrics in one `log_batch` call, a limit of MLflow."""

LARGEST = 256 * 2**20
"""Maximum bytes of an uploaded checkpoint; larger ones stay in the run folder only."""

NOTE = "mlflow.json"
"""File in the run folder: store -> id of the MLflow run, and the state that was mirrored there last."""

LOCK = "mlflow.lock"
"""File in the run folder that is locked while its MLflow run is looked for or created."""

STATES = {"running": "RUNNING", "done": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
RECORDS = (
    SPEC_FILE, Provenance.FILE, PlanRecord.FILE, SplitRecord.FILE, SYNTHETIC_FILE, Status.FILE, Result.FILE, STEPS_FILE,
    SCORES_FILE, LOG_FILE,
)  # fmt: skip
UPLOADS: dict[str, tuple[str, ...]] = {"last": ("last",), "best": ("best",), "all": ("last", "best"), "none": ()}
GENERATED = {".json", ".png", ".csv", ".parquet", ".txt"}


def mirror(
    folder: Path, uri: str | None = None, reporter: Reporter | None = None, *, checkpoints: Checkpoints | None = None
) -> str:
    """Write a run folder to MLflow.

    It is called when a run starts, which then shows as running, and when it ends; every call adds only what is new.

    Args:
        folder: the run folder.
        uri: the store; by default MLFLOW_TRACKING_URI, else mlflow.db in the working directory.
        reporter: receives notes.
        checkpoints: which checkpoints to upload; by default SEMIBENCH_MLFLOW_CHECKPOINTS, else "last".

    Returns:
        The MLflow run id.

    Raises:
        IdentityError: if the folder has no run spec.
        SemibenchError: if the store cannot be opened, or another process keeps the lock of the folder.
    """
    reporter = reporter or Reporter()
    run = RunFolder(folder)
    address = store_uri(uri)
    client = open_store(address, reporter)
    target = _found_or_created(client, run, address)
    run_id = str(target.info.run_id)
    _log_facts(client, run, target)
    _log_steps(client, run, target, reporter)
    _log_scores(client, run, run_id)
    left_out = _upload(client, run, run_id, checkpoints or _from_environment(), reporter)
    for name in left_out:
        reporter.note(f"MLflow: {name} is larger than {LARGEST // 2**20} MiB and stays in the run folder only")
    state = STATES.get(run.state, "RUNNING")
    if state == "RUNNING":
        client.update_run(run_id, status=state)
    else:
        client.set_terminated(run_id, status=state, end_time=_milliseconds(_times(run)[1]))
    _remember(run, address, run_id)
    return run_id


def is_mirrored(folder: Path, uri: str | None = None) -> bool:
    """Return whether the store has this folder in its present state. The folder records it; the store is not asked."""
    run = RunFolder(folder)
    store = store_name(store_uri(uri))
    noted = read_cached_json(run.path / NOTE)
    return store in noted and _mirrored(noted).get(store) == _run_state(run)


def _mirrored(noted: Mapping[str, Any]) -> dict[str, Any]:
    """Return store -> the state that was mirrored there last."""
    states = noted.get("mirrored")
    return dict(states) if isinstance(states, Mapping) else {}


def _run_state(run: RunFolder) -> str:
    return " ".join(map(str, (run.state, *_times(run))))


def _times(run: RunFolder) -> tuple[str | None, str | None]:
    """Return when the run started and ended."""
    status = run.recorded_status
    return (status.started, status.ended) if status is not None else (None, None)


def _from_environment() -> Checkpoints:
    chosen = os.environ.get("SEMIBENCH_MLFLOW_CHECKPOINTS", "last")
    if chosen not in UPLOADS:
        raise UsageError(f"SEMIBENCH_MLFLOW_CHECKPOINTS: expected one of {', '.join(UPLOADS)}, found {chosen!r}")
    return cast("Checkpoints", chosen)


# ---- which MLflow run ----------------------------------------------------------------------------------------------


def _found_or_created(client: MlflowClient, run: RunFolder, address: str) -> Run:
    """Return the MLflow run of this folder. Of two processes that mirror it at the same time, the second finds what the first made.

    Raises:
        SemibenchError: if another process keeps the lock.
    """
    from filelock import FileLock, Timeout

    try:
        with FileLock(run.path / LOCK, timeout=LOCK_SECONDS):
            return _find(client, run, address) or _create(client, run, address)
    except Timeout as error:
        raise SemibenchError(
            f"waited {LOCK_SECONDS:.0f} s for another process to find or create the MLflow run of {run.path}; if none is running, "
            f"delete {run.path / LOCK}"
        ) from error


def _experiment(client: MlflowClient, run: RunFolder, address: str) -> str:
    """Return the id of the track's experiment; create it if necessary, even if another process does so at the same time."""
    from mlflow.exceptions import MlflowException

    name = run.spec.track.title
    found = client.get_experiment_by_name(name)
    if found is None:
        root = artifact_root(address)
        location = None if root is None else (root / run.spec.track.digest()[:SHORT]).as_uri()
        tags = {
            "semibench.track": run.spec.track.digest(),
            "semibench.data_kind": "phantom" if run.spec.track.is_phantom else "real",
            "mlflow.note.content": f"One track of Semibench: what its runs share.\n\n```json\n{_track(run)}\n```",
        }
        try:
            return str(client.create_experiment(name, artifact_location=location, tags=tags))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # another process has just created it
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def _track(run: RunFolder) -> str:
    text = json.dumps(run.spec.track.model_dump(mode="json"), indent=2, ensure_ascii=False)
    return text if len(text) < 7000 else text[:7000] + " ..."


def _find(client: MlflowClient, run: RunFolder, address: str) -> Run | None:
    """Return the MLflow run of this folder: the one in mlflow.json if the store still has it, else by key and code."""
    from mlflow.exceptions import MlflowException

    noted = read_cached_json(run.path / NOTE).get(store_name(address))
    if isinstance(noted, str):
        try:
            known = client.get_run(noted)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            known = None
        if known is not None and _same(known, run):
            return known
    experiment = _experiment(client, run, address)
    by_key = f"tags.`semibench.key` = '{run.spec.key}'"
    for known in client.search_runs([experiment], by_key, order_by=["attributes.start_time DESC"]):
        if _same(known, run):
            return known
        client.set_tag(known.info.run_id, "semibench.state", "stale")
    return None


def _same(known: Run, run: RunFolder) -> bool:
    """Return whether an MLflow run is not deleted and shows this run.

    Key and code must match, and its steps must be the first steps of the folder, digit for digit (a run forced again on a GPU
    may differ). Otherwise it is stale, because metrics in MLflow cannot be removed. An MLflow run without a code is of a process
    that was killed before it had recorded its code, so before it had computed anything.
    """
    tags = known.data.tags
    return (
        known.info.lifecycle_stage == "active"
        and tags.get("semibench.key") == run.spec.key
        and tags.get("semibench.code") in ("", run.provenance.code)
        and tags.get("semibench.rows_digest", "") in ("", run.steps_digest(int(tags.get("semibench.rows", "0"))))
    )


def _create(client: MlflowClient, run: RunFolder, address: str) -> Run:
    return client.create_run(
        _experiment(client, run, address),
        start_time=_milliseconds(_times(run)[0]),
        tags={"semibench.key": run.spec.key, "semibench.code": run.provenance.code},
        run_name=run.spec.name,
    )


def _remember(run: RunFolder, address: str, run_id: str) -> None:
    """Record in the folder, for each store, the MLflow run id and the mirrored state; atomic."""
    known, store = read_cached_json(run.path / NOTE), store_name(address)
    mirrored = _mirrored(known) | {store: _run_state(run)}
    if known.get(store) != run_id or known.get("mirrored") != mirrored:
        write_json(run.path / NOTE, {**known, store: run_id, "mirrored": mirrored})


# ---- what is logged ------------------------------------------------------------------------------------------------


def _log_facts(client: MlflowClient, run: RunFolder, target: Run) -> None:
    """Log params once, tags and description every time; remove the error of an earlier attempt."""
    from mlflow.entities import Param, RunTag

    known = target.data.params
    params = [Param(_key(name), value[:6000]) for name, value in run.params().items() if _key(name) not in known]
    tags = [RunTag(_key(name), value[:7900]) for name, value in run.tags().items()]
    tags.append(RunTag("mlflow.note.content", description(run)))
    if "semibench.error" in target.data.tags and not run.error:
        client.delete_tag(target.info.run_id, "semibench.error")
    for chunk in _chunks(params, 100):
        client.log_batch(target.info.run_id, params=chunk)
    for chunk in _chunks(tags, 100):
        client.log_batch(target.info.run_id, tags=chunk)


def _log_steps(client: MlflowClient, run: RunFolder, target: Run, reporter: Reporter) -> None:
    """Log the metrics of new steps.

    Time stamps are derived from the step, so that MLflow stores a row once even if it is sent twice (by a killed mirror).
    """
    from mlflow.entities import Metric, RunTag

    run_id, start = target.info.run_id, int(target.info.start_time)
    done = int(target.data.tags.get("semibench.rows", "0"))
    metrics = [Metric(_key(name), value, start + step, step) for name, step, value in run.steps[done:]]
    for chunk in _chunks(metrics, BATCH - 2):
        done += len(chunk)
        tags = [RunTag("semibench.rows", str(done)), RunTag("semibench.rows_digest", run.steps_digest(done))]
        client.log_batch(run_id, metrics=chunk, tags=tags)
        reporter.advance(done)


def _log_scores(client: MlflowClient, run: RunFolder, run_id: str) -> None:
    """Log final scores that are new or changed: a run can be scored again."""
    from mlflow.entities import Metric

    scores = run.scores()
    if not scores:
        return
    known, now = client.get_run(run_id).data.metrics, int(time.time() * 1000)
    fresh = [Metric(_key(name), value, now, 0) for name, value in scores.items() if known.get(_key(name)) != value]
    for chunk in _chunks(fresh, BATCH):
        client.log_batch(run_id, metrics=chunk)


def _upload(
    client: MlflowClient, run: RunFolder, run_id: str, checkpoints: Checkpoints, reporter: Reporter
) -> list[str]:
    """Upload files of the folder; return the checkpoints that are too large. reporter: told of each file."""
    for number, name in enumerate(RECORDS):
        if (run.path / name).is_file():
            client.log_artifact(run_id, str(run.path / name))
        reporter.advance(number)
    if any((run.path / "pictures").glob("*.png")):
        client.log_artifacts(run_id, str(run.path / "pictures"), "pictures")
    for file in sorted((run.path / "generated").rglob("*")):
        if file.is_file() and file.suffix in GENERATED and file.stat().st_size < LARGEST // 8:
            client.log_artifact(run_id, str(file), str(file.parent.relative_to(run.path).as_posix()))
            reporter.advance(len(RECORDS))
    left_out = []
    if run.state != "running":
        for name in UPLOADS[checkpoints]:
            file = run.path / "checkpoints" / f"{name}.pt"
            if file.is_file() and file.stat().st_size <= LARGEST:
                client.log_artifact(run_id, str(file), "checkpoints")
                reporter.advance(len(RECORDS))
            elif file.is_file():
                left_out.append(f"checkpoints/{file.name}")
    return left_out


# ---- small parts ---------------------------------------------------------------------------------------------------


def _chunks(items: Iterable[Any], size: int) -> Iterable[Sequence[Any]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _key(name: str) -> str:
    """Return a name that MLflow accepts: letters, digits, `_-.: /`, no leading or double separators, 250 characters."""
    text = re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII)
    return re.sub(r"/{2,}", "/", text).strip("/.")[:250] or "_"


def _milliseconds(moment: str | None) -> int:
    """Convert a time of status.json to ms since 1970; now if there is none."""
    return int((time.time() if moment is None else datetime.fromisoformat(moment).timestamp()) * 1000)
