"""Rows in an MLflow store: what the store has, what has to change, and the calls of MLflow's client that change it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from semibench_leaderboards.mlflow_rows.content import (
    CODE,
    EXPERIMENT_ID,
    FINGERPRINT,
    KEY,
    KIND,
    PARENT,
    ROW,
    STATE,
    ParentRun,
    TrackContent,
)

if TYPE_CHECKING:
    from mlflow.entities import Experiment, Run
    from mlflow.tracking import MlflowClient

PAGE = 1000
"""Most experiments or runs that MLflow returns in one answer."""

EXPERIMENTS = 100
"""Experiments whose runs are searched in one query: data bases limit the values of a query."""


@dataclass(frozen=True)
class StoredParent:
    """A parent run as the store has it."""

    run_id: str
    row: str
    name: str
    status: str
    start: int
    end: int | None
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredChild:
    """A mirrored run as the store has it."""

    run_id: str
    key: str
    row: str
    code: str
    """Digest of the code that made it, 12 characters."""
    state: str
    parent: str
    """Id of the run that it is nested under, empty where there is none."""


@dataclass
class StoredTrack:
    """The experiment of a track as the store has it."""

    experiment: str
    track: str
    tags: dict[str, str]
    parents: dict[str, StoredParent] = field(default_factory=dict)
    """By row."""
    duplicates: list[str] = field(default_factory=list)
    """Ids of further parent runs of a row: two machines synced at the same time."""
    children: list[StoredChild] = field(default_factory=list)

    def add_run(self, run: Run) -> None:
        """Files a run of the experiment under parents or children; runs of neither kind are ignored."""
        tags, info = run.data.tags, run.info
        if tags.get(KIND) in ("row", "board"):
            end = None if info.end_time is None else int(info.end_time)
            self._add_parent(
                StoredParent(
                    info.run_id, tags.get(ROW, ""), str(info.run_name), str(info.status), int(info.start_time), end,
                    tags=dict(tags), params=dict(run.data.params), metrics=dict(run.data.metrics),
                )
            )  # fmt: skip
        elif KEY in tags:
            self.children.append(
                StoredChild(info.run_id, *(tags.get(name, "") for name in (KEY, ROW, CODE, STATE, PARENT)))
            )

    def _add_parent(self, parent: StoredParent) -> None:
        """Keeps the older of two parents of one row, so that every machine keeps the same one."""
        other = self.parents.get(parent.row)
        if other is None:
            self.parents[parent.row] = parent
            return
        older, newer = sorted((other, parent), key=lambda run: (run.start, run.run_id))
        self.parents[parent.row] = older
        self.duplicates.append(newer.run_id)

    def complete(self, row_count: int, rows_of: Mapping[str, str]) -> bool:
        """Whether every row has exactly one parent and every run is nested under its row."""
        if len(self.parents) != row_count + 1 or self.duplicates:
            return False
        ids = {row: parent.run_id for row, parent in self.parents.items()}
        return all(child.parent == ids.get(rows_of.get(child.key, child.row), "") for child in self.children)


@dataclass(frozen=True)
class ParentChange:
    """What has to be written to one parent run."""

    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]


def parent_change(target: ParentRun, stored: StoredParent) -> ParentChange:
    """The values that differ. A metric that a row no longer has becomes NaN, because MLflow can't delete metrics."""
    metrics = {name: value for name, value in target.metrics.items() if stored.metrics.get(name) != value}
    obsolete = [name for name, value in stored.metrics.items() if name not in target.metrics and not math.isnan(value)]
    return ParentChange(
        tags={name: text for name, text in target.tags.items() if stored.tags.get(name) != text},
        params={name: text for name, text in target.params.items() if name not in stored.params},
        metrics=metrics | dict.fromkeys(obsolete, math.nan),
    )


def experiment_tags(stored: StoredTrack, content: TrackContent) -> dict[str, str]:
    """The tags of the experiment that differ."""
    tags = {name: text.replace(EXPERIMENT_ID, stored.experiment) for name, text in content.tags.items()}
    return {name: text for name, text in tags.items() if stored.tags.get(name) != text}


def nesting_tags(stored: StoredTrack, content: TrackContent) -> dict[str, dict[str, str]]:
    """Id of a child run -> the tags that nest it under its row; children that are nested already are left out."""
    tags_by_child = {}
    for child in stored.children:
        row = content.rows_of.get(child.key, child.row)
        parent = stored.parents.get(row)
        if parent is not None and child.parent != parent.run_id:
            tags_by_child[child.run_id] = {PARENT: parent.run_id, KIND: "run", ROW: row}
    return tags_by_child


class RowStore:
    """Reads and writes the rows of tracks through MLflow's client, so any kind of store works.

    It takes two searches to read all tracks, one or two calls for a row that changed, three for a new row, and one for each
    run that isn't nested yet.
    """

    def __init__(self, client: MlflowClient) -> None:
        self.client = client

    def read(self, tracks: Iterable[str]) -> dict[str, StoredTrack]:
        """Digest of a track -> what the store has of it, in active experiments and runs. tracks: digests in full."""
        wanted = list(dict.fromkeys(tracks))
        stored: dict[str, StoredTrack] = {}
        for experiment in self._experiments(wanted):
            track = experiment.tags.get("semibench.track", "")
            if track in wanted and track not in stored:
                stored[track] = StoredTrack(str(experiment.experiment_id), track, dict(experiment.tags))
        by_experiment = {item.experiment: item for item in stored.values()}
        for run in self._runs(list(by_experiment)):
            by_experiment[str(run.info.experiment_id)].add_run(run)
        return stored

    def _experiments(self, tracks: Sequence[str]) -> Iterator[Experiment]:
        """The oldest first, so that of two experiments of one track every process takes the same."""
        condition = f"tags.`semibench.track` = '{tracks[0]}'" if len(tracks) == 1 else None
        token = None
        while tracks:
            page = self.client.search_experiments(
                filter_string=condition, max_results=PAGE, page_token=token, order_by=["creation_time ASC"]
            )
            yield from page
            token = page.token
            if not token:
                return

    def _runs(self, experiments: Sequence[str]) -> Iterator[Run]:
        for start in range(0, len(experiments), EXPERIMENTS):
            token = None
            while True:
                page = self.client.search_runs(
                    list(experiments[start : start + EXPERIMENTS]), max_results=PAGE, page_token=token
                )
                yield from page
                token = page.token
                if not token:
                    break

    def write(self, stored: StoredTrack, content: TrackContent) -> None:
        """Brings rows, nesting and the tags of the experiment up to date, all but the fingerprint.

        `stored.parents` has an entry for every row afterwards.
        """
        for run_id in stored.duplicates:
            self.client.delete_run(run_id)
        stored.duplicates.clear()
        for target in content.parents:
            known = stored.parents.get(target.row)
            if known is None:
                stored.parents[target.row] = self._create(stored.experiment, target)
            else:
                self._update(known, target)
        for row in set(stored.parents) - {target.row for target in content.parents}:
            self.client.delete_run(stored.parents.pop(row).run_id)
        for run_id, tags in nesting_tags(stored, content).items():
            self._log(run_id, tags=tags)
        for name, text in experiment_tags(stored, content).items():
            self.client.set_experiment_tag(stored.experiment, name, text)

    def finish(self, stored: StoredTrack, content: TrackContent) -> None:
        """Records that the track is complete. Written last, so that an interrupted sync is repeated."""
        self.client.set_experiment_tag(stored.experiment, FINGERPRINT, content.fingerprint)

    def _create(self, experiment: str, target: ParentRun) -> StoredParent:
        run = self.client.create_run(experiment, start_time=target.start, run_name=target.name, tags=dict(target.tags))
        run_id = str(run.info.run_id)
        self._log(run_id, params=target.params, metrics=target.metrics)
        if target.status != "RUNNING":
            self.client.set_terminated(run_id, status=target.status, end_time=target.end)
        return StoredParent(run_id, target.row, target.name, target.status, target.start, target.end)

    def _update(self, known: StoredParent, target: ParentRun) -> None:
        change = parent_change(target, known)
        self._log(known.run_id, tags=change.tags, params=change.params, metrics=change.metrics)
        if (known.status, known.end) != (target.status, target.end):
            if target.status == "RUNNING":
                self.client.update_run(known.run_id, status=target.status)
            else:
                self.client.set_terminated(known.run_id, status=target.status, end_time=target.end)
        if known.name != target.name:
            self.client.update_run(known.run_id, name=target.name)

    def _log(
        self, run_id: str, *, tags: Mapping[str, str] | None = None, params: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> None:  # fmt: skip
        from mlflow.entities import Metric, Param, RunTag

        now = int(time.time() * 1000)
        batch: dict[str, list[Any]] = {
            "metrics": [Metric(name, value, now, 0) for name, value in (metrics or {}).items()],
            "params": [Param(name, text) for name, text in (params or {}).items()],
            "tags": [RunTag(name, text) for name, text in (tags or {}).items()],
        }
        if any(batch.values()):
            self.client.log_batch(run_id, **batch)
