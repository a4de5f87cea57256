"""The base folder of the campaign: one finished small run, and its bundle."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from faults.feeding import SMALL
from faults.inputs_records import run_folder


def bench(*words: str, cwd: Path, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs `bench` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "semibench.cli", *words],
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def make_base(base: Path) -> str:
    """Makes the base folder; returns the run's key."""
    base.mkdir(parents=True)
    done = bench(*(word for word in SMALL if word != "--no-pictures"), cwd=base)
    if done.returncode:
        raise RuntimeError(done.stderr)
    key = run_folder(base).name
    done = bench("export", key, "--out", "bundle.zip", cwd=base)
    if done.returncode:
        raise RuntimeError(done.stderr)
    (base / "runs" / ".index.sqlite").unlink(missing_ok=True)
    return key
