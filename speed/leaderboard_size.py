"""Measures how long a leaderboard takes with many runs, next to MLflow's own search on the same runs.

    python speed/leaderboard_size.py --runs 10000 --folder /tmp/many
    python speed/leaderboard_size.py --runs 10000 --runs 20000 --runs 50000 --folder /tmp/many
    python speed/leaderboard_size.py --runs 10000 --folder /tmp/many --against /tmp/earlier

Creates run folders (spec, status, provenance, split, per-case scores of 10 metrics, result) and the same runs as rows of an
MLflow SQLite store (10 metrics and 20 params each), 200 runs per track: 40 rows of 5 seeds. A bulk writer creates them, not
training. Each measurement runs in a fresh process; the clock starts after its imports. With --against, another checkout reads the
same folders in turns with this one, without MLflow.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from semibench.contracts.identity import SHORT, Entry, Part, Replicate, RunSpec, Track, canonical, sha256
from semibench.runfolder.format import FORMAT

ROWS, SEEDS, CASES, TABLES = 40, 5, 60, 100
METRICS = ("dice", "iou", "precision", "recall", "f1", "accuracy", "hd95_mm", "hd95_voxel", "assd_mm", "assd_voxel")
EXPERIMENT = "track {}"


# ---- creating the runs ---------------------------------------------------------------------------------------------


def specs(count: int, rows: int = ROWS, seeds: int = SEEDS) -> Iterator[tuple[int, RunSpec]]:
    """Yields (track number, spec), rows x seeds a track; 20 params: 6 of protocol and data, 8 of the recipe, 6 of the entry."""
    yielded = 0
    number = 0
    while yielded < count:
        options = {"name": "quick", **{f"field_{i}": i + number for i in range(6)}, "lr": 0.01}
        track = Track(
            protocol=Part(name="semibench:self", options={"labeled": 0.5, "test": 0.3, "validation": 0.1}),
            dataset=Part(name="semibench:tus", options={"edition": "mgcc", "phantom": {"seed": number}}),
            data=sha256(str(number)),
            recipe=Part(name="quick", options=options),
        )
        for row in range(rows):
            entry = Entry(
                method=Part(name=f"semibench:method-{row:02d}", options={"decay": 0.99, "ramp": 0.4}),
                terms={"sup": {"weight": 1.0}, "consistency": {"weight": 0.1}},
                backbone=Part(name="semibench:unet", options={"width": 0.25, "dims": 2}),
            )
            for seed in range(seeds):
                if yielded == count:
                    return
                yielded += 1
                yield number, RunSpec(track=track, entry=entry, replicate=Replicate(draw=0, seed=seed))
        number += 1


def score_tables() -> list[tuple[bytes, list[dict[str, Any]]]]:
    """Returns tables of per-case scores as Parquet bytes, each with its summary; runs share them."""
    random = np.random.default_rng(0)
    names = [f"phantom-{i // 10:05d}-{i % 10:02d}" for i in range(CASES)]
    difficulty = random.beta(6, 3, CASES)
    tables = []
    for table in range(TABLES):
        iou = np.clip(difficulty + random.normal(0.002 * (table % ROWS), 0.03, CASES), 0.01, 0.99)
        values = {"dice": 2 * iou / (1 + iou), "iou": iou}
        values |= {metric: random.uniform(0, 1, CASES) for metric in METRICS[2:]}
        frames = [
            pd.DataFrame(
                {
                    "checkpoint": "last", "dataset": "tus", "case": names, "group": [name[:13] for name in names],
                    "domain": "machine-1", "predictor": "main", "convention": "semibench-1", "class": "nodule", "label": 1,
                    "empty_truth": False, "empty_prediction": False, "metric": metric, "value": per_case, "unit": "",
                }
            )
            for metric, per_case in values.items()
        ]  # fmt: skip
        stream = io.BytesIO()
        pd.concat(frames, ignore_index=True).to_parquet(stream, index=False)
        scores = [
            {
                "checkpoint": "last", "predictor": "main", "convention": "semibench-1", "metric": metric, "unit": "",
                "main": metric == "dice", "higher": not metric.startswith(("hd", "assd")), "own_mean": False,
                "mean": float(per_case.mean()), "std_over_cases": float(per_case.std(ddof=1)),
                "per_class": {"nodule": float(per_case.mean())}, "n": CASES, "defined": CASES, "empty_truth": 0,
                "empty_prediction": 0, "missing": 0,
            }
            for metric, per_case in values.items()
        ]  # fmt: skip
        tables.append((stream.getvalue(), scores))
    return tables


def write_folders(runs: Path, count: int, rows: int = ROWS, seeds: int = SEEDS) -> None:
    """Writes the run folders, without fsync because they are temporary."""
    tables = score_tables()
    names = [f"phantom-{i // 10:05d}-{i % 10:02d}" for i in range(CASES)]
    split = json.dumps({"format": FORMAT, "test": [["tus", name, name[:13], "machine-1"] for name in names]})
    plugins = {
        role: {"name": role, "distribution": "semibench", "version": "0.1.0", "source": sha256(role)}
        for role in ("method", "backbone", "dataset", "protocol")
    }
    machine = {"device": "cpu", "device_name": "AMD EPYC", "threads": 1}
    versions = {"numerics": "1", "torch": "2.13.0"}
    provenance = json.dumps({"format": FORMAT, "plugins": plugins, "versions": versions, "machine": machine})
    status = json.dumps(
        {"format": FORMAT, "state": "done", "error": None, "started": "2026-01-01T00:00:00+00:00",
         "ended": "2026-01-01T00:10:00+00:00"}
    )  # fmt: skip
    for number, (_, spec) in enumerate(specs(count, rows, seeds)):
        folder = runs / spec.key[:SHORT]
        folder.mkdir(parents=True)
        table, scores = tables[(number // seeds * 7 + number % seeds) % TABLES]
        result = {
            "format": FORMAT, "key": spec.key, "row": spec.row, "track": spec.track.digest(), "scores": scores,
            "training": {"iterations": 400, "seconds": 60.0, "peak_memory_mb": 600.0, "best_validation": 0.7},
            "model": {"parameters": 455_000, "inference_parameters": 455_000, "gflops": 0.09},
            "inference": {"seconds_per_case": 0.02}, "label_budget": 110, "phantom": True,
        }  # fmt: skip
        (folder / "spec.json").write_text(spec.model_dump_json())
        (folder / "provenance.json").write_text(provenance)
        (folder / "split.json").write_text(split)
        (folder / "scores.parquet").write_bytes(table)
        (folder / "result.json").write_text(json.dumps(result))
        (folder / "status.json").write_text(status)


def write_store(file: Path, count: int) -> None:
    """Writes the same runs to an MLflow SQLite store: MLflow creates the tables, rows are inserted directly."""
    from semibench.tracking import open_store

    client = open_store(f"sqlite:///{file}")
    tracks = sorted({number for number, _ in specs(count)})
    experiments = {number: int(client.create_experiment(EXPERIMENT.format(number))) for number in tracks}
    scores = [table[1] for table in score_tables()]
    now = int(time.time() * 1000)
    runs, params, metrics, latest, tags = [], [], [], [], []
    for number, (track, spec) in enumerate(specs(count)):
        run = spec.key[:32]
        name = f"{spec.entry.method.short} · seed {spec.replicate.seed}"
        runs.append((run, name, "UNKNOWN", "", "", "x", 3, now, now, "", "active", "", experiments[track], None))
        parts = {
            "protocol": spec.track.protocol.options,
            "recipe": spec.recipe.options,
            "method": spec.entry.method.options,
            "terms": spec.entry.terms,
            "backbone": spec.entry.backbone.options,
            "replicate": {"draw": 0, "seed": spec.replicate.seed, "fold": ""},
        }
        flat = {f"{part}.{key}": str(value) for part, options in parts.items() for key, value in options.items()}
        flat["data"] = spec.track.data[:12]
        params += [(key, value, run) for key, value in list(flat.items())[:20]]
        for score in scores[(number // SEEDS * 7 + number % SEEDS) % TABLES]:
            key = f"last.main.semibench-1.{score['metric']}"
            metrics.append((key, score["mean"], now, run, 0, 0))
            latest.append((key, score["mean"], now, 0, 0, run))
        tags += [
            ("mlflow.runName", name, run),
            ("semibench.key", spec.key, run),
            ("method", spec.entry.method.short, run),
        ]
    with sqlite3.connect(file) as store:
        put = store.executemany
        put(
            "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, end_time, "
            "source_version, lifecycle_stage, artifact_uri, experiment_id, deleted_time) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            [(*run[:6], "FINISHED", *run[7:]) for run in runs],
        )
        put("INSERT INTO params (key, value, run_uuid) VALUES (?,?,?)", params)
        put("INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES (?,?,?,?,?,?)", metrics)
        put("INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid) VALUES (?,?,?,?,?,?)", latest)
        put("INSERT INTO tags (key, value, run_uuid) VALUES (?,?,?)", tags)


# ---- measuring -----------------------------------------------------------------------------------------------------

PRELUDE = """
import os, sys, time
os.environ["MLFLOW_DISABLE_TELEMETRY"] = os.environ["DO_NOT_TRACK"] = "true"
runs, store, track = sys.argv[1:4]
"""

BENCH = (
    PRELUDE
    + """
import numpy, scipy.stats, sqlite3, pyarrow.parquet, rich.table, typer
from semibench.cli import app as cli
import semibench.discovery.registry, semibench_leaderboards.commands.leaderboard, semibench_leaderboards.showing.tables
import semibench_leaderboards.ranking.selecting, semibench_leaderboards.ranking.ranks, contextlib, io
application = cli.build()
text = io.StringIO()
start, worked = time.perf_counter(), time.process_time()
with contextlib.redirect_stdout(text):
    try:
        application(["leaderboard", "--runs", runs, "--track", track], prog_name="bench")
    except SystemExit as end:
        assert end.code in (0, None), end.code
seconds = time.perf_counter() - start, time.process_time() - worked
assert "method-39" in text.getvalue(), text.getvalue()
print(*seconds)
"""
)

LISTING = (
    PRELUDE
    + """
from pathlib import Path
from semibench_leaderboards.reading.records import read_runs
start, worked = time.perf_counter(), time.process_time()
found = read_runs(Path(runs), scores=False)
print(time.perf_counter() - start, time.process_time() - worked)
"""
)

SEARCH = (
    PRELUDE
    + """
import mlflow
mlflow.set_tracking_uri("sqlite:///" + store)
mlflow.search_experiments(max_results=1)
start, worked = time.perf_counter(), time.process_time()
found = mlflow.search_runs(experiment_names=["track 0"], max_results=1000)
assert len(found) == 200, len(found)
print(time.perf_counter() - start, time.process_time() - worked)
"""
)

SEARCH_ALL = SEARCH.replace('experiment_names=["track 0"], max_results=1000', "search_all_experiments=True").replace(
    "assert len(found) == 200, len(found)", "assert len(found) >= 200"
)


Seconds = tuple[float, float]
"""Wall time and CPU time (which other work on the machine affects less)."""


def seconds_of(code: str, *words: str, root: Path | None = None) -> Seconds:
    """Runs the code in a fresh process and returns the times that it prints. root: of another checkout that the process uses."""
    parts = ("benchmark", "plugins", "leaderboards")
    paths = {} if root is None else {"PYTHONPATH": os.pathsep.join(str(root.absolute() / part) for part in parts)}
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False, env={**os.environ, **paths}
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    clock, processor = done.stdout.strip().splitlines()[-1].split()
    return float(clock), float(processor)


def best_of(count: int, measure: Callable[[], Seconds]) -> Seconds:
    """Returns the shortest of `count` measurements, because other load on the machine only adds time."""
    return min(measure() for _ in range(count))


def measure(folder: Path, count: int, repeats: int) -> dict[str, Any]:
    """Returns all figures for one number of runs, in seconds."""
    from semibench_leaderboards.reading.index import NAME

    # a name for each size: MLflow keeps a store open, and would write into the file that was deleted
    runs, store = folder / "runs", folder / f"mlflow_{count}.db"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    figures: dict[str, Any] = {"runs": count}
    start = time.perf_counter()
    write_folders(runs, count)
    figures["made: folders"] = time.perf_counter() - start
    start = time.perf_counter()
    write_store(store, count)
    figures["made: store"] = time.perf_counter() - start
    track = next(spec for _, spec in specs(1)).track.digest()
    words = (str(runs), str(store), track[:SHORT])
    steps: dict[str, Callable[[], Seconds]] = {
        "bench leaderboard, no index yet": lambda: seconds_of(BENCH, *words),
        "bench leaderboard": lambda: best_of(repeats, lambda: seconds_of(BENCH, *words)),
        "read_runs, all": lambda: best_of(repeats, lambda: seconds_of(LISTING, *words)),
        "mlflow.search_runs, one track": lambda: best_of(repeats, lambda: seconds_of(SEARCH, *words)),
        "mlflow.search_runs, all": lambda: seconds_of(SEARCH_ALL, *words),
    }
    for name, step in steps.items():
        figures[name], figures[f"{name} [processor]"] = step()
    figures["index [MB]"] = (runs / NAME).stat().st_size / 1e6
    return figures


def against(folder: Path, count: int, repeats: int, root: Path) -> None:
    """Prints CPU seconds of another checkout and of this one, which read the same folders in turns."""
    from semibench_leaderboards.reading.index import NAME

    runs = folder / "runs"
    if not runs.is_dir():
        write_folders(runs, count)
    words = (str(runs), "", next(spec for _, spec in specs(1)).track.digest()[:SHORT])
    found: dict[str, dict[bool, list[float]]] = {}
    for _ in range(repeats):
        for ours in (False, True):
            (runs / NAME).unlink(missing_ok=True)
            for name, code in (("no index yet", BENCH), ("again", BENCH), ("read_runs, all", LISTING)):
                work = seconds_of(code, *words, root=None if ours else root)[1]
                found.setdefault(name, {}).setdefault(ours, []).append(work)
                print(count, name, "this" if ours else "other", work, file=sys.stderr, flush=True)
    print(f"| {count:,} runs | other | this | this / other |\n| --- | --- | --- | --- |")
    for name, sides in found.items():
        then, now = min(sides[False]), min(sides[True])
        print(f"| {name} | {then:.2f} s of CPU | {now:.2f} s of CPU | {now / then:.2f} |")


def main() -> None:
    """Prints a table of seconds with a column for each number of runs; writes JSON with --json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, action="append", help="number of runs; repeatable (default: 10000)")
    parser.add_argument("--folder", type=Path, default=Path("many-runs"), help="emptied first, deleted at the end")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--keep", action="store_true", help="keep the folder with the runs of the last size")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--against", type=Path, help="the root of another checkout; keeps the folder")
    options = parser.parse_args()
    if options.against:
        for count in options.runs or [10000]:
            against(options.folder, count, options.repeats, options.against)
        return
    figures = []
    for count in options.runs or [10000]:
        figures.append(measure(options.folder, count, options.repeats))
        print(json.dumps(figures[-1]), file=sys.stderr)
    frame = pd.DataFrame(figures).set_index("runs").T
    print(frame.to_string(float_format=lambda value: f"{value:.3f}"))
    if options.json:
        options.json.write_text(canonical(figures) + "\n")
    if not options.keep:
        shutil.rmtree(options.folder)


if __name__ == "__main__":
    main()
