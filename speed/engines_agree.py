"""Runs one matrix with the engines `local`, `slurm` and `ray` in turn and checks that all cells give the same digits.

    python speed/engines_agree.py --folder /tmp/engines

The matrix is boards/engines_smoke.yaml: 5 methods x 2 phantoms x 3 seeds, recipe `smoke`. Without `sbatch` the tests'
scheduler (tests/support/fake_slurm.py) is used instead, and a message says so. Exits with 1 if a cell isn't done or digits
differ.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd

HERE = Path(__file__).parent
ENGINES = ("local", "slurm", "ray")


def environment(engine: str, folder: Path) -> dict[str, str]:
    """Returns the variables for an engine's processes; for slurm without sbatch, those of the tests' scheduler."""
    variables = os.environ | {"SEMIBENCH_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    if engine == "slurm" and shutil.which("sbatch") is None:
        sys.path.insert(0, str(HERE.parent / "tests"))
        from support import fake_slurm

        print("sbatch is not installed: using the tests' scheduler instead", file=sys.stderr)
        variables |= fake_slurm.install(folder / "slurm")
    if engine == "ray":
        variables |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    return variables


def run(engine: str, folder: Path, jobs: int) -> tuple[list[dict[str, Any]], float]:
    """Runs the matrix; returns the records of `bench matrix --json` and the wall time in seconds."""
    command = [sys.executable, "-m", "semibench.cli", "matrix", str((HERE / "boards" / "engines_smoke.yaml").resolve())]
    command += ["--engine", engine, "--jobs", str(jobs), "--runs", str(folder / engine), "--json"]
    command += ["--tracking-uri", f"sqlite:///{folder / engine}.db", "--no-pictures"]
    if engine == "slurm":
        command += ["--engine-set", "ask_every=1", "--engine-set", "more={wait-all-nodes: 0}"]
    started = time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, env=environment(engine, folder), stdout=subprocess.PIPE, text=True, check=False
    )
    if not done.stdout.strip():
        raise SystemExit(f"{engine}: `bench matrix --json` printed nothing (exit code {done.returncode})")
    return json.loads(done.stdout), time.perf_counter() - started


def digits(runs: Path) -> dict[str, pd.DataFrame]:
    """Returns the per-case scores of each run."""
    return {path.parent.name: pd.read_parquet(path) for path in sorted(runs.glob("*/scores.parquet"))}


def main() -> int:
    """Prints a line for each engine and compares its digits with those of the first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("engines"), help="created if missing; kept afterwards")
    parser.add_argument("--engines", default=",".join(ENGINES))
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    folder = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    first: dict[str, pd.DataFrame] | None = None
    wrong = False
    for engine in given.engines.split(","):
        records, seconds = run(engine, folder, given.jobs)
        done = sum(record["outcome"] == "done" for record in records)
        scores = digits(folder / engine)
        first = first or scores
        same = sum(key in scores and table.equals(scores[key]) for key, table in first.items())
        print(
            f"{engine}: {done} of {len(records)} cells done in {seconds:.0f} s; same digits as the first: {same} of {len(first)}"
        )
        wrong |= done < len(records) or same < len(records)
    return int(wrong)


if __name__ == "__main__":
    raise SystemExit(main())
