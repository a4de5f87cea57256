"""Measures what `bench run --recipe smoke` costs before and after its few iterations, on a warm cache.

    python speed/start_up.py --turns 5
    python speed/start_up.py --profile 15      # which imports take longest, in the command and in the process that writes MLflow

The first run fills the cache and creates the store; the others take turns, each with a new seed, so that each trains:

- `run`: with pictures, and a mirror in MLflow that a process beside it writes.
- `run --no-pictures`: without pictures. The following ones, too.
- `run --no-track`: without MLflow.
- `run --plan`: up to the plan, which trains nothing.
- `import torch`, `import mlflow`: an interpreter that imports it alone, for comparison, and the same without the search for cycles
  of objects to free.

Figures are medians of CPU seconds of a command with all its processes, and of its wall time.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SMOKE = ("-m", "semibench.cli", "run", "--protocol", "self", "--dataset", "tus", "--method", "mean-teacher", "--recipe", "smoke",
         "--set", "phantom.cases=60", "--set", "phantom.scale=0.25", "--no-compare")  # fmt: skip
IMPORTED = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \|(\s+)(\S+)")


def environment(folder: Path) -> dict[str, str]:
    """Returns variables of a process with a cache and a store of its own and one thread."""
    return os.environ | {
        "SEMIBENCH_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }  # fmt: skip


def measured(words: list[str], folder: Path) -> tuple[float, float]:
    """Runs `python words` in a folder; returns seconds of CPU, its processes included, and of wall time."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment(folder), capture_output=True, text=True, check=False
    )
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"python {' '.join(words)} ended with {done.returncode}:\n{done.stderr}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def compare(turns: int, folder: Path) -> None:
    """Prints the table."""
    words = {
        "`run`": [*SMOKE],
        "`run --no-pictures`": [*SMOKE, "--no-pictures"],
        "`run --no-track`": [*SMOKE, "--no-pictures", "--no-track"],
        "`run --plan`": [*SMOKE, "--plan"],
        "`import torch`": ["-c", "import torch"],
        "`import torch`, no search for cycles": ["-c", "import gc; gc.disable(); import torch"],
        "`import mlflow`": ["-c", "import mlflow"],
        "`import mlflow`, no search for cycles": ["-c", "import gc; gc.disable(); import mlflow"],
    }
    measured([*SMOKE], folder)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in words}
    for turn in range(turns):
        for number, (name, command) in enumerate(words.items()):
            seed = ["--seed", str(1 + turn * len(words) + number)] if command[0] == "-m" else []
            found[name].append(measured([*command, *seed], folder))
    print("| command | CPU seconds | wall seconds | load |\n" + "| --- " * 4 + "|")
    for name, times in found.items():
        work, wall = (statistics.median(values) for values in zip(*times, strict=True))
        print(f"| {name} | {work:.2f} | {wall:.2f} | {os.getloadavg()[0]:.0f} |")


def profile(count: int, folder: Path) -> None:
    """Prints the packages whose own modules take longest to import."""
    measured([*SMOKE], folder)
    mirror = (
        "import semibench.tracking.worker, mlflow.tracking, semibench.tracking.mirroring, semibench.tracking.listening"
    )
    for title, words in (
        ("the command", [*SMOKE, "--no-track", "--seed", "1"]),
        ("the process that writes MLflow", ["-c", mirror]),
    ):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", *words],
            cwd=folder, env=environment(folder), capture_output=True, text=True, check=True,
        )  # fmt: skip
        own: dict[str, int] = {}
        for line in done.stderr.splitlines():
            if match := IMPORTED.match(line):
                package = match[4].split(".")[0]
                own[package] = own.get(package, 0) + int(match[1])
        total = sum(own.values())
        print(f"\nImports of {title}, {total / 1e6:.1f} s:\n\n| package | seconds | share |\n| --- | --- | --- |")
        for package, spent in sorted(own.items(), key=lambda item: -item[1])[:count]:
            print(f"| {package} | {spent / 1e6:.2f} | {spent / total:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--profile", type=int, metavar="N", help="print the N packages that take longest to import")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.profile:
            profile(args.profile, Path(folder))
        else:
            compare(args.turns, Path(folder))


if __name__ == "__main__":
    main()
