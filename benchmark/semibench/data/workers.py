"""The same work for many items in several processes: decoding the cases of a data set, reading the run folders of a board.

Processes, since most of this work holds Python's lock, and plug-ins don't promise that threads may call them. They are forks, so
that they begin at once, with what is loaded, and nothing must be pickled but items and results. Where the system can't fork
safely, this process does the work alone, with the same results.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from enum import Enum
from typing import Any, TypeVar

from semibench.contracts.errors import SemibenchError
from semibench.process import die_with_parent, own_cores

Item = TypeVar("Item")
Result = TypeVar("Result")

WORTH = 1.0
"""Seconds of work left above which other processes are started: a fork of a process that has loaded torch takes some hundredths."""

MOST = 16
"""Most processes at once: each holds an item of its own in memory."""

AHEAD = 2
"""Batches for each process that may wait for the caller, so that memory doesn't grow with the number of items."""


def free_cores(threads: int | None = None) -> int:
    """Returns how many processes may work at once.

    Args:
        threads: what the user asked for. None: OMP_NUM_THREADS where that is set, else the cores that this process may run on.
    """
    if threads is None:
        stated = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
        threads = int(stated) if stated.isdecimal() and int(stated) > 0 else None
    if threads is None:
        threads = own_cores()
    return min(threads, MOST)


def over_all(
    work: Callable[[Item], Result], items: Sequence[Item], *, workers: int, batch: int = 1, worth: float = WORTH
) -> Iterator[Result]:
    """Yields work(item) for each item, in their order. An error of the work is raised where its result would come.

    The first items are done in this process. Once they show that the rest takes longer than `worth` seconds, it is done in forks.
    What fails in a fork is done again in this process, so that its error is raised here, whole.

    Args:
        work: what is done. It sees the state of this process as it is at the fork; what it changes there stays in the fork.
        items: picklable, like the results.
        workers: processes beside this one; 1 or fewer: this process does all.
        batch: items that a process does in one go.
        worth: seconds.

    Raises:
        SemibenchError: if a fork was killed.
    """
    start = time.perf_counter()
    for done, item in enumerate(items):
        left = len(items) - done
        if done and workers > 1 and left > 1 and sys.platform == "linux":
            if (time.perf_counter() - start) / done * left > worth:
                yield from _in_forks(work, items[done:], min(workers, -(-left // batch)), batch)
                return
        yield work(item)


def _in_forks(work: Callable[[Item], Result], items: Sequence[Item], workers: int, batch: int) -> Iterator[Result]:
    context = multiprocessing.get_context("fork")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(work, os.getpid()))
    waiting: deque[tuple[Sequence[Item], Future[list[Any]]]] = deque()
    parts = iter([items[start : start + batch] for start in range(0, len(items), batch)])
    try:
        for part in itertools.islice(parts, workers * AHEAD):
            waiting.append((part, pool.submit(_do, part)))
        while waiting:
            asked, future = waiting.popleft()
            found = future.result()
            for part in itertools.islice(parts, 1):
                waiting.append((part, pool.submit(_do, part)))
            for item, result in zip(asked, found, strict=True):
                yield work(item) if result is _Failed.FAILED else result
    except BrokenProcessPool as error:
        raise SemibenchError(
            "a process that helped was killed, most likely as memory ran out; run the same command again with "
            "OMP_NUM_THREADS=1, so that one process does the work"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class _Failed(Enum):
    """What a fork returns in place of a result that it couldn't make. Members stay the same object when they are pickled."""

    FAILED = "failed"


_work: Callable[[Any], Any]
"""What a fork does; set in the fork alone."""


def _begin(work: Callable[[Any], Any], parent: int) -> None:
    """Prepares a fork: Ctrl-C ends the process that waits for it, which then ends the fork, and torch uses one thread."""
    global _work
    _work = work
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with_parent(signal.SIGKILL)  # it would wait for work forever
    if os.getppid() != parent:  # killed before the line above
        os._exit(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def _do(items: Sequence[Any]) -> list[Any]:
    """Does the work for some items."""
    results: list[Any] = []
    for item in items:
        try:
            results.append(_work(item))
        except Exception:  # the process that waits does it again, and raises it
            results.append(_Failed.FAILED)
    return results
