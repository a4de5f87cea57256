"""Measures how long it takes to write the leaderboards of many runs to MLflow, next to MLflow's own search on that store.

    python speed/leaderboard_sync.py --runs 10000 --folder /tmp/many
    python speed/leaderboard_sync.py --runs 10000 --runs 20000 --runs 50000 --folder /tmp/many

The run folders and the store are those of leaderboard_size.py (200 runs per track: 40 rows of 5 seeds; 10 metrics and 20
params per run); the store gets the tags that the mirror writes. Each measurement runs in a fresh process after its imports:

- first sync, nothing known: no index next to the runs, no rows in the store;
- first sync: the index exists (from any `bench leaderboard` or `bench runs`), no rows in the store;
- sync after one run: one more run of one track ended;
- sync, nothing new;
- first sync of one track.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from leaderboard_size import EXPERIMENT, PRELUDE, SEARCH_ALL, seconds_of, specs, write_folders, write_store

from semibench.contracts.identity import SHORT
from semibench_leaderboards.reading.index import NAME
from semibench_leaderboards.reading.records import read_runs

SYNC = (
    PRELUDE
    + """
from pathlib import Path
import mlflow, numpy, scipy.stats, pyarrow.parquet, pandas, sqlalchemy, matplotlib.figure, matplotlib.backends.backend_agg
import mlflow.store.tracking.sqlalchemy_store, semibench_leaderboards.ranking.boards, semibench_leaderboards.ranking.ranks
from semibench.tracking import open_store
from semibench_leaderboards.mlflow_rows.sync import sync
open_store("sqlite:///" + store)
start, worked = time.perf_counter(), time.process_time()
found = sync(Path(runs), "sqlite:///" + store, tracks=TRACKS)
print(found, file=sys.stderr)
assert not found.warnings and not found.mirrored and found.tracks == EXPECTED, found
print(time.perf_counter() - start, time.process_time() - worked)
"""
)


def code(expected: int, *, tracks: str = "None") -> str:
    """The program of one measurement; expected: tracks it must write."""
    return SYNC.replace("EXPECTED", str(expected)).replace("TRACKS", tracks)


def as_mirrored(runs: Path, store: Path, count: int) -> None:
    """Gives experiments and runs the tags of `semibench.tracking.mirror`."""
    records = {record.key: record for record in read_runs(runs, scores=False)}
    with sqlite3.connect(store) as base:
        tracks = {number: spec.track.digest() for number, spec in specs(count)}
        ids = dict(base.execute("SELECT name, experiment_id FROM experiments"))
        for number, digest in tracks.items():
            experiment = ids[EXPERIMENT.format(number)]
            root = f"file://{store.parent}/mlartifacts/{digest[:SHORT]}"
            base.execute("UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (root, experiment))
            base.execute("INSERT INTO experiment_tags VALUES ('semibench.track', ?, ?)", (digest, experiment))
        tags = []
        for run, key in base.execute("SELECT run_uuid, value FROM tags WHERE key = 'semibench.key'").fetchall():
            record = records[key]
            facts = {"row": record.row[:SHORT], "code": record.code[:SHORT], "state": record.state}
            tags += [(f"semibench.{name}", text, run) for name, text in facts.items()]
        base.executemany("INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)", tags)


def forget(store: Path, keep: Path) -> None:
    """Restores the store to its state before any sync."""
    for file in store.parent.glob(f"{store.name}*"):
        file.unlink()
    shutil.copy(keep, store)
    shutil.rmtree(store.parent / "mlartifacts", ignore_errors=True)


def touch_one(runs: Path, spec: Any) -> None:
    """Gives one run of the first track a new end time."""
    file = runs / spec.key[:SHORT] / "status.json"
    status = json.loads(file.read_text()) | {"ended": "2026-01-02T00:00:00+00:00"}
    file.write_text(json.dumps(status))


def measure(folder: Path, count: int) -> dict[str, Any]:
    """Returns all figures for one number of runs, in seconds: wall time, and CPU time as [processor]."""
    runs, store, keep = folder / "runs", folder / "mlflow.db", folder / "before.db"
    shutil.rmtree(folder, ignore_errors=True)  # One folder per size, because MLflow caches connections by address.
    folder.mkdir(parents=True)
    figures: dict[str, Any] = {"runs": count}
    start = time.perf_counter()
    write_folders(runs, count)
    write_store(store, count)
    as_mirrored(runs, store, count)
    shutil.copy(store, keep)
    figures["made"] = time.perf_counter() - start
    first = next(spec for _, spec in specs(1))
    tracks = len({number for number, _ in specs(count)})
    one = f"[{first.track.digest()!r}]"
    (runs / NAME).unlink()
    words = (str(runs), str(store), first.track.digest()[:SHORT])

    def again(program: str) -> Callable[[], tuple[float, float]]:
        return lambda: seconds_of(program, *words)

    steps: list[tuple[str, Callable[[], Any] | None, Callable[[], tuple[float, float]]]] = [
        ("first sync, nothing known", None, again(code(tracks))),
        ("first sync", lambda: forget(store, keep), again(code(tracks))),
        ("sync, nothing new", None, again(code(0))),
        ("sync after one run", lambda: touch_one(runs, first), again(code(1))),
        ("sync of one track after one run", lambda: (forget_one(store), None), again(code(1, tracks=one))),
        ("mlflow.search_runs, all", None, again(SEARCH_ALL)),
        ("first sync of one track", lambda: forget(store, keep), again(code(1, tracks=one))),
    ]
    for name, before, step in steps:
        if before is not None:
            before()
        figures[name], figures[f"{name} [processor]"] = step()
        print(name, figures[name], figures[f"{name} [processor]"], file=sys.stderr)
    figures["store [MB]"] = store.stat().st_size / 1e6
    return figures


def forget_one(store: Path) -> None:
    """Deletes the first track's fingerprint, so that the track is written again."""
    with sqlite3.connect(store) as base:
        query = "DELETE FROM experiment_tags WHERE key = 'semibench.leaderboard' AND experiment_id = (SELECT experiment_id FROM "
        base.execute(query + "experiments WHERE name = ?)", (EXPERIMENT.format(0),))


def main() -> None:
    """Prints a table of seconds with a column for each number of runs; writes JSON with --json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, action="append", help="number of runs; repeatable (default: 10000)")
    parser.add_argument("--folder", type=Path, default=Path("many-runs"), help="emptied first, deleted at the end")
    parser.add_argument("--keep", action="store_true", help="keep the folder with the runs of the last size")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    figures = []
    for count in options.runs or [10000]:
        figures.append(measure(options.folder / str(count), count))
        print(json.dumps(figures[-1]), file=sys.stderr)
    frame = pd.DataFrame(figures).set_index("runs").T
    print(frame.to_string(float_format=lambda value: f"{value:.3f}"))
    if options.json:
        options.json.write_text(json.dumps(figures) + "\n")
    if not options.keep:
        shutil.rmtree(options.folder)


if __name__ == "__main__":
    main()
