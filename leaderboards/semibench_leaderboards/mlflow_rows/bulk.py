"""Rows in a SQLite store of MLflow, many at once: MLflow's own tables in a few transactions instead of a call for each figure.

What is written is what `MlflowClient` would write (tests compare the two). It is used only where the columns of the data base
are exactly those of the installed MLflow's models; anything else goes through the client.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from semibench_leaderboards.mlflow_rows.content import CODE, FINGERPRINT, KEY, KIND, PARENT, ROW, STATE, TrackContent
from semibench_leaderboards.mlflow_rows.store import (
    Child,
    KnownRun,
    RowStore,
    Standing,
    change_of,
    nesting,
    now,
    wanted_tags,
)

WAIT = 120.0
"""Seconds to wait for another process that writes the store."""

PART = 500
"""Values in one query: SQLite takes a limited number."""

TABLES = ("SqlExperiment", "SqlExperimentTag", "SqlRun", "SqlTag", "SqlParam", "SqlMetric", "SqlLatestMetric")


class BulkStore(RowStore):
    """A SQLite file of MLflow. Made by `open_bulk`."""

    def __init__(self, engine: Any, tables: Mapping[str, Any]) -> None:
        self.engine, self.tables = engine, tables

    def close(self) -> None:
        self.engine.dispose()

    def __enter__(self) -> BulkStore:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        """All or nothing. The lock is taken at once, so that a reader never has to become a writer half-way."""
        with self.engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.exec_driver_sql("ROLLBACK")
                raise
            connection.exec_driver_sql("COMMIT")

    # ---- reading ---------------------------------------------------------------------------------------------------
    def standings(self, tracks: Iterable[str]) -> dict[str, Standing]:
        wanted = set(tracks)
        found: dict[str, Standing] = {}
        with self.engine.connect() as connection:
            query = (
                "SELECT e.experiment_id, t.value FROM experiments e JOIN experiment_tags t USING (experiment_id) "
                "WHERE t.key = 'semibench.track' AND e.lifecycle_stage = 'active' ORDER BY e.experiment_id DESC"
            )
            for number, track in connection.exec_driver_sql(query):
                if track in wanted:  # of several the first one made, as for the client
                    found[track] = Standing(str(number), track, {})
            by_id = {int(standing.experiment): standing for standing in found.values()}
            for part in _parts(list(by_id)):
                marks = ",".join("?" * len(part))
                query = f"SELECT experiment_id, key, value FROM experiment_tags WHERE experiment_id IN ({marks})"
                for number, name, text in connection.exec_driver_sql(query, tuple(part)):
                    by_id[number].tags[name] = text
                self._runs(connection, part, by_id)
        return found

    def _runs(self, connection: Any, experiments: Sequence[int], by_id: Mapping[int, Standing]) -> None:
        marks = ",".join("?" * len(experiments))
        where = f"lifecycle_stage = 'active' AND experiment_id IN ({marks})"
        names = (KIND, ROW, KEY, CODE, STATE, PARENT)
        query = (
            "SELECT t.run_uuid, t.key, t.value FROM tags t JOIN runs r USING (run_uuid) "
            f"WHERE t.key IN ({','.join('?' * len(names))}) AND r.{where.replace('experiment_id', 'r.experiment_id')}"
        )
        tags: dict[str, dict[str, str]] = {}
        for run_id, name, text in connection.exec_driver_sql(query, (*names, *experiments)):
            tags.setdefault(run_id, {})[name] = text
        query = f"SELECT run_uuid, name, status, start_time, end_time, experiment_id FROM runs WHERE {where}"
        for run_id, name, status, start, end, number in connection.exec_driver_sql(query, tuple(experiments)):
            mine = tags.get(run_id, {})
            if mine.get(KIND) in ("row", "board"):
                by_id[number].add_parent(KnownRun(run_id, mine.get(ROW, ""), name, status, start, end))
            elif KEY in mine:
                values = (mine.get(tag, "") for tag in (KEY, ROW, CODE, STATE, PARENT))
                by_id[number].children.append(Child(run_id, *values))

    def load(self, standings: Sequence[Standing]) -> None:
        known = {run.run_id: run for standing in standings for run in standing.parents.values()}
        with self.engine.connect() as connection:
            for part in _parts(list(known)):
                marks = ",".join("?" * len(part))
                for table, into in (("tags", "tags"), ("params", "params")):
                    query = f"SELECT run_uuid, key, value FROM {table} WHERE run_uuid IN ({marks})"
                    for run_id, name, text in connection.exec_driver_sql(query, tuple(part)):
                        getattr(known[run_id], into)[name] = text
                query = f"SELECT run_uuid, key, value, is_nan FROM latest_metrics WHERE run_uuid IN ({marks})"
                for run_id, name, value, is_nan in connection.exec_driver_sql(query, tuple(part)):
                    known[run_id].metrics[name] = math.nan if is_nan else value

    # ---- writing ---------------------------------------------------------------------------------------------------
    def write(self, work: Sequence[tuple[Standing, TrackContent]]) -> None:
        rows = _Rows(now())
        with self._transaction() as connection:
            roots = self._artifact_roots(connection, [standing for standing, _ in work])
            for standing, content in work:
                rows.dropped += standing.doubles
                for wanted in content.parents:
                    self._apply(rows, standing, change_of(wanted, standing.parents.get(wanted.row)), roots)
                gone = set(standing.parents) - {wanted.row for wanted in content.parents}
                rows.dropped += [standing.parents.pop(row).run_id for row in gone]
                for run_id, tags in nesting(standing, content).items():
                    rows.tags += [{"key": name, "value": text, "run_uuid": run_id} for name, text in tags.items()]
                rows.experiment_tags += [
                    {"key": name, "value": text, "experiment_id": int(standing.experiment)}
                    for name, text in wanted_tags(standing, content).items()
                ]
            self._put(connection, rows)
        for standing, _ in work:
            standing.doubles.clear()

    def finish(self, work: Sequence[tuple[Standing, TrackContent]]) -> None:
        rows = _Rows(now())
        rows.experiment_tags = [
            {"key": FINGERPRINT, "value": content.fingerprint, "experiment_id": int(standing.experiment)}
            for standing, content in work
        ]
        with self._transaction() as connection:
            self._put(connection, rows)

    def _artifact_roots(self, connection: Any, standings: Sequence[Standing]) -> dict[str, str]:
        found: dict[str, str] = {}
        for part in _parts([int(standing.experiment) for standing in standings]):
            marks = ",".join("?" * len(part))
            query = f"SELECT experiment_id, artifact_location FROM experiments WHERE experiment_id IN ({marks})"
            found |= {str(number): root for number, root in connection.exec_driver_sql(query, tuple(part))}
        return found

    @staticmethod
    def _apply(rows: _Rows, standing: Standing, change: Any, roots: Mapping[str, str]) -> None:
        wanted, tags = change.wanted, dict(change.tags)
        if change.nothing:
            return
        if change.known is None:
            run_id = uuid.uuid4().hex
            standing.parents[wanted.row] = KnownRun(
                run_id, wanted.row, wanted.name, wanted.status, wanted.start, wanted.end
            )
            rows.runs.append(
                {
                    "run_uuid": run_id, "name": wanted.name, "source_type": "UNKNOWN", "source_name": "", "entry_point_name": "",
                    "user_id": "unknown", "status": wanted.status, "start_time": wanted.start, "end_time": wanted.end,
                    "deleted_time": None, "source_version": "", "lifecycle_stage": "active",
                    "artifact_uri": f"{roots[standing.experiment].rstrip('/')}/{run_id}/artifacts",
                    "experiment_id": int(standing.experiment),
                }
            )  # fmt: skip
            tags["mlflow.runName"] = wanted.name
        else:
            run_id = change.known.run_id
            if change.info:
                rows.infos.append((wanted.name, wanted.status, wanted.end, run_id))
                tags["mlflow.runName"] = wanted.name
        rows.tags += [{"key": name, "value": text, "run_uuid": run_id} for name, text in tags.items()]
        rows.params += [{"key": name, "value": text, "run_uuid": run_id} for name, text in change.params.items()]
        for name, value in change.metrics.items():
            nan = math.isnan(value)
            figure = {"key": name, "value": 0.0 if nan else value, "is_nan": nan, "run_uuid": run_id}
            rows.metrics.append(figure | {"timestamp": rows.moment, "step": 0})

    def _put(self, connection: Any, rows: _Rows) -> None:
        from sqlalchemy.dialects.sqlite import insert

        tables = self.tables
        for run_id in rows.dropped:
            connection.exec_driver_sql(
                "UPDATE runs SET lifecycle_stage = 'deleted', deleted_time = ? WHERE run_uuid = ?",
                (rows.moment, run_id),
            )
        for values in rows.infos:
            connection.exec_driver_sql("UPDATE runs SET name = ?, status = ?, end_time = ? WHERE run_uuid = ?", values)
        if rows.runs:
            connection.execute(insert(tables["SqlRun"]), rows.runs)
        if rows.params:
            connection.execute(insert(tables["SqlParam"]).on_conflict_do_nothing(), rows.params)
        for name, keys, records in (
            ("SqlTag", ("key", "run_uuid"), rows.tags),
            ("SqlExperimentTag", ("key", "experiment_id"), rows.experiment_tags),
            ("SqlLatestMetric", ("key", "run_uuid"), rows.metrics),
        ):
            if records:
                statement = insert(tables[name])
                changed = {column: statement.excluded[column] for column in records[0] if column not in keys}
                connection.execute(statement.on_conflict_do_update(index_elements=list(keys), set_=changed), records)
        if rows.metrics:
            connection.execute(insert(tables["SqlMetric"]).on_conflict_do_nothing(), rows.metrics)


class _Rows:
    """Rows of a transaction. moment: ms since 1970."""

    def __init__(self, moment: int) -> None:
        self.moment = moment
        self.dropped: list[str] = []
        self.infos: list[tuple[str, str, int | None, str]] = []
        self.runs: list[dict[str, Any]] = []
        self.tags: list[dict[str, Any]] = []
        self.params: list[dict[str, Any]] = []
        self.metrics: list[dict[str, Any]] = []
        self.experiment_tags: list[dict[str, Any]] = []


def _parts(items: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(items), PART):
        yield items[start : start + PART]


def open_bulk(file: Path) -> BulkStore | None:
    """The store in a SQLite file that `open_store` has opened before; None where its tables aren't those of the installed
    MLflow, or this MLflow has no such models."""
    from sqlalchemy import create_engine, inspect

    try:
        from mlflow.store.tracking.dbmodels import models
    except ImportError:
        return None
    if not all(hasattr(models, name) for name in TABLES):
        return None
    tables = {name: getattr(models, name).__table__ for name in TABLES}
    engine = create_engine(
        f"sqlite:///{file}", isolation_level="AUTOCOMMIT", connect_args={"timeout": WAIT, "check_same_thread": False}
    )
    found = inspect(engine)
    present = set(found.get_table_names())
    for table in tables.values():
        columns = {column["name"] for column in found.get_columns(table.name)} if table.name in present else set()
        if columns != {column.name for column in table.columns}:
            engine.dispose()
            return None
    return BulkStore(engine, tables)
