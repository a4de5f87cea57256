"""The index of a folder of runs: a SQLite file with everything that lists and boards need, so that each run folder is read once.

It is only a cache of the records in the run folders; if it is deleted, it is built again. A folder is read again when the time
or the size of one of its records changes. Several processes may use it: each writes in one transaction.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Self

from semibench.contracts.identity import SHORT, Entry, Replicate, Track
from semibench.data.workers import free_cores, over_all
from semibench.runfolder.format import SPEC_FILE
from semibench.runfolder.reading import MARKERS
from semibench.runfolder.records import Provenance, Result, SplitRecord, Status
from semibench.runfolder.tables import SCORES_FILE
from semibench_leaderboards.reading.indexed_folder import COLUMNS, read_folder
from semibench_leaderboards.reading.run_filter import RunFilter

NAME = ".index.sqlite"
VERSION = 5
"""Raised when the tables change; an index of another version is rebuilt."""

WAIT = 60.0
"""Seconds to wait for another process that writes the index."""

READ_AT_ONCE = 50
"""Run folders that a process reads in one go."""

STAMPED = (SPEC_FILE, Status.FILE, Provenance.FILE, SplitRecord.FILE, Result.FILE, SCORES_FILE)
"""The files whose times and sizes show whether a folder has changed."""

TABLES = """
CREATE TABLE IF NOT EXISTS runs (
    folder TEXT PRIMARY KEY, stamp TEXT NOT NULL, error TEXT, key TEXT, row TEXT, track TEXT, entry TEXT,
    draw INTEGER, fold INTEGER, seed INTEGER, state TEXT, ended TEXT, code TEXT, phantom INTEGER,
    protocol TEXT, dataset TEXT, recipe TEXT, method TEXT, backbone TEXT,
    status TEXT, provenance TEXT, split TEXT, result TEXT, copy_of TEXT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_key ON runs (key);
CREATE INDEX IF NOT EXISTS by_track ON runs (track);
CREATE INDEX IF NOT EXISTS by_dataset ON runs (dataset, protocol, recipe);
CREATE TABLE IF NOT EXISTS parts (digest TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS scores (folder TEXT PRIMARY KEY, packed BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cases (
    folder TEXT, checkpoint TEXT, predictor TEXT, convention TEXT, metric TEXT, caseset TEXT, classes TEXT, figures BLOB,
    PRIMARY KEY (folder, checkpoint, predictor, convention, metric)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS casesets (digest TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Listed:
    """One run as it is stored in the index."""

    folder: str
    """Name of the folder."""
    key: str
    row: str
    track: str
    of_track: Track
    entry: Entry
    replicate: Replicate
    code: str
    state: str
    """As status.json says it; "new" where there is none."""
    status: str
    """JSON; empty where there is none."""
    provenance: Provenance
    split: str
    """Digest of the drawn split; empty where none is recorded."""
    result: str
    """JSON of the result without its scores; empty where there is none."""
    scores: bytes
    """Packed JSON of the scores, or empty."""


class Index:
    """The index of one folder of runs. A context manager that closes it."""

    def __init__(self, runs: Path, file: Path | None) -> None:
        """file: of the index; None keeps it in memory, for a folder that can't be written."""
        self.runs, self.file = runs, file
        self.connection = self._open()

    @classmethod
    def of(cls, runs: Path) -> Index:
        """The index that is stored in the folder of the runs, or one in memory where the folder can't be written."""
        file = runs / NAME
        writable = os.access(file if file.exists() else runs, os.W_OK)
        return cls(runs, file if writable else None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.connection.close()

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.DatabaseError:
            if self.file is None or not self._is_damaged():
                raise
        self.file.unlink(missing_ok=True)  # a cache, which is built again
        return self._connect()

    def _is_damaged(self) -> bool:
        """Whether the file is not a data base. A lock that another process holds is not damage."""
        assert self.file is not None
        with self.file.open("rb") as handle:
            head = handle.read(16)
        if head and head != b"SQLite format 3\x00":
            return True
        try:
            with sqlite3.connect(self.file, timeout=WAIT) as probe:
                return probe.execute("PRAGMA quick_check").fetchone()[0] != "ok"
        except sqlite3.OperationalError:
            return False
        except sqlite3.DatabaseError:
            return True

    def _connect(self) -> sqlite3.Connection:
        if self.file is not None:
            self.file.touch()  # with the umask's permissions, which SQLite would restrict
        connection = sqlite3.connect(self.file or ":memory:", timeout=WAIT, isolation_level=None)
        try:
            if connection.execute("PRAGMA user_version").fetchone()[0] != VERSION:
                connection.execute("BEGIN IMMEDIATE")
                if connection.execute("PRAGMA user_version").fetchone()[0] != VERSION:
                    for table in ("runs", "parts", "scores", "cases", "casesets"):
                        connection.execute(f"DROP TABLE IF EXISTS {table}")
                    for statement in TABLES.split(";"):
                        connection.execute(statement)
                    connection.execute(f"PRAGMA user_version = {VERSION}")
                connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commits everything or nothing; other processes wait."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    # ---- refreshing ------------------------------------------------------------------------------------------------
    def refresh(self) -> int:
        """Reads new and changed folders and removes deleted ones; returns how many it read or removed."""
        known = dict(self.connection.execute("SELECT folder, stamp FROM runs"))
        present: set[str] = set()
        changed: list[tuple[str, str]] = []
        with os.scandir(self.runs) as entries:
            for entry in entries:
                if entry.name.startswith(".") or not _is_text(entry.name):
                    continue
                stamp = _stamp(entry.path)
                if stamp is None:
                    continue
                present.add(entry.name)
                if known.get(entry.name) != stamp:
                    changed.append((entry.name, stamp))
        gone = [name for name in known if name not in present]
        if not changed and not gone:
            return 0
        read = list(
            over_all(partial(read_folder, self.runs), sorted(changed), workers=free_cores(), batch=READ_AT_ONCE)
        )
        with self.transaction():
            drop = [(name,) for name in (*gone, *(name for name, _ in changed))]
            for table in ("runs", "scores", "cases"):
                self.connection.executemany(f"DELETE FROM {table} WHERE folder = ?", drop)
            marks = ", ".join("?" * len(COLUMNS))
            self.connection.executemany(f"INSERT OR REPLACE INTO runs VALUES ({marks})", [item.values for item in read])
            parts = {digest: text for item in read for digest, text in item.parts.items()}
            self.connection.executemany("INSERT OR IGNORE INTO parts VALUES (?, ?)", list(parts.items()))
            packed = [(item.folder, item.scores) for item in read if item.scores]
            self.connection.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?)", packed)
            self._mark_copies()
        return len(changed) + len(gone)

    def _mark_copies(self) -> None:
        """Marks copies of a run. The folder named by the run's key represents it, or else the first one by name."""
        self.connection.execute("UPDATE runs SET copy_of = NULL WHERE copy_of IS NOT NULL")
        self.connection.execute(f"""
            UPDATE runs SET copy_of = (
                SELECT folder FROM runs AS other WHERE other.key = runs.key AND other.error IS NULL
                ORDER BY other.folder != substr(other.key, 1, {SHORT}), other.folder LIMIT 1
            ) WHERE error IS NULL AND key IN (
                SELECT key FROM runs WHERE error IS NULL GROUP BY key HAVING count(*) > 1
            )""")
        self.connection.execute("UPDATE runs SET copy_of = NULL WHERE copy_of = folder")

    def mark_damaged(self, faults: Mapping[str, str]) -> None:
        """Marks folders (name -> reason) that turned out to be unreadable; they are left out until they change."""
        with self.transaction():
            pairs = [(why, folder) for folder, why in faults.items()]
            self.connection.executemany("UPDATE runs SET error = ? WHERE folder = ?", pairs)
            self._mark_copies()

    # ---- reading ---------------------------------------------------------------------------------------------------
    def listed(self, run_filter: RunFilter, *, scores: bool, methods: Collection[str] | None = None) -> list[Listed]:
        """The readable runs that match a filter, of all methods or of those with these full names."""
        condition, values = _condition(run_filter)
        if methods is not None:
            condition += f" AND method IN ({', '.join('?' * len(methods))})"
            values += methods
        packed = "scores.packed" if scores else "NULL"
        join = "LEFT JOIN scores ON scores.folder = runs.folder" if scores else ""
        names = "runs.folder, key, row, track, entry, draw, fold, seed, code, state, status, provenance, split, result"
        rows = self.connection.execute(
            f"SELECT {names}, {packed} FROM runs {join} WHERE {condition}", values
        ).fetchall()
        parts = self._parts({row[3] for row in rows}, {row[4] for row in rows})
        # runs share these: each is made once
        replicate = cache(lambda *axes: Replicate(**dict(zip(Replicate.model_fields, axes, strict=True))))
        provenance = cache(Provenance.model_validate_json)
        return [
            Listed(
                folder, key, row, track, parts[track], parts[entry], replicate(draw, fold, seed), code, state, status or "",
                provenance(recorded), split, result or "", blob or b"",
            )
            for folder, key, row, track, entry, draw, fold, seed, code, state, status, recorded, split, result, blob in rows
        ]  # fmt: skip

    def _parts(self, tracks: set[str], entries: set[str]) -> dict[str, Any]:
        """Track and Entry records by digest, each parsed once and shared by its runs."""
        parts: dict[str, Any] = {}
        for digests, kind in ((tracks, Track), (entries, Entry)):
            for digest in digests:
                row = self.connection.execute("SELECT text FROM parts WHERE digest = ?", (digest,)).fetchone()
                parts[digest] = kind.model_validate_json(row[0])
        return parts

    def newest_codes(self, run_filter: RunFilter) -> dict[str, str]:
        """Row -> code of its newest finished run, or of its newest run where none has finished, in the tracks of a filter."""
        condition, values = _condition(run_filter.of_tracks())
        query = f"SELECT row, code FROM runs WHERE {condition} AND code != '' ORDER BY state = 'done', ended"
        return dict(self.connection.execute(query, values))

    # ---- scores by case --------------------------------------------------------------------------------------------
    def stored_cases(self, folder: str, key: Sequence[str]) -> tuple[str, str, bytes] | None:
        """Digest of the case set, classes and packed figures of a run's metric; None where they aren't stored.

        key: (checkpoint, predictor, convention, metric).
        """
        columns = ("folder", "checkpoint", "predictor", "convention", "metric")
        condition = " AND ".join(f"{column} = ?" for column in columns)
        query = f"SELECT caseset, classes, figures FROM cases WHERE {condition}"
        row: tuple[str, str, bytes] | None = self.connection.execute(query, (folder, *key)).fetchone()
        return row

    def stored_case_set(self, digest: str) -> str:
        """JSON of a case set."""
        row = self.connection.execute("SELECT text FROM casesets WHERE digest = ?", (digest,)).fetchone()
        return str(row[0])

    def store_cases(self, case_sets: Mapping[str, str], rows: Sequence[tuple[Any, ...]]) -> None:
        """Adds case sets (digest -> JSON) and rows (folder, key, digest of the case set, classes, figures).

        Rows of folders that were removed or changed meanwhile are deleted by the next refresh.
        """
        with self.transaction():
            self.connection.executemany("INSERT OR IGNORE INTO casesets VALUES (?, ?)", list(case_sets.items()))
            self.connection.executemany("INSERT OR REPLACE INTO cases VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    # ---- what is left out ------------------------------------------------------------------------------------------
    def broken(self) -> dict[str, str]:
        """Folders that can't be read -> reason."""
        return dict(self.connection.execute("SELECT folder, error FROM runs WHERE error IS NOT NULL ORDER BY folder"))

    def copies(self) -> dict[str, str]:
        """Copies of a run: name of the folder -> name of the folder that represents the run."""
        return dict(
            self.connection.execute("SELECT folder, copy_of FROM runs WHERE copy_of IS NOT NULL ORDER BY folder")
        )


def _is_text(name: str) -> bool:
    """Whether a file name is UTF-8. The harness writes no other names."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _stamp(folder: str) -> str | None:
    """Times and sizes of the records of a run; None for a folder without a run."""
    stamps = {}
    for name in STAMPED:
        try:
            status = os.stat(f"{folder}/{name}")  # noqa: PTH116  (sixty thousand calls)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:  # reading the file reports it
            stamps[name] = f"!{error.errno}"
        else:
            stamps[name] = f"{status.st_mtime_ns}.{status.st_size}"
    if not stamps.keys() & set(MARKERS):
        return None
    return " ".join(stamps.get(name, "-") for name in STAMPED)


def _condition(run_filter: RunFilter) -> tuple[str, list[Any]]:
    """A filter as an SQL condition, with its values."""
    parts: list[str] = ["error IS NULL", "copy_of IS NULL"]
    values: list[Any] = []
    for name, value in run_filter.conditions.items():
        if name in ("track", "row", "key"):
            parts.append(f"substr({name}, 1, ?) = ?")
            values += [len(str(value)), str(value)]
        elif name == "phantom":
            parts.append("phantom = ?")
            values.append(int(value))
        else:
            parts.append(f"({name} = ? OR substr({name}, instr({name}, ':') + 1) = ?)")
            values += [str(value), str(value)]
    return " AND ".join(parts), values
