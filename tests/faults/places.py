"""Take space and permission away from runs, and give them back: clear words meanwhile, the right digits afterwards."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from faults.trials import Ended, Line, command, digits, ended

KIND = "mean teacher"


def taken(place: Path, sizes: int) -> Iterator[Line]:
    """Yields a line for each way to take a place away. sizes: how many small disks are tried."""
    whole, cache = place / "whole", place / "cache"
    whole.mkdir(parents=True)
    if ended(command(KIND), whole, cache).code:
        raise RuntimeError("the run doesn't work without a fault")
    right = digits(whole / "runs")
    steps = [
        20 * 2 ** (number * 8 // max(sizes, 1)) for number in range(sizes)
    ]  # from 20 kB to the size of a run, 2.5 MB
    yield _small_disks(place / "runs-full", cache, right, [f"{size}k" for size in steps])
    yield _small_caches(place / "cache-full", right, [f"{size}k" for size in steps[: max(1, sizes // 2)]])
    yield _limited(place / "limited", cache, right, [1000 * size for size in steps[: max(1, sizes // 2)]])
    yield from _read_only(place / "read-only", cache, right)


def can_mount(place: Path) -> bool:
    """Returns whether this process may mount a small disk."""
    place.mkdir(parents=True, exist_ok=True)
    return (
        os.geteuid() == 0
        and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], check=False, capture_output=True
        ).returncode
        == 0
        and subprocess.run(["umount", place], check=False).returncode == 0
    )


@contextmanager
def disk(place: Path, size: str) -> Iterator[Callable[[str], None]]:
    """A small disk at a place; the function mounts it anew with other options."""
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=True)
    try:
        yield lambda options: subprocess.run(["mount", "-o", f"remount,{options}", place], check=True) and None
    finally:
        subprocess.run(["umount", "-l", place], check=False)


def state(runs: Path) -> str:
    """Returns the state in the status of the only run; "none" without one."""
    try:
        return str(json.loads(next(runs.glob("*/status.json")).read_text())["state"])
    except (OSError, StopIteration, ValueError, KeyError):
        return "none"


def _note(line: Line, failed: Ended, found: str, healed: Ended, same: bool, what: str) -> None:
    well = (failed.is_clear or failed.code == 0) and found != "running" and healed.code == 0
    line.add(
        well,
        same,
        f"{what}: {failed.code} {found} {failed.text[-400:]!r}; then {healed.code} {healed.last}",
        failed.seconds,
    )


def _small_disks(place: Path, cache: Path, right: str, sizes: list[str]) -> Line:
    line = Line("full disk: runs")
    for size in sizes if can_mount(place) else []:
        with disk(place, size) as again:
            failed = ended(command(KIND), place, cache)
            found = state(place / "runs")
            again("size=200m")
            healed = ended(command(KIND), place, cache)
            _note(line, failed, found, healed, digits(place / "runs") == right, size)
    return line


def _small_caches(place: Path, right: str, sizes: list[str]) -> Line:
    line = Line("full disk: cache")
    for number, size in enumerate(sizes if can_mount(place / "cache") else []):
        folder = place / str(number)
        folder.mkdir()
        with disk(place / "cache", size) as again:
            failed = ended(command(KIND), folder, place / "cache")
            found = state(folder / "runs")
            again("size=200m")
            healed = ended(command(KIND), folder, place / "cache")
            _note(line, failed, found, healed, digits(folder / "runs") == right, size)
    return line


def _limited(place: Path, cache: Path, right: str, sizes: list[int]) -> Line:
    line = Line("limit on the size of files")
    for size in sizes:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        failed = ended(command(KIND), place, cache, before=lambda size=size: _limit(size))  # type: ignore[misc]
        found = state(place / "runs")
        healed = ended(command(KIND), place, cache)
        _note(line, failed, found, healed, digits(place / "runs") == right, f"{size} bytes")
    return line


def _limit(size: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _read_only(place: Path, cache: Path, right: str) -> Iterator[Line]:
    if not can_mount(place / "disk"):
        return
    line = Line("read-only working folder")
    with disk(place / "disk", "200m") as again:
        again("ro")
        failed = ended(command(KIND), place / "disk", cache)
        again("rw")
        healed = ended(command(KIND), place / "disk", cache)
        _note(line, failed, "none", healed, digits(place / "disk" / "runs") == right, "cold")
        again("ro")
        served = ended(command(KIND), place / "disk", cache)
        line.add(served.code == 0, True, f"a finished run: {served.code} {served.text[-300:]!r}")
        listed = ended([*command(KIND)[:3], "runs"], place / "disk", cache)
        line.add(listed.code == 0, True, f"bench runs: {listed.code} {listed.text[-300:]!r}")
    yield line
    line = Line("read-only cache, which has everything")
    folder = place / "warm"
    folder.mkdir()
    with disk(place / "disk", "200m") as again:
        shutil.copytree(cache, place / "disk", dirs_exist_ok=True)
        again("ro")
        served = ended(command(KIND), folder, place / "disk")
        line.add(
            served.code == 0, digits(folder / "runs") == right, f"{served.code} {served.text[-400:]!r}", served.seconds
        )
    yield line
    line = Line("read-only cache, which is empty")
    folder = place / "cold"
    folder.mkdir()
    with disk(place / "disk", "200m") as again:
        again("ro")
        failed = ended(command(KIND), folder, place / "disk")
        found = state(folder / "runs")
        again("rw")
        healed = ended(command(KIND), folder, place / "disk")
        _note(line, failed, found, healed, digits(folder / "runs") == right, "cold cache")
    yield line
