"""Compares the cost per cell of `bench matrix` with the same runs by hand, taking turns.

By hand: consecutive `bench run` processes. Matrix: one `bench matrix --jobs 1` over equivalent cells (with other seeds, so
that none is already done). Exits with 1 if a cell costs more than 1.10 times as much.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BOUND = 1.10


def bench(*words: str, folder: Path) -> float:
    """Runs one command and returns its wall time in seconds."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "semibench.cli", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(words)}\n{done.stdout}\n{done.stderr}")
    return time.perf_counter() - started


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=3, help="cells per round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--iterations", type=int, default=120, help="iterations per cell; the default takes about 20 s")
    parser.add_argument("--method", default="supervised")
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["SEMIBENCH_CACHE"] = str(folder / "cache")
        setting = ["-d", "tus", "-m", given.method, "--phantom", "--set", f"iterations={given.iterations}"]
        run = ["run", "-p", "self", "-r", "quick", "--threads", "1", *setting]
        matrix = ["matrix", "-p", "self", "-r", "quick", "--threads", "1", "--jobs", "1", *setting]
        bench(*run, "--seed", "1000", folder=folder)  # decodes the phantom, creates the store, times an iteration
        hand, driven, seed = 0.0, 0.0, 0
        for _ in range(given.rounds):
            for _ in range(given.cells):
                hand += bench(*run, "--seed", str(seed), folder=folder)
                seed += 1
            driven += bench(*matrix, "--seeds", f"{seed}-{seed + given.cells - 1}", folder=folder)
            seed += given.cells
    cells = given.cells * given.rounds
    ratio = driven / hand
    print(
        f"by hand {hand / cells:.1f} s per cell, matrix {driven / cells:.1f} s per cell, ratio {ratio:.3f} (bound {BOUND})"
    )
    return int(ratio > BOUND)


if __name__ == "__main__":
    raise SystemExit(main())
