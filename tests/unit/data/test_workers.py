"""The same work in several processes: order, errors, memory of what waits, and ends."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator

import pytest

from semibench.contracts.errors import SemibenchError, UnknownNameError
from semibench.data.workers import AHEAD, MOST, free_cores, over_all

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems don't fork")


def where(number: int) -> tuple[int, int]:
    """The square, and the process that computed it."""
    return number**2, os.getpid()


def test_results_come_in_order_from_two_forks_and_the_first_from_this_process() -> None:
    found = list(over_all(where, range(50), workers=2, batch=3, worth=0.0))
    assert [square for square, _ in found] == [number**2 for number in range(50)]
    assert found[0][1] == os.getpid() and len({process for _, process in found[1:]} - {os.getpid()}) in (1, 2)


@pytest.mark.parametrize(("workers", "worth"), [(1, 0.0), (2, 1e9)])
def test_one_worker_and_short_work_stay_in_this_process(workers: int, worth: float) -> None:
    assert {process for _, process in over_all(where, range(20), workers=workers, worth=worth)} == {os.getpid()}


def test_an_error_is_raised_where_its_result_would_come_whole() -> None:
    """Errors with three arguments can't be pickled, and a cause would be lost on the way."""

    def work(number: int) -> int:
        if number == 7:
            try:
                raise KeyError("inner")
            except KeyError as error:
                raise UnknownNameError("case", "seven", ["six"]) from error
        return number

    results = over_all(work, range(20), workers=2, batch=4, worth=0.0)
    assert [next(results) for _ in range(7)] == list(range(7))
    with pytest.raises(UnknownNameError, match="'seven'") as caught:
        next(results)
    assert isinstance(caught.value.__cause__, KeyError)


def test_only_so_much_is_done_ahead(tmp_path) -> None:
    """A caller that is slower than the forks doesn't let their results pile up."""
    results = over_all(lambda number: (tmp_path / str(number)).touch(), range(100), workers=2, batch=2, worth=0.0)
    next(results), next(results)
    time.sleep(0.5)
    assert len(list(tmp_path.iterdir())) <= 1 + 2 * (2 * AHEAD + 1)
    results.close()


def test_a_killed_fork_is_told() -> None:
    parent = os.getpid()

    def work(number: int) -> int:
        if number == 3 and os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    with pytest.raises(SemibenchError, match="OMP_NUM_THREADS=1"):
        list(over_all(work, range(10), workers=2, worth=0.0))


@pytest.fixture
def free_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    yield monkeypatch


def test_the_user_decides_how_many(free_environment: pytest.MonkeyPatch) -> None:
    """--threads before OMP_NUM_THREADS before the cores of this process."""
    assert free_cores() == min(len(os.sched_getaffinity(0)), MOST)
    free_environment.setenv("OMP_NUM_THREADS", "3,2")
    assert free_cores() == 3 and free_cores(2) == 2 and free_cores(1000) == MOST
    free_environment.setenv("OMP_NUM_THREADS", "many")
    assert free_cores() == min(len(os.sched_getaffinity(0)), MOST)
