"""Feed malformed inputs to `bench`, each in a process of its own with limits on time and memory, and judge the answers.

A process that has imported the harness forks one child for each input, so that an input costs its own work only.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SECONDS = 120.0
"""An input that has no answer by then hangs; on an idle machine they take two seconds, and those that train ten."""

MEMORY = 2_600 * 2**20
"""Bytes of address space that an input may take beyond what the process has."""

SMOKE = ("run", "--protocol", "self", "--dataset", "tus", "--recipe", "smoke", "--method", "mean-teacher")
"""The run that inputs go into."""

FEW = ("--set", "phantom.scale=0.1", "--set", "phantom.cases=16")
"""Few small images."""

SCORED = ("--convention", "semibench-1", "--convention", "mgcc-2023")
"""Scores on the grid of the files and on that of the network."""

SMALL = (
    *SMOKE, *FEW, "--set", "iterations=3", "--set", "checkpoint_every=1", *SCORED, "--no-track", "--no-pictures",
)  # fmt: skip
"""The same on few small images, with nothing beside it, and with a checkpoint before the last one."""

UNFORESEEN = "(--debug and the run's log.txt show where)"
"""The end of the guard's sentence for an error that a plug-in didn't foresee: one line, but no answer to a malformed input."""

Answer = Literal["clear", "served", "traceback", "wrongly served", "wrongly refused", "memory", "hang", "crash"]
GOOD: tuple[Answer, ...] = ("clear", "served")
BAD: tuple[Answer, ...] = ("traceback", "wrongly served", "wrongly refused", "memory", "hang", "crash")


def unchanged(folder: Path) -> None:
    """The input is in the words of the command."""


@dataclass(frozen=True)
class Given:
    """One input. right: the answers that are right. damage: makes the input out of a copy of the base folder. equal: whether a run
    that is served must end with the digits of the base folder's run."""

    group: str
    name: str
    words: tuple[str, ...]
    damage: Callable[[Path], object] = unchanged
    right: Literal["refuse", "serve", "either"] = "refuse"
    equal: bool = False


@dataclass(frozen=True)
class Answered:
    """An input and its answer. text: the last lines printed. seconds: until the answer."""

    given: Given
    answer: Answer
    text: str
    seconds: float


def feed(inputs: Iterable[Given], base: Path, work: Path) -> Iterator[Answered]:
    """Yields the answer to each input.

    Args:
        inputs: the inputs.
        base: folder in whose copies the commands run.
        work: folder for the copies; it is emptied.
    """
    import_heavy_modules()
    for given in inputs:
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(base, work)
        given.damage(work)
        yield one(given, work)


def import_heavy_modules() -> None:
    """Imports what commands import, once for all children; starts no thread."""
    import numpy
    import pandas
    import scipy.ndimage
    import skimage.measure
    import torch

    import semibench.discovery.registry
    import semibench_leaderboards.commands.verify

    semibench.discovery.registry.registry()
    torch.set_num_threads(1)
    assert all((numpy, pandas, scipy, skimage, semibench_leaderboards))


def one(given: Given, work: Path) -> Answered:
    """Runs one command in a child process and judges how it ends."""
    code, text, seconds = forked(given.words, work, seconds=SECONDS, before=_limit_memory)
    return Answered(given, judge(given, code, text), "\n".join(text.strip().splitlines()[-3:]), seconds)


def forked(
    words: Sequence[str],
    folder: Path,
    *,
    seconds: float,
    before: Callable[[], object] = lambda: None,
    environment: Mapping[str, str] | None = None,
) -> tuple[int | None, str, float]:
    """Runs `bench` in a child of this process, which has imported everything.

    Args:
        words: of the command.
        folder: the working directory.
        seconds: after which the child is killed.
        before: called in the child.
        environment: more variables of the environment.

    Returns:
        Its exit code (minus the signal that ended it; None if it was killed), what it printed, and the seconds.
    """
    child = Child(words, folder, before=before, environment=environment)
    code = child.wait(seconds)
    if code is None:
        child.kill()
    return code, child.text(), time.monotonic() - child.start


class Child:
    """`bench` in a fork of this process, which has imported everything. The arguments are those of `forked`."""

    def __init__(
        self,
        words: Sequence[str],
        folder: Path,
        *,
        before: Callable[[], object] = lambda: None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        handle, name = tempfile.mkstemp(prefix="faults-output-")
        self.output = Path(name)
        self.start = time.monotonic()
        self.process = os.fork()
        if self.process == 0:
            _be_bench(words, folder, handle, before, environment or {})
        os.close(handle)

    def wait(self, seconds: float) -> int | None:
        """Returns the exit code, minus the signal that ended the child; None if it goes on after these seconds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            done, status = os.waitpid(self.process, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.005)
        return None

    def kill(self) -> None:
        """Ends the child and those that it started."""
        os.killpg(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)

    def text(self) -> str:
        """Returns what it printed, once."""
        text = self.output.read_bytes().decode("utf-8", "replace")
        self.output.unlink()
        return text


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _be_bench(
    words: Sequence[str], folder: Path, output: int, before: Callable[[], object], environment: Mapping[str, str]
) -> None:
    """The child: never returns."""
    code = 70
    try:
        os.setsid()
        os.chdir(folder)
        os.environ.update(environment)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", encoding="utf-8"), os.fdopen(2, "w", encoding="utf-8")
        before()
        from semibench.cli.app import main

        main(list(words))
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                code = code or 1
        os._exit(code)


def judge(given: Given, code: int | None, text: str) -> Answer:
    """Names how a command answered."""
    if code is None:
        return "hang"
    if "MemoryError" in text or "DefaultCPUAllocator" in text or "cannot allocate memory" in text.lower():
        return "memory"
    if code < 0:
        return "memory" if -code == signal.SIGKILL else "crash"
    if "Traceback (most recent call last)" in text or UNFORESEEN in text:
        return "traceback"
    if code == 0:
        return "wrongly served" if given.right == "refuse" else "served"
    if code not in (1, 2) or not text.strip():
        return "crash"
    return "wrongly refused" if given.right == "serve" else "clear"
