"""One matrix through the engines `local`, `slurm` and `ray`, one after the other, and whether all cells have the same digits.

    python speed/engines_agree.py --folder /tmp/engines

The matrix is boards/engines_smoke.yaml: 5 methods x 2 phantoms x 3 seeds, recipe `smoke`. Where there is no `sbatch`, the
scheduler of the tests (tests/fake_slurm.py) takes its place, which is said. Exit code 1 where a cell isn't done or digits
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
    """Variables of an engine's processes; for slurm without sbatch, those of the scheduler of the tests."""
    found = os.environ | {"SEMIBENCH_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    if engine == "slurm" and shutil.which("sbatch") is None:
        sys.path.insert(0, str(HERE.parent / "tests"))
        import fake_slurm

        print("no sbatch here: the scheduler of the tests stands in", file=sys.stderr)
        found |= fake_slurm.install(folder / "slurm")
    if engine == "ray":
        found |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    return found


def run(engine: str, folder: Path, jobs: int) -> tuple[list[dict[str, Any]], float]:
    """The records of `bench matrix --json`, and seconds of wall time."""
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
        raise SystemExit(f"{engine}: nothing came back (exit code {done.returncode})")
    return json.loads(done.stdout), time.perf_counter() - started


def digits(runs: Path) -> dict[str, pd.DataFrame]:
    """Scores of all cases by run."""
    return {path.parent.name: pd.read_parquet(path) for path in sorted(runs.glob("*/scores.parquet"))}


def main() -> int:
    """Prints a line for each engine and whether it gave what the first one did."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("engines"), help="is made, and left there")
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
        found = digits(folder / engine)
        first = first or found
        same = sum(key in found and table.equals(found[key]) for key, table in first.items())
        print(
            f"{engine}: {done} of {len(records)} cells done in {seconds:.0f} s; digits as with the first: {same} of {len(first)}"
        )
        wrong |= done < len(records) or same < len(records)
    return int(wrong)


if __name__ == "__main__":
    raise SystemExit(main())
