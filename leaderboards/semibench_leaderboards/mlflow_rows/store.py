"""What a store of MLflow knows about rows, what has to change there, and the way through MLflow's client."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
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
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

PAGE = 1000
"""Runs in one answer of `search_runs`, and most figures in one `log_batch`."""


@dataclass
class KnownRun:
    """A parent run as the store has it; tags, params and metrics are filled in by `RowStore.load`."""

    run_id: str
    row: str
    name: str
    status: str
    start: int
    end: int | None
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Child:
    """A mirrored run: its key, row, code (12 characters), state, and the run it is nested under."""

    run_id: str
    key: str
    row: str
    code: str
    state: str
    parent: str


@dataclass
class Standing:
    """One experiment. parents: by row; doubles: ids of further runs for a row (two syncs on two machines met)."""

    experiment: str
    track: str
    tags: dict[str, str]
    parents: dict[str, KnownRun] = field(default_factory=dict)
    doubles: list[str] = field(default_factory=list)
    children: list[Child] = field(default_factory=list)

    def add_parent(self, known: KnownRun) -> None:
        """Of two for a row the older one stays, on every machine the same."""
        other = self.parents.get(known.row)
        if other is None:
            self.parents[known.row] = known
            return
        first, second = sorted((other, known), key=lambda run: (run.start, run.run_id))
        self.parents[known.row] = first
        self.doubles.append(second.run_id)

    def whole(self, content_rows: int, rows_of: Mapping[str, str]) -> bool:
        """Whether every row has its parent and every run is nested under its row."""
        if len(self.parents) != content_rows + 1 or self.doubles:
            return False
        ids = {row: known.run_id for row, known in self.parents.items()}
        return all(child.parent == ids.get(rows_of.get(child.key, child.row), "") for child in self.children)


@dataclass(frozen=True)
class Change:
    """What one parent run needs. known: None where it is to be made."""

    wanted: ParentRun
    known: KnownRun | None
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    info: bool

    @property
    def nothing(self) -> bool:
        return self.known is not None and not (self.tags or self.params or self.metrics or self.info)


def change_of(wanted: ParentRun, known: KnownRun | None) -> Change:
    """The difference. A figure that a row doesn't have any more becomes NaN: MLflow forgets no metric."""
    if known is None:
        return Change(wanted, None, wanted.tags, wanted.params, wanted.metrics, True)
    tags = {name: text for name, text in wanted.tags.items() if known.tags.get(name) != text}
    params = {name: text for name, text in wanted.params.items() if name not in known.params}
    metrics = {name: value for name, value in wanted.metrics.items() if known.metrics.get(name) != value}
    gone = [name for name, value in known.metrics.items() if name not in wanted.metrics and not math.isnan(value)]
    metrics |= dict.fromkeys(gone, math.nan)
    info = (known.name, known.status, known.end) != (wanted.name, wanted.status, wanted.end)
    return Change(wanted, known, tags, params, metrics, info)


class RowStore(ABC):
    """A store of MLflow, as far as rows go."""

    @abstractmethod
    def standings(self, tracks: Iterable[str]) -> dict[str, Standing]:
        """What there is of some tracks (digests in full) in active experiments and runs; parents without their figures."""

    @abstractmethod
    def load(self, standings: Sequence[Standing]) -> None:
        """Fills in the figures of their parents."""

    @abstractmethod
    def write(self, work: Sequence[tuple[Standing, TrackContent]]) -> None:
        """Brings rows, nesting and the experiment's note to what is wanted; all but the fingerprint. Standings are as
        the store is afterwards, but for figures."""

    @abstractmethod
    def finish(self, work: Sequence[tuple[Standing, TrackContent]]) -> None:
        """Notes that these tracks are done."""


def wanted_tags(standing: Standing, content: TrackContent) -> dict[str, str]:
    """Tags of the experiment that differ."""
    made = {name: text.replace(EXPERIMENT_ID, standing.experiment) for name, text in content.tags.items()}
    return {name: text for name, text in made.items() if standing.tags.get(name) != text}


def nesting(standing: Standing, content: TrackContent) -> dict[str, dict[str, str]]:
    """Run id of a child -> tags that it lacks."""
    found = {}
    for child in standing.children:
        row = content.rows_of.get(child.key, child.row)
        parent = standing.parents.get(row)
        if parent is not None and child.parent != parent.run_id:
            found[child.run_id] = {PARENT: parent.run_id, KIND: "run", ROW: row}
    return found


def now() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)


class ClientStore(RowStore):
    """Through MLflow's client: any store, also a server; a few milliseconds for every run that changes."""

    def __init__(self, client: MlflowClient) -> None:
        self.client = client

    def standings(self, tracks: Iterable[str]) -> dict[str, Standing]:
        found = {}
        for track in tracks:
            for experiment in self.client.search_experiments(filter_string=f"tags.`semibench.track` = '{track}'"):
                if track in found:
                    continue
                standing = Standing(str(experiment.experiment_id), track, dict(experiment.tags))
                for run in self._runs(standing.experiment):
                    _sort_in(standing, run)
                found[track] = standing
        return found

    def _runs(self, experiment: str) -> Iterable[Run]:
        token = None
        while True:
            page = self.client.search_runs([experiment], max_results=PAGE, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def load(self, standings: Sequence[Standing]) -> None:
        for standing in standings:
            for known in standing.parents.values():
                data = self.client.get_run(known.run_id).data
                known.tags, known.params, known.metrics = dict(data.tags), dict(data.params), dict(data.metrics)

    def write(self, work: Sequence[tuple[Standing, TrackContent]]) -> None:
        for standing, content in work:
            for run_id in standing.doubles:
                self.client.delete_run(run_id)
            standing.doubles.clear()
            for wanted in content.parents:
                self._apply(standing, change_of(wanted, standing.parents.get(wanted.row)))
            for row in set(standing.parents) - {wanted.row for wanted in content.parents}:
                self.client.delete_run(standing.parents.pop(row).run_id)
            for run_id, tags in nesting(standing, content).items():
                self._log(run_id, tags=tags)
            for name, text in wanted_tags(standing, content).items():
                self.client.set_experiment_tag(standing.experiment, name, text)

    def finish(self, work: Sequence[tuple[Standing, TrackContent]]) -> None:
        for standing, content in work:
            self.client.set_experiment_tag(standing.experiment, FINGERPRINT, content.fingerprint)

    def _apply(self, standing: Standing, change: Change) -> None:
        if change.nothing:
            return
        wanted = change.wanted
        if change.known is None:
            made = self.client.create_run(
                standing.experiment, start_time=wanted.start, run_name=wanted.name, tags=dict(change.tags)
            )
            run_id = str(made.info.run_id)
            known = KnownRun(run_id, wanted.row, wanted.name, wanted.status, wanted.start, wanted.end)
            standing.parents[wanted.row] = known
            self._log(run_id, params=change.params, metrics=change.metrics)
        else:
            run_id = change.known.run_id
            self._log(run_id, tags=change.tags, params=change.params, metrics=change.metrics)
        if change.info and wanted.status == "RUNNING":
            self.client.update_run(run_id, status=wanted.status, name=wanted.name)
        elif change.info:
            self.client.set_terminated(run_id, status=wanted.status, end_time=wanted.end)
            self.client.update_run(run_id, name=wanted.name)

    def _log(
        self, run_id: str, *, tags: Mapping[str, str] | None = None, params: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> None:  # fmt: skip
        from mlflow.entities import Metric, Param, RunTag

        moment = now()
        parts: dict[str, list[Any]] = {
            "tags": [RunTag(name, text) for name, text in (tags or {}).items()],
            "params": [Param(name, text) for name, text in (params or {}).items()],
            "metrics": [Metric(name, value, moment, 0) for name, value in (metrics or {}).items()],
        }
        for kind, items in parts.items():
            size = PAGE if kind == "metrics" else 100
            for start in range(0, len(items), size):
                self.client.log_batch(run_id, **{kind: items[start : start + size]})


def _sort_in(standing: Standing, run: Run) -> None:
    tags, info = run.data.tags, run.info
    if tags.get(KIND) in ("row", "board"):
        end = None if info.end_time is None else int(info.end_time)
        standing.add_parent(
            KnownRun(info.run_id, tags.get(ROW, ""), str(info.run_name), str(info.status), int(info.start_time), end)
        )
    elif KEY in tags:
        values = (tags.get(name, "") for name in (KEY, ROW, CODE, STATE, PARENT))
        standing.children.append(Child(info.run_id, *values))
