"""Reads a run folder: its records, its state, and whether they fit together."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from semibench.contracts.errors import IdentityError, one_line
from semibench.contracts.identity import SHORT, RunSpec, sha256
from semibench.runfolder.format import (
    SPEC_FILE,
    FolderRecord,
    NewerFormatError,
    RunFolderError,
    file_bytes,
    parse_spec,
)
from semibench.runfolder.plans import PlanRecord
from semibench.runfolder.records import Provenance, Result, SplitRecord, Status
from semibench.runfolder.state import State, is_abandoned
from semibench.runfolder.tables import SCORES_FILE, STEPS_FILE, is_whole_table

CHECKPOINT = Path("checkpoints", "last.pt")
MARKERS = (SPEC_FILE, Status.FILE, Result.FILE)
"""A folder with one of these files is a run folder, intact or damaged."""

ABANDONED = "its process is gone; run the same command again to resume"

R = TypeVar("R", bound=FolderRecord)


def flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yields nested plain values as (dotted key, text) pairs; an empty mapping or list is one pair."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list) and any(isinstance(item, (Mapping, list)) for item in value):
        for number, inner in enumerate(value):
            yield from flatten(inner, f"{prefix}.{number}")
    elif isinstance(value, (Mapping, list, tuple)):
        yield prefix, json.dumps(value, ensure_ascii=False)
    else:
        yield prefix, "" if value is None else str(value)


class RunFolder:
    """One run, read from its files. `spec.json` must exist; other records are read on first use.

    Raises RunFolderError if the folder holds no readable run spec, and later for a record that can't be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path).absolute()
        file = self.path / SPEC_FILE
        data = file_bytes(file)
        if data is None:
            raise RunFolderError(
                f"expected a run folder with a {SPEC_FILE}, found none in {self.path}; give the folder of one run"
            )
        self.spec: RunSpec = parse_spec(data, str(file))

    @cached_property
    def recorded_status(self) -> Status | None:
        """status.json; None if it isn't written yet."""
        return Status.from_disk(self.path)

    @cached_property
    def recorded_provenance(self) -> Provenance | None:
        """provenance.json; None if it isn't written yet."""
        return Provenance.from_disk(self.path)

    @property
    def provenance(self) -> Provenance:
        """provenance.json; empty if it isn't written yet."""
        return self.recorded_provenance or Provenance()

    @cached_property
    def key(self) -> str:
        """The run key, computed once."""
        return self.spec.key

    @cached_property
    def split(self) -> SplitRecord | None:
        """split.json; None if it isn't written yet."""
        return SplitRecord.from_disk(self.path)

    @cached_property
    def plan(self) -> PlanRecord | None:
        """plan.json; None if it isn't written yet."""
        return PlanRecord.from_disk(self.path)

    @cached_property
    def result(self) -> Result | None:
        """result.json; None if there is none."""
        return Result.from_disk(self.path)

    @cached_property
    def state(self) -> State:
        """The state: new, running, interrupted, failed or done.

        A "running" run whose process is gone counts as interrupted. Whether a run is stale can only be determined from a plan
        for the same run or a newer run of its row."""
        status = self.recorded_status
        if status is None:
            return "new"
        return state_of(self.path, status)

    @property
    def error(self) -> str | None:
        """Why the run failed or was stopped."""
        status = self.recorded_status
        if status is None:
            return None
        return ABANDONED if self.state != status.state else status.error

    @property
    def resumable(self) -> bool:
        """Whether there is a checkpoint to resume from."""
        return (self.path / CHECKPOINT).is_file()

    def check(self) -> None:
        """Checks that the records can be read, are complete for the run's state, and don't contradict each other.

        Raises:
            RunFolderError: if they don't.
        """
        status, split, result = self.recorded_status, self.split, self.result
        provenance = self.recorded_provenance
        if result is not None and result.key not in (None, self.key):
            raise self._fault(
                f"{Result.FILE} belongs to run {str(result.key)[:SHORT]}, {SPEC_FILE} is run {self.key[:SHORT]}"
            )
        if result is not None and status is None:
            raise self._fault(f"there is a {Result.FILE} but no {Status.FILE}")
        if status is None or status.state != "done":
            return
        records = {Provenance.FILE: provenance, SplitRecord.FILE: split, Result.FILE: result}
        missing = [name for name, record in records.items() if record is None]
        if not is_whole_table(self.path / SCORES_FILE):
            missing.append(f"whole {SCORES_FILE}")
        if missing:
            raise self._fault(f"the run is done but has no {', no '.join(missing)}")
        if result is not None and split is not None and result.split not in (None, split.digest):
            raise self._fault(f"{Result.FILE} belongs to another split than {SplitRecord.FILE}")

    def _fault(self, what: str) -> RunFolderError:
        return RunFolderError(f"{self.path}: {what}; a file was lost or changed by hand")

    def stale_reasons(self, provenance: Provenance, split: SplitRecord) -> list[str]:
        """Returns why the run differs from one with this provenance and this drawn split; empty if it doesn't."""
        reasons = self.provenance.changes(provenance)
        return reasons + (self.split.changes(split) if self.split is not None else [])

    def params(self) -> dict[str, str]:
        """Returns everything in the run key, flattened: `protocol.*`, `dataset.*`, `recipe.*`, `method.*`, `terms.*` ..."""
        spec = self.spec
        record: dict[str, Any] = {
            "protocol": {"name": spec.track.protocol.name, **spec.track.protocol.options},
            "dataset": {"name": spec.track.dataset.name, **spec.track.dataset.options},
            "recipe": {"name": spec.recipe.name, **{k: v for k, v in spec.recipe.options.items() if k != "name"}},
            "tuning": spec.track.tuning,
            "method": {"name": spec.entry.method.name, **spec.entry.method.options},
            "terms": spec.entry.terms,
            "backbone": {"name": spec.entry.backbone.name, **spec.entry.backbone.options},
            "init": spec.entry.init,
            **({"unlabeled_from": "labeled"} if spec.entry.is_control else {}),
            **spec.replicate.model_dump(mode="json"),
        }
        return dict(flatten(record))

    def tags(self) -> dict[str, str]:
        """Returns the tags by which runs are searched, including what was recorded but isn't in the run key."""
        spec, replicate = self.spec, self.spec.replicate
        tags = {
            "semibench.key": spec.key,
            "semibench.key12": spec.key[:SHORT],
            "semibench.row": spec.row[:SHORT],
            "semibench.track": spec.track.digest()[:SHORT],
            "semibench.data": spec.track.data,
            "semibench.data_kind": "phantom" if spec.track.is_phantom else "real",
            "semibench.state": self.state,
            "semibench.code": self.provenance.code,
            "semibench.folder": str(self.path),
            "protocol": spec.track.protocol.short,
            "dataset": spec.track.dataset.short,
            "method": spec.entry.method.short,
            "backbone": spec.entry.backbone.short,
            "recipe": spec.recipe.short,
            "draw": "" if replicate.draw is None else str(replicate.draw),
            "fold": "" if replicate.fold is None else str(replicate.fold),
            "seed": str(replicate.seed),
        }
        provenance = self.provenance
        for role, plugin in provenance.plugins.items():
            tags |= {f"plugins.{role}.version": plugin.version, f"plugins.{role}.source": plugin.source or ""}
        parts = {
            "versions": provenance.versions,
            "machine": provenance.machine.filled(),
            "git": provenance.git.filled() if provenance.git else {},
        }
        tags.update((name, text) for name, text in flatten({name: part for name, part in parts.items() if part}))
        if self.split is not None:
            tags["semibench.split"] = self.split.digest[:SHORT]
        if self.error:
            tags["semibench.error"] = self.error
        return tags

    @cached_property
    def steps(self) -> list[tuple[str, int, float]]:
        """(metric, step, value) of steps.parquet in file order; step: iteration of the run, over all stages."""
        file = self.path / STEPS_FILE
        if not file.is_file():
            return []
        import pyarrow.parquet as parquet

        try:
            table = parquet.read_table(file, columns=["step", "name", "value"], partitioning=None).to_pydict()
        except (OSError, ValueError) as error:
            raise RunFolderError(f"{file} can't be read ({str(error).splitlines()[0]})") from error
        return [
            (str(name), int(step), float(value))
            for step, name, value in zip(table["step"], table["name"], table["value"], strict=True)
        ]

    def steps_digest(self, rows: int) -> str:
        """Returns a digest of the first rows of `steps`, exact in every digit; empty for no rows."""
        return sha256(repr(self.steps[:rows]))[:SHORT] if rows else ""

    def scores(self) -> dict[str, float]:
        """Final scores by name, `last.main.semibench-1.dice` (mean over cases), with `.std` and `.<class>`; training and
        model figures as `training.*`, `model.*`, `inference.*`. What is undefined is left out."""
        if self.result is None:
            return {}
        values: dict[str, Any] = {}
        for score in self.result.scores:
            stem = f"{score.checkpoint}.{score.predictor}.{score.convention}.{score.metric}"
            values[stem] = score.mean
            values[f"{stem}.std"] = score.std_over_cases
            values.update((f"{stem}.{name}", mean) for name, mean in score.per_class.items())
        for part, figures in self.result.figures.items():
            values.update((f"{part}.{name}", value) for name, value in figures.filled().items())
        return {
            name: float(value)
            for name, value in values.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }


def state_of(folder: Path, status: Status) -> State:
    """Returns the state of a run by its status; a run that is "running" without a process is interrupted."""
    if status.state == "running" and is_abandoned(folder, status.process, status.process_started, status.host):
        return "interrupted"
    return status.state


def planned_state(
    folder: Path, spec: RunSpec, provenance: Provenance, split: SplitRecord, *, force: bool = False
) -> tuple[State, list[str]]:
    """Returns the state of the folder of a planned run, and the reasons if it is stale.

    Args:
        folder: of the run; it may not exist yet.
        spec: of the run.
        provenance: of the planned run.
        split: drawn now.
        force: the folder's content will be replaced, so damage doesn't matter.

    Raises:
        IdentityError: if the folder holds another run.
        RunFolderError: if a file is damaged; the message says what to do.
    """
    try:
        run = _present_run(folder)
        if run is None:
            return "new", []
        if run.spec.key != spec.key:
            raise IdentityError(
                f"{folder} holds another run with the same first {SHORT} characters; choose another --runs folder"
            )
        run.check()
        reasons = run.stale_reasons(provenance, split)
        state = run.state
    except NewerFormatError:
        raise
    except RunFolderError as error:
        if force:
            return "new", []
        raise RunFolderError(f"{error}. Run it again with --force, or put the file back") from error
    if reasons and state != "new":
        return "stale", reasons
    if state in ("interrupted", "failed") and run.resumable:
        return "resumable", []
    return state, []


def _present_run(folder: Path) -> RunFolder | None:
    """Returns the run in a folder, or None if none was started there."""
    return RunFolder(folder) if any((folder / name).exists() for name in MARKERS) else None


def damaged_folders(runs: Path) -> dict[str, str]:
    """Returns the run folders that can't be read or contradict themselves: name -> what is wrong, in one line."""
    reasons = {}
    for folder in sorted(runs.iterdir()):
        if folder.name.startswith("."):
            continue
        try:
            run = _present_run(folder)
            if run is not None:
                run.check()
        except (
            RunFolderError,
            ValueError,
            OSError,
        ) as error:  # ValueError: a spec without a recipe; OSError: no permission
            reasons[folder.name] = reason_of(error, folder)
    return reasons


def reason_of(error: Exception, folder: Path) -> str:
    """Returns the message of an error about a run folder, in one line and without the path of the folder."""
    text = one_line(error) or type(error).__name__
    for path in (folder.absolute(), folder):
        text = text.replace(f"{path}/", "").removeprefix(f"{path}: ")
    return text


def read_object(folder: Path, record: type[R]) -> R:
    """Reads a record that must exist. Raises RunFolderError if it doesn't, or can't be read."""
    content = record.from_disk(folder)
    if content is None:
        raise RunFolderError(f"{folder} has no {record.FILE}; name the folder of a run that is done")
    return content
