"""Kill runs at random moments, start them again, and compare their digits with those of runs that nobody killed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from faults.feeding import Child, import_heavy_modules
from faults.trials import KINDS, Line, command, digits, ended, places

WHOLE = 5
"""Every fifth run that is killed is a process of its own from its first line; the others start where the packages are imported, as
forks of this process, which takes a third of the processor."""

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
PATIENCE = 60.0
"""Seconds after which a process that was asked to stop counts as one that doesn't."""


def killed(place: Path, moments: int, seed: int = 0, done: Collection[str] = ()) -> Iterator[Line]:
    """Yields a line for each kind of run. moments: over all kinds. done: lines that aren't tried again."""
    for number, kind in enumerate(KINDS):
        share = moments // len(KINDS) + (number < moments % len(KINDS))
        if share and f"killed: {kind}" not in done:
            yield _kind(place / str(number), kind, share, random.Random(f"{seed} {kind}"))


def _kind(place: Path, kind: str, moments: int, rng: random.Random) -> Line:
    line = Line(f"killed: {kind}")
    whole, cache = place / "whole", place / "cache"
    whole.mkdir(parents=True)
    reference = ended(command(kind), whole, cache)
    right = digits(whole / "runs")
    if reference.code != 0 or not right:
        raise RuntimeError(f"{kind} doesn't run: {reference.text[-2000:]}")
    shutil.rmtree(cache / "generated", ignore_errors=True)
    span = ended(command(kind), _fresh(place / "timed"), _own_cache(cache, place / "timed-cache")).seconds
    for number in range(moments):
        folder, own = _fresh(place / "killed"), _own_cache(cache, place / "own-cache")
        sign = SIGNALS[number % len(SIGNALS)]
        moment = rng.uniform(0.05, 0.98) * span
        stop = _stop if number % WHOLE == 0 else _stop_fork
        stopped = stop(kind, folder, own, moment, sign)
        resumed = ended(command(kind), folder, own)
        same = digits(folder / "runs") == right
        state = (
            json.loads(next((folder / "runs").glob("*/status.json")).read_text())["state"] if resumed.code == 0 else "?"
        )
        left = [path.name for path in own.rglob("*draft*")] + [path.name for path in folder.rglob(".*.tmp")]
        well = (
            stopped is not None
            and resumed.code == 0
            and state == "done"
            and not [name for name in left if "draft" in name]
        )
        line.add(
            well,
            same,
            f"{sign.name} after {moment:.1f} s: {stopped}, then {resumed.code} {state} {left} {resumed.last}",
            stopped or PATIENCE,
        )
    return line


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _own_cache(cache: Path, own: Path) -> Path:
    """A copy of the cache without generated sets, so that a generator is trained again."""
    shutil.rmtree(own, ignore_errors=True)
    shutil.copytree(cache, own)
    return own


def _stop(kind: str, folder: Path, cache: Path, moment: float, sign: signal.Signals) -> float | None:
    """Starts a run and sends it a signal; returns the seconds until it ended, None if it didn't."""
    process = subprocess.Popen(
        command(kind),
        cwd=folder,
        env={**os.environ, **places(cache)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with suppress(subprocess.TimeoutExpired):
        process.wait(moment)
    sent = time.monotonic()
    process.send_signal(sign)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None
    return time.monotonic() - sent


def _stop_fork(kind: str, folder: Path, cache: Path, moment: float, sign: signal.Signals) -> float | None:
    """The same for a run that is a fork of this process."""
    import_heavy_modules()
    child = Child(command(kind)[3:], folder, environment=places(cache))
    ended_before = child.wait(moment) is not None
    sent = time.monotonic()
    if not ended_before:
        os.kill(child.process, sign)
        if child.wait(PATIENCE) is None:
            child.kill()
            return None
    child.text()
    return time.monotonic() - sent
